"""Comparison of runs with the best one, image by image, and which of them could be the best."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from visionsweep.analysis import bounds, resampling
from visionsweep.analysis.differences import (
    MANY_IMAGES,
    Losses,
    estimates_of_differences,
    losses_of,
)
from visionsweep.analysis.intervals import Estimate
from visionsweep.analysis.predictions import Floats, Predictions
from visionsweep.analysis.resampling import SeedErrors
from visionsweep.analysis.run_losses import RunLosses

ALPHA = 1 - bounds.CONFIDENCE
POWER = 0.8
RESOLUTION = 1e-6  # losses closer than this on every image differ only by float32 rounding
MOST = 10**9  # largest number of images that is considered
MOST_CONTENDERS = 200  # runs among which the best is sought; time grows with their square


@dataclass(frozen=True)
class Comparison:
    """A run compared with the best run.

    Attributes:
        difference: difference of the losses, run minus best, with its confidence interval.
        error: standard error of the difference over images, seeds, and, where it counts, training
            samples.
        p: p-value of no difference, corrected for all pairs of runs (Holm 1979).
        distinguishable: whether the difference is significant at 5% over the whole table.
        could_be_best: whether the run could be the best one in truth (see `could_be_best`).
        training_error: the part of the error that is due to the training sample; 0 where that does
            not count or is unknown.
    """

    difference: Estimate
    error: float
    p: float
    distinguishable: bool
    could_be_best: bool
    training_error: float = 0.0

    @property
    def within_one_error(self) -> bool:
        """Whether the loss is within one standard error of the best one."""
        return bool(self.difference.value <= self.error)


def compare(predictions: Sequence[Predictions | RunLosses], *, seed: int = 0) -> list[Comparison]:
    """Compare every run with the first, the best.

    The best run was selected on these images, so its comparisons are a selection of those of all
    pairs; p-values are corrected for all pairs. With one replicate, differences between seeds are
    not part of the comparison.

    Args:
        predictions: predictions of runs on the same images in the same order, the best first.
        seed: seed of the resampling.

    Returns:
        One comparison per run but the first, independent of the order of the others. That of a run
        that diverged is NaN and not distinguishable.
    """
    if len(predictions) < 2:
        return []
    losses = losses_of([RunLosses.of(each) for each in predictions])
    differences = losses.minus_first()
    estimates, p = _against_first(differences, seed=seed)
    corrected = holm(p, tests=len(predictions) * (len(predictions) - 1) // 2)
    possible = could_be_best(losses, seed=seed)[1:]
    errors, training_errors = differences.errors.size, differences.counted_training()
    rows = zip(estimates, errors, corrected, possible, training_errors, strict=True)
    return [
        Comparison(
            difference,
            float(error),
            float(q),
            bool(q <= ALPHA),
            bool(best and not q <= ALPHA),
            float(of_training),
        )
        for difference, error, q, best, of_training in rows
    ]


def _against_first(differences: Losses, *, seed: int) -> tuple[list[Estimate], Floats]:
    estimates, p = estimates_of_differences(differences, seed=seed)
    p[np.abs(differences.images).max(1) < RESOLUTION] = 1.0
    return estimates, p


def could_be_best(losses: Losses, *, seed: int = 0) -> NDArray[np.bool_]:
    """Return which runs could have the lowest true loss: Hsu's multiple comparisons with the best.

    A run is excluded if its loss is significantly above that of some other run, at 2.5% for all
    others together (Hsu 1984); at 5%, few images with skewed losses exclude the true best too often
    (`benchmarks/decisions.py`). The critical value is that of the largest studentized difference
    over bootstrap resamples of the images, which takes the correlation between runs into account.
    Of more than 200 runs, only the first 200 are considered; the others stay possible.

    Args:
        losses: losses of K runs, the lowest first.
        seed: seed of the resampling.

    Returns:
        `bool[K]`; True with a single image.
    """
    possible = np.ones(len(losses.images), np.bool_)
    count = losses.images.shape[1]
    chosen = np.flatnonzero(np.isfinite(losses.images).all(1))[:MOST_CONTENDERS]
    if count == 1 or len(chosen) < 2:
        return possible
    images = losses.images[chosen]
    value = images.mean(1)
    off = images - value[:, None]
    of_images = _squared_distances(off) / (count - 1) / count
    error = np.sqrt(of_images + _head_variances(losses, chosen))
    shifts = resampling.resampled_means(off, seed, resampling.N_RESAMPLES)
    tail = stdtrit(count - 1, bounds.UPPER) / stdtrit(np.inf, bounds.UPPER)  # for few images
    for place in range(len(chosen)):
        apart = of_images[place] > 0
        if not apart.any():
            continue
        t = (shifts[place] - shifts[apart]) / np.sqrt(of_images[place, apart])[:, None]
        critical = tail * np.quantile(t.max(0), bounds.UPPER)
        above = (value[place] - value[apart]) / error[place, apart]
        possible[chosen[place]] = bool(above.max() <= critical)
    return possible


def _squared_distances(rows: Floats) -> Floats:
    """Return the sum of squared differences of each pair of rows, `float64[K, K]`."""
    products = rows @ rows.T
    square = np.diag(products)
    distances: Floats = np.maximum(square[:, None] + square - 2 * products, 0.0)
    distances[distances < 1e-12 * (square[:, None] + square)] = 0.0
    return distances


def _head_variances(losses: Losses, chosen: NDArray[np.int64]) -> Floats:
    """Return the variance of the difference of each pair of runs due to heads, `float64[K, K]`.

    That is due to seeds and, where it counts, to the training sample.
    """

    def independent(errors: SeedErrors) -> Floats:
        size = errors.size[chosen]
        sums: Floats = size[:, None] ** 2 + size**2
        return sums

    training = independent(losses.training)
    if losses.by_replicate is None:
        variances = independent(losses.seeds)
    else:
        common = _common_variances(losses.by_replicate[chosen])
        variances = common / losses.by_replicate.shape[1]
        if losses.by_sample is not None:
            of_both = _common_variances(losses.by_sample[chosen])
            training = np.maximum(of_both - common, 0.0)
    sets = losses.training_sets[chosen]
    counted = losses.counts_training(sets[:, None] - sets)
    result: Floats = variances + np.where(counted, training, 0.0)
    return result


def _common_variances(table: NDArray[np.float32]) -> Floats:
    """Return the variance over heads of the difference of each pair of runs, `float64[K, K]`.

    Without the part that comes from the images, as in `resampling.seed_error`.

    Args:
        table: contributions of heads, `float32[K, R, N]`.
    """
    runs, heads, images = table.shape
    if heads == 1:
        return np.zeros((runs, runs))
    values = table.mean(2, dtype=np.float64)
    spread = _squared_distances(values - values.mean(1, keepdims=True)) / (heads - 1)
    mean = table.mean(1, dtype=np.float64)
    shown = np.zeros((runs, runs))
    for head in range(heads):
        own = table[:, head] - mean
        shown += _squared_distances(own - own.mean(1, keepdims=True))
    variances: Floats = np.maximum(spread - shown / ((heads - 1) * (images - 1)) / images, 0.0)
    return variances


def holm(p: Floats, tests: int) -> Floats:
    """Correct p-values for the number of tests (Holm 1979); NaN stays and counts as a test.

    Args:
        p: p-values, `float64[K]`.
        tests: number of tests, of which these are treated as those of smallest p (conservative).
    """
    order = np.argsort(p)
    multiplied = p[order] * (tests - np.arange(len(p)))
    result = np.empty_like(p)
    result[order] = np.minimum(1, np.maximum.accumulate(multiplied))
    return result


def images_needed(
    first: Predictions | RunLosses,
    second: Predictions | RunLosses,
    *,
    tests: int = 1,
    seed: int = 0,
) -> int | None:
    """Return how many more images would separate two runs with a power of 80%.

    At 5%, two-sided, if the true difference is the measured one. That is a lower bound on average:
    a pair of runs that was selected because it differs least differs more in truth.

    Args:
        first: a run.
        second: another run, on the same images in the same order.
        tests: number of comparisons that the 5% are for; k (k - 1) / 2 in a table of k runs.
        seed: seed of the resampling.

    Returns:
        0 if they are separated already; None if the difference is smaller than its standard error,
        if no number of images would do since seeds, or other training images, alone may cause it,
        or if a run diverged.
    """
    differences = losses_of([RunLosses.of(first), RunLosses.of(second)]).minus_first()
    images: int = differences.images.shape[1]
    _, p = _against_first(differences, seed=seed)
    if p[0] * tests <= ALPHA:
        return 0
    if images == 1 or np.isnan(p[0]):
        return None
    value, variance = abs(differences.images.mean()), differences.images.var(ddof=1)
    if value < differences.errors.size[0]:
        return None

    def enough(count: int) -> bool:
        of_images, heads = np.sqrt(variance / count), differences.heads(count)
        error = SeedErrors.of_sums(
            np.array([[of_images, heads.size[0]]]),
            np.array([[count - 1, heads.dof[0]]]),
        )
        margin = stdtrit(error.dof[0], [1 - ALPHA / tests / 2, POWER]).sum()
        return bool(value >= margin * error.size[0])

    # The training sample counts from MANY_IMAGES on, so fewer may be enough where more are not.
    for counts in (range(images + 1, MANY_IMAGES + 1), range(images + 1, MOST + 1)):
        if counts and enough(counts[-1]):
            return int(counts[bisect_left(counts, True, key=enough)]) - images
    return None
