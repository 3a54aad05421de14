"""Intervals at the edges: perfect runs, diverged ones, one image, one replicate."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from visionsweep.analysis.intervals import FEW, estimates, wilson
from visionsweep.analysis.metrics import METRICS, per_replicate
from visionsweep.analysis.predictions import Predictions


@pytest.fixture(scope="module")
def run(population) -> Predictions:
    return population().draw(np.random.default_rng(1), 60, 4)[0]


def test_values_are_means_over_replicates(run):
    intervals = estimates(run)
    assert list(intervals) == list(METRICS)
    for name, values in per_replicate(run).items():
        assert intervals[name].value == pytest.approx(values.mean())
        assert intervals[name].low < intervals[name].value <= intervals[name].high


def test_equal_seeds_give_equal_intervals_and_other_seeds_similar_ones(run):
    assert estimates(run, seed=3) == estimates(run, seed=3)
    one, other = estimates(run, seed=3)["loss"], estimates(run, seed=4)["loss"]
    assert one != other
    width = one.high - one.low
    assert abs(one.low - other.low) < 0.1 * width and abs(one.high - other.high) < 0.1 * width


def test_order_of_images_and_replicates_matters_only_for_resampling(run):
    order = np.random.default_rng(2).permutation(60)
    turned = Predictions(
        run.logits[::-1, order], run.labels[order], tuple(run.images[k] for k in order)
    )
    for name, found in estimates(run).items():
        other = estimates(turned)[name]
        assert other.value == pytest.approx(found.value)
        width = found.high - found.low
        assert abs(found.low - other.low) < 0.12 * width
        assert abs(found.high - other.high) < 0.12 * width


def test_wilson_equals_the_textbook_interval():
    # Newcombe 1998, table I: 81 of 263 is 0.2553 to 0.3662, 0 of 20 is 0 to 0.1611
    interval = wilson(81, 263)
    assert (round(interval.low, 4), round(interval.high, 4)) == (0.2553, 0.3662)
    assert wilson(0, 20).low == 0
    assert round(wilson(0, 20).high, 4) == 0.1611


@pytest.mark.parametrize(("hits", "images"), [(0, 1), (1, 1), (70, 75), (136, 136), (9000, 10000)])
def test_wilson_equals_scipys(hits, images):
    bounds = binomtest(hits, images).proportion_ci(0.95, method="wilson")
    interval = wilson(hits, images)
    assert (interval.low, interval.high) == pytest.approx((bounds.low, bounds.high), abs=1e-12)


def test_accuracy_of_one_replicate_has_the_wilson_interval(run):
    single = run.select_replicates(np.array([True, False, False, False]))
    expected = wilson(int(single.correct.sum()), 60)
    interval = estimates(single)["accuracy"]
    assert (interval.value, interval.low, interval.high) == pytest.approx(
        (expected.value, expected.low, expected.high)
    )


def test_identical_replicates_count_as_one(run):
    single = run.select_replicates(np.array([True, False, False, False]))
    copies = Predictions(np.repeat(single.logits, 4, axis=0), run.labels, run.images)
    for name, one in estimates(single).items():
        four = estimates(copies)[name]
        assert (four.low, four.high) == pytest.approx((one.low, one.high))


def test_perfect_run_has_an_upper_bound_above_zero():
    labels = np.arange(75) % 3
    logits = np.repeat(20 * np.eye(3, dtype=np.float32)[None, labels], 5, axis=0)
    intervals = estimates(Predictions(logits, labels, tuple(map(str, range(75)))))
    bound = wilson(75, 75).low
    assert intervals["accuracy"].value == intervals["accuracy"].high == 1
    assert intervals["accuracy"].low == pytest.approx(bound)
    assert intervals["macro_f1"].low == pytest.approx(bound)
    assert intervals["ece"].value == pytest.approx(0, abs=1e-6)
    assert intervals["ece"].high == pytest.approx(1 - bound, abs=1e-6)


def test_run_that_is_always_wrong_is_measured():
    labels = np.arange(30) % 3
    logits = 5 * np.eye(3, dtype=np.float32)[None, (labels + 1) % 3]
    intervals = estimates(Predictions(logits, labels, tuple(map(str, range(30)))))
    assert (
        intervals["accuracy"].value == intervals["accuracy"].low == intervals["macro_f1"].value == 0
    )
    assert intervals["accuracy"].high == pytest.approx(wilson(0, 30).high)
    assert intervals["ece"].value > 0.9


def test_equal_losses_leave_the_wrong_images_that_others_may_have(with_losses):
    interval = estimates(with_losses(np.full((3, 40), 0.5)))["loss"]
    wrong = 1 - wilson(40, 40).low  # at a loss of 1 each
    expected = (0.5, 0.5, 0.5 + wrong)
    assert (interval.value, interval.low, interval.high) == pytest.approx(expected, abs=1e-6)


RANGES = {"loss": np.inf, "accuracy": 1.0, "macro_f1": 1.0, "ece": 1.0}


@pytest.mark.parametrize("skill", [0.0, 1.0, 4.0, 40.0])
@pytest.mark.parametrize("sureness", [0.01, 1.0, 30.0])
@pytest.mark.parametrize("replicates", [1, 5])
def test_intervals_stay_in_the_range_of_their_metric(skill, sureness, replicates):
    """The calibration error's began at -0.14, that of F1 ended at 1.27 before both were clipped."""
    for seed, images in enumerate((2, 3, 12, 60)):
        source = np.random.default_rng(seed)
        labels = np.arange(images) % 3
        logits = source.normal(size=(replicates, images, 3)).astype(np.float32)
        logits[:, np.arange(images), labels] += skill
        intervals = estimates(
            Predictions(sureness * logits, labels, tuple(map(str, range(images))))
        )
        assert intervals.keys() == RANGES.keys()
        for name, each in intervals.items():
            assert 0 <= each.low <= each.value <= each.high <= RANGES[name]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_diverged_run_has_no_estimates(run, bad):
    logits = run.logits.copy()
    logits[2, 7, 1] = bad
    for found in estimates(Predictions(logits, run.labels, run.images)).values():
        assert math.isnan(found.value) and math.isnan(found.low) and math.isnan(found.high)


def test_one_image_gives_values_without_intervals(run):
    intervals = estimates(Predictions(run.logits[:, :1], run.labels[:1], run.images[:1]))
    for each in intervals.values():
        assert math.isfinite(each.value) and math.isnan(each.low) and math.isnan(each.high)


@pytest.mark.parametrize("images", [2, 3])
def test_few_images_give_finite_intervals(run, images):
    intervals = estimates(
        Predictions(run.logits[:, :images], run.labels[:images], run.images[:images])
    )
    for each in intervals.values():
        assert each.low <= each.value <= each.high
        assert math.isfinite(each.low) and math.isfinite(each.high)


def test_many_images_and_classes_are_resampled_in_chunks():
    source = np.random.default_rng(3)
    labels = source.integers(40, size=3000)
    logits = source.normal(size=(2, 3000, 40)).astype(np.float32)
    logits[:, np.arange(3000), labels] += 2
    intervals = estimates(Predictions(logits, labels, tuple(map(str, range(3000)))))
    for name in ("accuracy", "macro_f1"):
        assert 0.01 < intervals[name].high - intervals[name].low < 0.05


def test_upper_bound_of_the_loss_of_a_perfect_run_counts_wrong_images_it_lacks(with_losses):
    """Resampling 136 losses near zero gives no hint of the one image in fifty that is wrong."""
    losses = with_losses(np.random.default_rng(3).random(136) / 100)
    found = estimates(losses)["loss"]
    assert found.high == pytest.approx(found.value + 1 - wilson(136, 136).low, rel=1e-6)


def test_loss_with_many_wrong_images_is_bounded_by_resampling_alone(population):
    source = np.random.default_rng(4)
    (run,) = population(ease=0.5).draw(source, 200, 1)
    half = estimates(run)["loss"]
    assert (~run.correct).sum() > FEW
    assert half.high - half.value == pytest.approx(
        1.96 * run.losses.std(ddof=1) / np.sqrt(200), rel=0.15
    )
