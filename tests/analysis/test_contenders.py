"""Which runs could be the best, seeds in pairs, and losses of the deployed predictor."""

import numpy as np
import pytest

from visionsweep.analysis.accuracy import accuracy_difference
from visionsweep.analysis.best import above_best
from visionsweep.analysis.calibration import calibrated
from visionsweep.analysis.comparison import compare
from visionsweep.analysis.differences import losses_of
from visionsweep.analysis.predictions import Predictions
from visionsweep.analysis.run_losses import RunLosses

SEEDS = tuple((42, place) for place in range(5))


def losses(runs, seeds=()):
    return losses_of([RunLosses.of(run, seeds=seeds) for run in runs])


def could_be_best(of_runs):
    return ~(above_best(of_runs)[0] > 0)


def test_run_significantly_above_another_cannot_be_the_best(population):
    runs = population().draw(np.random.default_rng(1), 400, 3, (1.5, 1.45, 0.0))
    assert could_be_best(losses(runs)).tolist() == [True, True, False]


def test_significantly_worse_runs_cannot_be_the_best(population):
    source = np.random.default_rng(2)
    for _ in range(20):
        runs = population().draw(source, 60, 3, np.linspace(1, 0, 6))
        runs = sorted(runs, key=lambda run: run.losses.mean())
        assert not any(c.distinguishable and c.could_be_best for c in compare(runs))


def test_intervals_exclude_zero_exactly_for_runs_that_cannot_be_the_best(population):
    source = np.random.default_rng(10)
    marks = set()
    for count in (2, 3, 6, 230):
        for _ in range(12 if count < 10 else 1):
            runs = population().draw(source, 30, 2, source.normal(scale=0.6, size=count))
            runs = sorted(runs, key=lambda run: run.losses.mean())
            for found in compare(runs):
                assert found.difference.low <= found.difference.value <= found.difference.high
                assert found.could_be_best == (found.difference.low <= 0)
                marks.add((count, found.could_be_best))
    assert len(marks) == 8


def test_run_excluded_by_another_than_the_first_has_an_interval_above_zero(with_losses):
    """The second run differs less from the third than the first does, so its pair decides."""
    source = np.random.default_rng(11)
    common = source.random(60) + 1
    off = source.normal(size=60)
    second, third = common + 0.01, common + 0.06 + 0.02 * source.normal(size=60)
    first = common + 0.5 * (off - off.mean())
    found = compare([with_losses(each) for each in (first, second, third)])
    assert [each.could_be_best for each in found] == [True, False]
    assert found[1].difference.low > 0 and found[1].p > 0.05


@pytest.mark.exhaustive
def test_intervals_of_a_sweep_hold_how_far_each_run_is_above_the_best_of_the_others(population):
    people, source = population(), np.random.default_rng(12)
    ahead = (0.5, 0.4, 0.3, 0.3, 0.0, 0.0)
    true = np.array([people.truth(each)["loss"] for each in ahead])
    held = []
    for _ in range(400):
        runs = people.draw(source, 136, 5, ahead)
        order = np.argsort([run.losses.mean() for run in runs])
        intervals = [each.difference for each in compare([runs[k] for k in order])]
        truth = [true[k] - np.delete(true, k).min() for k in order[1:]]
        held.append([i.low <= t <= i.high for i, t in zip(intervals, truth, strict=True)])
    print(f"intervals of differences in a sweep of six: {np.mean(held):.1%}")
    assert np.mean(held) >= 0.94


def test_single_image_or_equal_runs_exclude_nothing(population):
    (run,) = population().draw(np.random.default_rng(3), 40, 3)
    assert could_be_best(losses([run, run])).all()
    one = [Predictions(run.logits[:, :1], run.labels[:1], run.images[:1]) for _ in range(2)]
    assert could_be_best(losses(one)).all()


def test_truly_best_run_is_rarely_excluded_and_more_others_are_than_by_pairwise_tests(
    population,
):
    source = np.random.default_rng(4)
    lost, excluded, apart = 0, 0, 0
    for _ in range(60):
        runs = population().draw(source, 100, 5, (0.35, 0.2, 0.1, 0.0, 0.0, 0.0))
        order = np.argsort([run.losses.mean() for run in runs])
        possible = could_be_best(losses([runs[k] for k in order]))
        lost += not possible[list(order).index(0)]
        excluded += (~possible).sum()
        apart += sum(c.distinguishable for c in compare([runs[k] for k in order]))
    assert lost <= 3
    assert excluded > 1.2 * apart


def test_common_seeds_are_paired(with_losses):
    """Replicates that share their deviations leave no seed error in the difference."""
    source = np.random.default_rng(5)
    common, by_seed = source.random(80) + 0.5, 0.2 * source.normal(size=(5, 1))
    noise = 0.02 * source.normal(size=(2, 5, 80))
    runs = [
        with_losses(common + by_seed + shift + n) for shift, n in zip((0, 0.03), noise, strict=True)
    ]
    apart, paired = losses(runs).minus_first(), losses(runs, SEEDS).minus_first()
    assert paired.seeds.size[0] < 0.1 * apart.seeds.size[0]
    assert paired.images == pytest.approx(apart.images)
    one, other = (
        compare([RunLosses.of(run, seeds=seeds) for run in runs])[0] for seeds in ((), SEEDS)
    )
    assert not one.distinguishable and other.distinguishable


def test_one_standard_error_is_that_of_the_paired_difference(with_losses):
    source = np.random.default_rng(6)
    common = source.random(50)
    off = source.normal(size=50)
    off = 0.1 * (off - off.mean()) / off.std(ddof=1)
    best = with_losses(common + 1)
    for shift, within in ((0.014, True), (0.0143, False)):  # 0.1 / sqrt(50) = 0.01414
        (found,) = compare([best, with_losses(common + 1 + shift + off)])
        assert found.error == pytest.approx(0.1 / np.sqrt(50), rel=1e-3)
        assert found.within_one_error == within


def test_deployed_losses_are_those_of_the_tempered_mean_of_all_replicates(population):
    (run,) = population().draw(np.random.default_rng(7), 60, 5)
    reduced = RunLosses.of(run, temperature=0.7, seeds=SEEDS)
    probabilities = calibrated(run.logits, 0.7)
    expected = -np.log(probabilities[np.arange(60), run.labels])
    assert reduced.means == pytest.approx(expected)
    assert reduced.by_replicate.mean(0) == pytest.approx(expected, rel=1e-5)
    assert reduced.correct.tolist() == (probabilities.argmax(1) == run.labels).tolist()
    assert reduced.means.mean() < RunLosses.of(run).means.mean()
    single = Predictions(run.logits[:1], run.labels, run.images)
    alone = RunLosses.of(single, temperature=1.0)
    assert alone.means == pytest.approx(RunLosses.of(single).means)


def test_seed_error_of_the_mean_predictor_is_the_variance_over_seeds(population):
    """The jackknife agrees with drawing other replicates."""
    source = np.random.default_rng(8)
    many = population(seeds=0.6).draw(source, 300, 400)[0]
    means, errors = [], []
    for start in range(0, 400, 5):
        part = Predictions(many.logits[start : start + 5], many.labels, many.images)
        computed = losses_of([RunLosses.of(part, temperature=1.0)])
        means.append(computed.images.mean())
        errors.append(computed.seeds.size[0])
    assert np.mean(errors) == pytest.approx(np.std(means, ddof=1), rel=0.35)


def test_accuracy_difference_counts_images(population):
    best, run = (
        RunLosses.of(each, temperature=1.0)
        for each in population().draw(np.random.default_rng(9), 200, 3, (1.0, 0.0))
    )
    difference = accuracy_difference(run, best)
    assert difference.value == pytest.approx(run.correct.mean() - best.correct.mean())
    assert difference.low < difference.value < difference.high and difference.high < 0.02
