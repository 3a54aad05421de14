"""Wider errors of cross-fitted scores, and coverage of their differences."""

from dataclasses import replace

import numpy as np
import pytest

from visionsweep.analysis.comparison import compare
from visionsweep.analysis.cross_fit import WIDER, cross_fitted, widened_bounds
from visionsweep.analysis.differences import losses_of
from visionsweep.analysis.predictions import Predictions
from visionsweep.analysis.run_losses import RunLosses


def losses(seed: int, replicates: int = 3, images: int = 40) -> RunLosses:
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (replicates, images, 3)).astype(np.float32)
    names = tuple(f"{k:032x}" for k in range(images))
    labels = np.arange(images) % 3
    return RunLosses.of(
        Predictions(logits, labels, names), temperature=1.0, seeds=((1, 0), (1, 1), (1, 2))
    )


def test_deviations_over_images_are_wider_and_means_stay():
    before = losses(0)
    after = cross_fitted(before, before)
    assert after.means.mean() == pytest.approx(before.means.mean())
    assert after.means.std() == pytest.approx(WIDER * before.means.std())
    assert after.correct.mean() == pytest.approx(before.correct.mean())
    assert after.replicates == pytest.approx(before.replicates, rel=1e-6)
    assert after.interaction == pytest.approx(before.interaction, rel=1e-4)
    np.testing.assert_allclose(after.by_replicate.mean(0), after.means, rtol=1e-5, atol=1e-5)


def test_differences_have_wider_intervals_with_the_same_middle():
    runs = sorted((losses(0), losses(1)), key=lambda run: run.means.mean())
    (narrow,), (wide,) = compare(runs), compare([cross_fitted(run, run) for run in runs])
    assert wide.difference.value == pytest.approx(narrow.difference.value)
    assert narrow.error < wide.error <= WIDER * narrow.error * 1.001
    assert wide.difference.low < narrow.difference.low < narrow.difference.high
    assert wide.difference.high > narrow.difference.high and wide.p >= narrow.p


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("others", [12, 20])
def test_heads_on_other_validation_images_are_not_paired(grouped, others):
    def validated(run, seed, count, first):
        random = np.random.default_rng(seed)
        return replace(
            run,
            images=tuple(f"{first + k:032x}" for k in range(count)),
            by_sample=random.normal(random.normal(1, 2, (8, 1)), 0.3, (8, count)),
            samples=tuple((1, place) for place in range(8)),
            groups=np.arange(count) // 2 if grouped else None,
        )

    runs = [replace(losses(seed), training=str(seed)) for seed in (0, 1)]
    checks = validated(runs[0], 2, 20, 0), validated(runs[1], 3, others, 7)
    both = losses_of([cross_fitted(*pair) for pair in zip(runs, checks, strict=True)])
    assert both.by_sample is None and both.by_replicate is not None
    difference = both.minus_first()
    assert difference.counted_training() == pytest.approx(np.hypot(*both.training.size))
    assert difference.counted_training() > 0


def test_bounds_stay_in_range_and_unknown_ones_unknown():
    assert widened_bounds(0.5, 0.3, 0.9, 1.0) == (pytest.approx(0.5 - 0.2 * WIDER), 1.0)
    assert widened_bounds(0.1, 0.02, 0.2)[0] == 0.0
    assert np.isnan(widened_bounds(np.nan, np.nan, np.nan, 1.0)).all()


def drawn_difference(random, images: int, classes: int = 3, width: int = 8):
    """Cross-fit two ridge classifiers on a draw; their comparison and its true value.

    One of them sees half of the features. A population of Gaussian classes is the truth.
    """
    means = np.random.default_rng(0).normal(0, 0.8, (classes, width))

    def sample(count):
        labels = np.arange(count) % classes
        return means[labels] + random.normal(size=(count, width)), labels

    def logits(train, test, seen):
        (features, labels), rows = train, np.c_[test[0][:, :seen], np.ones(len(test[0]))]
        own = np.c_[features[:, :seen], np.ones(len(features))]
        targets = np.eye(classes)[labels]
        return 4 * rows @ np.linalg.solve(own.T @ own + np.eye(seen + 1), own.T @ targets)

    pool, others = sample(images), sample(4000)
    fold = random.permutation(images) % 5
    names = tuple(f"{k:032x}" for k in range(images))
    runs, true = [], []
    for seen in (width, width // 2):
        out = np.empty((images, classes))
        for k in range(5):
            inside = fold == k
            train, test = ([part[chosen] for part in pool] for chosen in (~inside, inside))
            out[inside] = logits(train, test, seen)
        run = RunLosses.of(
            Predictions(out[None].astype(np.float32), pool[1], names), temperature=1.0
        )
        runs.append(cross_fitted(run, run))
        deployed = logits([part[fold > 0] for part in pool], others, seen)
        logs = deployed - np.log(np.exp(deployed).sum(1, keepdims=True))
        true.append(-logs[np.arange(4000), others[1]].mean())
    return compare(runs)[0].difference, true[1] - true[0]


@pytest.mark.parametrize(
    "draws", [100, pytest.param(1000, marks=pytest.mark.exhaustive)], ids=["some", "many"]
)
@pytest.mark.parametrize("images", [40, 150])
def test_intervals_of_cross_fitted_differences_hold_the_truth(draws, images):
    random = np.random.default_rng(images)
    found = [drawn_difference(random, images) for _ in range(draws)]
    held = np.mean([each.low <= true <= each.high for each, true in found])
    narrow = np.mean(
        [abs(each.value - true) <= (each.high - each.value) / WIDER for each, true in found]
    )
    print(f"{images} images: {held:.1%} held, {narrow:.1%} without the wider errors")
    assert held >= (0.9 if draws == 100 else 0.93)
