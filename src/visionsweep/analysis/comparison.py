"""Comparison of runs with the best one, image by image, and which of them could be the best."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from visionsweep.analysis import bounds
from visionsweep.analysis.best import RESOLUTION, above_best
from visionsweep.analysis.differences import MANY_IMAGES, Losses, losses_of
from visionsweep.analysis.intervals import Estimate
from visionsweep.analysis.predictions import Floats, Predictions
from visionsweep.analysis.resampling import SeedErrors
from visionsweep.analysis.run_losses import RunLosses

ALPHA = 1 - bounds.CONFIDENCE
POWER = 0.8
MOST = 10**9  # largest number of images that is considered


@dataclass(frozen=True)
class Comparison:
    """A run compared with the best run.

    Attributes:
        difference: difference of the losses, run minus best. Its interval is that of the loss above
            the best of the other runs, 95% for all runs together: it excludes zero exactly if the
            run cannot be the best (see `above_best`).
        error: standard error of the difference over images, seeds, and, where it counts, training
            samples.
        p: p-value of no difference, corrected for all pairs of runs (Holm 1979).
        distinguishable: whether the difference is significant at 5% over the whole table.
        could_be_best: whether the run could be the best one in truth.
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
    p = _p_values(differences, seed=seed)
    pairs = len(predictions) * (len(predictions) - 1) // 2
    corrected = holm(p, tests=pairs)
    value = differences.images.mean(1)
    half = differences.half_widths(pairs - np.argsort(np.argsort(p)))
    low, high = (bound[1:] for bound in above_best(losses, seed=seed))
    # Holm's comparisons exclude runs, too, and alone beyond those that `above_best` considers.
    alone = np.isnan(low)
    low[alone] = np.minimum(value - half, 0)[alone]
    low = np.where(corrected <= ALPHA, np.fmax(low, value - half), low)
    high[alone] = (value + half)[alone]
    errors, training_errors = differences.errors.size, differences.counted_training()
    rows = zip(value, low, high, errors, corrected, training_errors, strict=True)
    return [
        Comparison(
            Estimate(float(middle), float(start), float(end)),
            float(error),
            float(q),
            distinguishable=bool(q <= ALPHA and start > 0),
            could_be_best=not start > 0,
            training_error=float(of_training),
        )
        for middle, start, end, error, q, of_training in rows
    ]


def _p_values(differences: Losses, *, seed: int) -> Floats:
    _, p = bounds.paired_bootstrap_ci(differences.images, differences.heads(), seed=seed)
    p[np.abs(differences.images).max(1) < RESOLUTION] = 1.0
    return p


def corrected_difference(first: RunLosses, second: RunLosses, *, tests: int) -> Estimate:
    """Return the loss of the second run minus that of the first, with its confidence interval.

    By Student's t, 95% for a number of differences together (Bonferroni).
    """
    difference = losses_of([first, second]).minus_first()
    (value,), (half,) = difference.images.mean(1), difference.half_widths(np.array([tests]))
    return Estimate(float(value), float(value - half), float(value + half))


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
    p = _p_values(differences, seed=seed)
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
