"""Groups of images: sums by hand, how often intervals hold the truth, and who is excluded.

`pytest tests/analysis/test_groups.py -rP` prints the rates that docs/evidence.md states.
"""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t

from visionsweep.analysis.comparison import compare, images_needed
from visionsweep.analysis.contributions import contributions
from visionsweep.analysis.cross_fit import cross_fitted
from visionsweep.analysis.factors import effects
from visionsweep.analysis.groups import by_group, joined, numbered
from visionsweep.analysis.intervals import estimates, share_of, wilson
from visionsweep.analysis.learning_curve import learning_curve
from visionsweep.analysis.metrics import per_replicate
from visionsweep.analysis.per_class import class_scores, scores_of_predictions
from visionsweep.analysis.predictions import Predictions
from visionsweep.analysis.run_losses import RunLosses, by_groups

GROUPS = np.array([0, 0, 0, 1, 2, 2, 3, 3, 3, 3])


def draw(
    source: np.random.Generator, groups: int, ahead=(0.0,), *, size: int = 12, own: float = 0.3
) -> list[Predictions]:
    """Draw runs on groups of `size` / 2 to `size` images that are nearly alike.

    Margins of the true class differ from group to group by a standard deviation of one, for each
    run by a further one of 0.7, and from image to image by `own`.
    """
    sizes = source.integers(size // 2, size + 1, size=groups)
    of = np.repeat(np.arange(groups), sizes)
    labels = np.tile([0, 1], len(of))[: len(of)]
    common = source.normal(size=groups)
    runs = []
    for more in ahead:
        margin = 1.5 + more + (common + 0.7 * source.normal(size=groups))[of]
        margin = margin + own * source.normal(size=len(of))
        logits = np.where(np.eye(2)[labels] == 1, margin[:, None], 0)[None].astype(np.float32)
        names = tuple(f"{place:06}" for place in range(len(of)))
        runs.append(Predictions(logits, labels, names, groups=of))
    return runs


def without_groups(run: Predictions) -> Predictions:
    return replace(run, groups=None)


def test_a_group_adds_the_sum_of_its_images():
    values = np.random.default_rng(0).normal(size=(3, 10))
    sums = by_group(values, GROUPS)
    assert sums.shape == (3, 4)
    np.testing.assert_allclose(sums.mean(1), values.mean(1))
    # Cochran 1977, equation 9A.3: variance of a ratio of sums over clusters of random size
    for row, row_sums in zip(values, sums, strict=True):
        residuals = [(row[g == GROUPS] - row.mean()).sum() for g in range(4)]
        variance = 4 / 3 * np.square(residuals).sum() / 10**2
        assert row_sums.var(ddof=1) / 4 == pytest.approx(variance)


def test_each_image_by_itself_changes_nothing():
    values = np.random.default_rng(0).normal(size=(3, 10))
    assert by_group(values, None) is values
    assert numbered(np.arange(10)[::-1]) is None
    (run,) = draw(np.random.default_rng(1), 20)
    alone = without_groups(run).select_images(np.arange(len(run.labels)) < 50)
    first = replace(run, groups=np.arange(len(run.labels)))
    one_of_each = first.select_images(np.arange(len(run.labels)) < 50)
    assert one_of_each.groups is None and estimates(one_of_each) == estimates(alone)


def test_groups_are_numbered_by_their_first_image_also_after_sorting_and_selecting():
    np.testing.assert_array_equal(numbered(np.array([7, 7, 3, 9, 3])), [0, 0, 1, 2, 1])
    names = tuple("edcba")
    run = Predictions(
        np.zeros((1, 5, 2), np.float32), np.zeros(5, np.int64), names,
        groups=np.array([0, 0, 1, 2, 1]),
    )  # fmt: skip
    np.testing.assert_array_equal(run.sorted_by_image().groups, [0, 1, 0, 2, 2])
    chosen = run.select_images(np.array([True, True, False, True, True]))
    np.testing.assert_array_equal(chosen.groups, [0, 0, 1, 2])


def test_groupings_of_two_runs_are_joined():
    one, other = np.array([0, 0, 1, 2, 3]), np.array([0, 1, 1, 2, 3])
    np.testing.assert_array_equal(joined([one, other]), [0, 0, 0, 1, 2])
    np.testing.assert_array_equal(joined([None, other]), other)
    assert joined([None, None]) is None
    runs = draw(np.random.default_rng(2), 12, (0.0, 0.5))
    mixed = [runs[0], without_groups(runs[1])]
    assert compare(mixed) == compare(runs)
    found = [contributions(run, ["accuracy"])["accuracy"] for run in mixed]
    both = [contributions(run, ["accuracy"])["accuracy"] for run in runs]
    assert found[0].minus(found[1]) == both[0].minus(both[1])


def test_one_group_has_no_interval_and_alike_groups_count_as_images():
    (run,) = draw(np.random.default_rng(3), 1)
    assert all(np.isnan([each.low, each.high]).all() for each in estimates(run).values())
    correct = np.repeat([True, False, True, True], 5)
    groups = np.repeat(np.arange(4), 5)
    found, few = share_of(correct, groups), wilson(3, 4)
    assert found.value == few.value and found.low <= few.low and found.high >= few.high
    assert share_of(np.full(20, True), groups) == wilson(4, 4)
    spread = np.tile([True, True, True, False, True], 4)  # no correlation within groups
    image_level = wilson(16, 20)
    assert share_of(spread, groups).low <= image_level.low


def test_scores_of_classes_are_over_groups():
    (run,) = draw(np.random.default_rng(4), 15)
    matrix = np.array([[np.sum((run.labels == a) & (run.predicted[0] == b)) for b in (0, 1)]
                       for a in (0, 1)])  # fmt: skip
    for grouped, single in zip(scores_of_predictions(run), class_scores(matrix), strict=True):
        for name in ("precision", "recall", "f1"):
            wide, narrow = getattr(grouped, name), getattr(single, name)
            assert wide.value == pytest.approx(narrow.value)
            assert wide.high - wide.low > 1.3 * (narrow.high - narrow.low)
    alone = scores_of_predictions(without_groups(run))
    assert alone == class_scores(matrix)


def test_effects_and_learning_curves_are_over_groups():
    runs = draw(np.random.default_rng(5), 25, (0.0, 0.3, 0.1, 0.4))
    settings = [{"a": a, "b": b} for a in (1, 2) for b in (1, 2)]
    grouped, single = (effects(settings, each) for each in (runs, map(without_groups, runs)))
    for wide, narrow in zip(grouped, single, strict=True):
        assert wide.effect.value == pytest.approx(narrow.effect.value)
        assert wide.effect.high - wide.effect.low > 1.5 * (narrow.effect.high - narrow.effect.low)
    curves = [
        learning_curve([10, 20], [each[:2], each[2:]])
        for each in (runs, [without_groups(run) for run in runs])
    ]
    wide, narrow = (curve.losses[0] for curve in curves if curve is not None)
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


def test_cross_fitted_runs_have_other_images_and_groups_than_their_bootstrap_heads():
    source, compared = np.random.default_rng(9), []
    validation = draw(source, 20, (0.0, 0.2))
    pool = draw(source, 60, (0.0, 0.2))
    for scored, held_out in zip(pool, validation, strict=True):
        resampled = held_out.losses + source.normal(0, 0.02, (6, len(held_out.labels)))
        given = {"temperature": 1.0, "seeds": ((1, 0),)}
        held_out = replace(held_out, bootstrap=np.abs(resampled).astype(np.float32))
        of_both = [RunLosses.of(each, **given) for each in (scored, held_out)]
        compared.append(cross_fitted(*of_both))
    assert {run.by_sample.shape[1] for run in compared} == {len(validation[0].labels)}
    assert {run.by_sample.shape[1] for run in by_groups(compared)} == {20}
    assert {len(run.means) for run in by_groups(compared)} == {60}
    (grouped,) = compare(compared)
    (single,) = compare([replace(run, groups=None, sample_groups=None) for run in compared])
    assert grouped.difference.value == pytest.approx(single.difference.value)
    assert grouped.error > 1.5 * single.error


def test_paired_error_is_that_of_a_t_test_over_groups_of_one_size():
    source = np.random.default_rng(6)
    groups = np.repeat(np.arange(20), 6)
    runs = [
        Predictions(run.logits[:, :120], run.labels[:120], run.images[:120], groups=groups)
        for run in draw(source, 30, (0.0, -0.3))
    ]
    (comparison,) = compare(runs)
    losses = [RunLosses.of(run).means.reshape(20, 6).mean(1) for run in runs]
    difference = losses[1] - losses[0]
    assert comparison.difference.value == pytest.approx(difference.mean())
    assert comparison.error == pytest.approx(difference.std(ddof=1) / np.sqrt(20))
    p = 2 * t.sf(abs(difference.mean()) / comparison.error, 19)
    assert comparison.p == pytest.approx(p, abs=0.05)


def test_more_groups_are_needed_than_images_would_be_believed_to_be():
    runs = draw(np.random.default_rng(8), 30, (0.25, 0.0))
    needed = images_needed(*runs)
    believed = images_needed(*map(without_groups, runs))
    assert needed is not None and believed is not None
    assert 12 * needed > 3 * believed


@pytest.fixture(scope="module")
def truths() -> dict[str, float]:
    (run,) = draw(np.random.default_rng(99), 50_000, size=4)
    return {
        name: float(values.mean()) for name, values in per_replicate(run).items() if name != "ece"
    }


@pytest.mark.parametrize(
    ("groups", "draws", "least"),
    [
        (30, 300, 0.9),
        *(
            pytest.param(groups, 1000, least, marks=pytest.mark.exhaustive)
            for groups, least in ((100, 0.93), (30, 0.92), (10, 0.9), (5, 0.85))
        ),
    ],
)
def test_intervals_over_groups_hold_the_truth_and_those_over_images_do_not(
    groups, draws, least, truths
):
    """Nominal 95%: metrics of a run, and the difference of two runs that are equally good."""
    source = np.random.default_rng(groups)
    names = [*truths, "difference", "best not excluded"]
    held = {kind: dict.fromkeys(names, 0) for kind in ("images", "groups")}
    for _ in range(draws):
        runs = draw(source, groups, (0.0, 0.0))
        for kind in held:
            chosen = runs if kind == "groups" else [without_groups(run) for run in runs]
            found = estimates(chosen[0], n_resamples=500)
            for name, truth in truths.items():
                held[kind][name] += found[name].low <= truth <= found[name].high
            chosen.sort(key=lambda run: RunLosses.of(run).means.mean())
            (comparison,) = compare(chosen)
            held[kind]["difference"] += comparison.p > 0.05
            held[kind]["best not excluded"] += comparison.could_be_best
    for kind, counts in held.items():
        print(groups, kind, {name: f"{count / draws:.0%}" for name, count in counts.items()})
    assert all(count / draws < 0.75 for count in held["images"].values())
    assert all(count / draws > least for count in held["groups"].values())
