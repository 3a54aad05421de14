"""Comparisons with the leader: exact answers, and edges."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import ttest_rel

from visionsweep.analysis.comparison import compare, holm, images_needed
from visionsweep.analysis.predictions import Predictions
from visionsweep.analysis.run_losses import RunLosses
from visionsweep.errors import UserError


@pytest.fixture(scope="module")
def runs(population) -> list[Predictions]:
    drawn = population().draw(np.random.default_rng(1), 100, 3, np.linspace(0.8, 0, 8))
    return sorted(drawn, key=lambda run: run.losses.mean())


def test_holm_correction_equals_a_worked_example():
    # the textbook's 0.01, 0.04, 0.03, 0.005: 0.03, 0.06, 0.06, 0.02
    assert holm(np.array([0.01, 0.04, 0.03, 0.005]), 4) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.01, 0.04]), 6) == pytest.approx([0.06, 0.2])
    assert holm(np.array([0.4, 0.5]), 3).tolist() == [1, 1]


def test_differences_are_run_minus_best(runs):
    for run, found in zip(runs[1:], compare(runs), strict=True):
        assert found.difference.value == pytest.approx(run.losses.mean() - runs[0].losses.mean())
        assert found.difference.low < found.difference.value < found.difference.high


def test_paired_comparison_finds_what_separate_intervals_hide(with_losses):
    source = np.random.default_rng(4)
    common = source.exponential(size=100)
    leader, run = with_losses(common + 0.01), with_losses(common + 0.02 + 0.02 * source.random(100))
    assert 2 * common.std() / 10 > 10 * (run.losses.mean() - leader.losses.mean())
    assert compare([leader, run])[0].distinguishable


def test_many_runs_can_still_differ_significantly(with_losses):
    source = np.random.default_rng(4)
    common = source.exponential(size=136) + 0.5
    runs = [with_losses(common)] + [
        with_losses(common + shift + 0.1 * source.normal(size=136))
        for shift in [0.06] * 60 + [0] * 60
    ]
    significant = [each.distinguishable for each in compare(runs)]
    assert sum(significant[:60]) > 50
    assert not any(significant[60:])


def test_small_p_values_are_those_of_the_paired_t_test(with_losses):
    source = np.random.default_rng(5)
    one = source.exponential(size=80) + 0.5
    other = one + 0.03 + 0.05 * source.normal(size=80)
    p = compare([with_losses(one), with_losses(other)])[0].p
    assert p == pytest.approx(ttest_rel(other, one).pvalue, rel=1e-3) and p < 1e-4


def test_common_p_values_are_close_to_the_paired_t_test(with_losses):
    source = np.random.default_rng(6)
    one = source.exponential(size=80) + 0.5
    other = one + 0.01 + 0.05 * source.normal(size=80)
    expected = ttest_rel(other, one).pvalue
    assert 0.03 < expected < 0.5
    p = compare([with_losses(one), with_losses(other)])[0].p
    assert p == pytest.approx(expected, rel=0.2)


def test_order_of_the_other_runs_does_not_matter(runs):
    order = [3, 0, 6, 2, 5, 1, 4]
    found, other = compare(runs), compare([runs[0], *(runs[1 + k] for k in order)])
    for place, k in enumerate(order):
        assert other[place].distinguishable == found[k].distinguishable
        assert other[place].p == pytest.approx(found[k].p)
        assert other[place].difference.low == pytest.approx(found[k].difference.low)


def test_equal_seeds_give_equal_comparisons(runs):
    assert compare(runs, seed=5) == compare(runs, seed=5)
    assert compare(runs, seed=5) != compare(runs, seed=6)


def test_equal_runs_are_statistically_tied(runs):
    logits = runs[0].logits + np.float32(1e-7)
    for again in (runs[0], Predictions(logits, runs[0].labels, runs[0].images)):
        comparison = compare([runs[0], again])[0]
        assert comparison.p == 1 and not comparison.distinguishable
        assert comparison.difference.value == pytest.approx(0, abs=1e-6)


def test_variance_of_seeds_can_hide_a_difference(with_losses):
    common = np.random.default_rng(8).random(100) + 0.5
    by_seed = np.array([[0.0], [0.1], [-0.1], [0.05], [-0.05]])
    leader, run = with_losses(common + by_seed), with_losses(common + 0.04 + by_seed[::-1])
    assert not compare([leader, run])[0].distinguishable
    assert compare([with_losses(common), with_losses(common + 0.04)])[0].distinguishable


def test_diverged_run_is_not_compared_and_changes_only_the_count(runs):
    logits = runs[3].logits.copy()
    logits[0, 0] = np.nan
    broken = Predictions(logits, runs[3].labels, runs[3].images)
    comparisons = compare([*runs[:3], broken, *runs[3:]])
    assert math.isnan(comparisons[2].p) and math.isnan(comparisons[2].difference.value)
    assert not comparisons[2].distinguishable
    for one, other in zip(compare(runs), comparisons[:2] + comparisons[3:], strict=True):
        assert other.difference.low == pytest.approx(one.difference.low)
        assert one.p <= other.p


def test_runs_on_other_images_are_refused(runs):
    elsewhere = Predictions(runs[1].logits, runs[1].labels, tuple(reversed(runs[1].images)))
    with pytest.raises(UserError, match="other images"):
        compare([runs[0], elsewhere])


def test_single_run_has_no_comparison_and_single_image_no_evidence(runs):
    assert compare(runs[:1]) == []
    one = [Predictions(run.logits[:, :1], run.labels[:1], run.images[:1]) for run in runs[:2]]
    assert not compare(one)[0].distinguishable
    assert images_needed(*one) is None


def test_no_images_are_needed_for_a_significant_difference(with_losses):
    common = np.random.default_rng(9).random(50) + 0.5
    assert images_needed(with_losses(common), with_losses(common + 0.1)) == 0


def test_images_needed_follow_the_textbook_formula(with_losses):
    # (1.96 + 0.8416)^2 x variance / difference^2, for images alone
    off = np.random.default_rng(10).normal(size=60)
    off = (off - off.mean()) / off.std(ddof=1)
    one, other = np.full(60, 2.0), 2.1 + 0.6 * off
    count = images_needed(with_losses(one), with_losses(other))
    assert count == pytest.approx((1.96 + 0.8416) ** 2 * 0.6**2 / 0.1**2 - 60, abs=4)
    assert images_needed(with_losses(one), with_losses(other), tests=28) > 1.5 * count


def test_no_number_of_images_resolves_a_difference_within_the_variance_of_seeds(with_losses):
    common = np.random.default_rng(11).random(50) + 0.5
    by_seed = np.array([[0.1], [-0.1], [0.05]])
    assert images_needed(with_losses(common + by_seed), with_losses(common + 0.05)) is None


def test_run_with_one_replicate_does_not_cost_the_others_their_pairing(population):
    """Its seed is another one, as that of a trained backbone, or none, as that of a solved head."""
    predictions = population(seeds=1.0).draw(np.random.default_rng(0), 60, 5, ahead=(0.3, 0.0))
    single = population().draw(np.random.default_rng(1), 60, 1)[0]
    seeds = tuple((42, place) for place in range(5))
    pair = [RunLosses.of(run, seeds=seeds) for run in predictions]
    unpaired = [replace(pair[0], seeds=()), pair[1]]
    lone = RunLosses.of(replace(single, labels=predictions[0].labels), seeds=((7, 0),))
    (alone,), (beside, with_lone) = compare(pair), compare([*pair, lone])
    assert beside.error == pytest.approx(alone.error)
    assert beside.error != pytest.approx(compare(unpaired)[0].error, rel=0.05)
    assert with_lone.error == pytest.approx(compare([unpaired[0], lone])[0].error)
