"""Wider errors of cross-fitted scores, and coverage of their differences."""

import numpy as np
import pytest

from visionsweep.analysis.comparison import compare
from visionsweep.analysis.cross_fit import WIDER, widened, widened_bounds
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
    after = widened(before)
    assert after.means.mean() == pytest.approx(before.means.mean())
    assert after.means.std() == pytest.approx(WIDER * before.means.std())
    assert after.correct.mean() == pytest.approx(before.correct.mean())
    assert after.replicates == pytest.approx(before.replicates, rel=1e-6)
    assert after.interaction == pytest.approx(before.interaction, rel=1e-4)
    np.testing.assert_allclose(after.by_replicate.mean(0), after.means, rtol=1e-5, atol=1e-5)


def test_differences_have_wider_intervals_with_the_same_middle():
    runs = [losses(0), losses(1)]
    (narrow,), (wide,) = compare(runs), compare([*map(widened, runs)])
    assert wide.difference.value == pytest.approx(narrow.difference.value)
    assert narrow.error < wide.error <= WIDER * narrow.error * 1.001
    assert wide.difference.low < narrow.difference.low < narrow.difference.high
    assert wide.difference.high > narrow.difference.high and wide.p >= narrow.p


def test_bounds_stay_in_range_and_unknown_ones_unknown():
    assert widened_bounds(0.5, 0.3, 0.9, 1.0) == (pytest.approx(0.5 - 0.2 * WIDER), 1.0)
    assert widened_bounds(0.1, 0.02, 0.2)[0] == 0.0
    assert np.isnan(widened_bounds(np.nan, np.nan, np.nan, 1.0)).all()
