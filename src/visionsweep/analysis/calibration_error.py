"""The interval of the expected calibration error, which is measured too high on average."""

import numpy as np
from scipy.sparse import csr_array
from scipy.special import ndtr

from visionsweep.analysis import bounds, resampling
from visionsweep.analysis.groups import Groups, by_group, count_groups
from visionsweep.analysis.metrics import ECE_BINS, bins_of, calibration_gaps
from visionsweep.analysis.predictions import Floats, Predictions

# Multiples of the measured gaps that are tried as the true ones.
MULTIPLES = np.array([0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 3, 5, 8])


def calibration_error_bounds(
    predictions: Predictions, *, seed: int, n_resamples: int
) -> tuple[float, float]:
    """Return an interval around the mean over replicates of the calibration error.

    The error is a sum of absolute values, so chance in a bin adds to it whatever its direction,
    and again where images are resampled. So the question is asked the other way: if the true gaps
    between confidence and accuracy were s times the measured ones, which errors would be measured?
    The interval holds those s with which the one that was measured is none of the 5% oddest.

    Args:
        predictions: predictions with finite logits, of at least two images, or groups of them.
        seed: seed of the resampling.
        n_resamples: number of bootstrap resamples.

    Returns:
        Lower and upper bound.
    """
    gaps = calibration_gaps(predictions)
    values = np.abs(gaps).sum(1)
    table, influence = _contributions(predictions, gaps, values)
    groups = predictions.groups
    images = count_groups(groups, len(predictions.labels))
    filled = (abs(table).sum(1).reshape(gaps.shape) > 0).any(0)
    if groups is not None:
        table, influence = _of_groups(table, groups), by_group(influence, groups)
    noise = resampling.resampled_means(table, seed, n_resamples)
    noise = noise.reshape(*gaps.shape, n_resamples) - gaps[:, :, None]
    noise, shape = noise[:, filled], gaps.mean(0)[filled, None]
    acceleration = bounds.acceleration(influence.mean(0))
    # seen from the truth, what lies below is the upper tail: so one minus
    levels = 1 - ndtr(bounds.accelerated(acceleration, acceleration, images))
    seen = [np.quantile(np.abs(s * shape - noise).sum(1).mean(0), levels) for s in MULTIPLES]
    tails = np.maximum.accumulate(seen).T
    multiples = [np.interp(values.mean(), tail, MULTIPLES, left=0.0) for tail in tails]
    low, high = np.array(multiples) * np.abs(shape).sum()
    seeds = resampling.seed_errors_of_run(values, influence)
    return bounds.over_seeds(float(values.mean()), low, high, seeds)


def _contributions(
    predictions: Predictions, gaps: Floats, values: Floats
) -> tuple[csr_array, Floats]:
    """Return what each image adds to each gap, `[R * bins, N]`, and to the error, `[R, N]`."""
    replicates, images = predictions.correct.shape
    off = predictions.confidence - predictions.correct
    place = bins_of(predictions.confidence, ECE_BINS)
    rows = np.arange(replicates)[:, None]
    where = (rows * ECE_BINS + place).ravel(), np.tile(np.arange(images), replicates)
    table = csr_array((off.ravel(), where), shape=(gaps.size, images))
    return table, np.sign(gaps)[rows, place] * off - values[:, None]


def _of_groups(table: csr_array, groups: Groups) -> Floats:
    """Return `by_group` of what images add to gaps, `[K, N]` to `[K, G]`, not dense before."""
    images, sizes = len(groups), np.bincount(groups)
    membership = csr_array((np.ones(images), (np.arange(images), groups)))
    share = len(sizes) / images
    mean = table.sum(1)[:, None] / images
    result: Floats = (table @ membership).toarray() * share + mean * (1 - share * sizes)
    return result
