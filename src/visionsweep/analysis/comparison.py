"""Which runs can be told from the best one, comparing image by image."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from visionsweep.analysis import bounds
from visionsweep.analysis.differences import Losses, estimates_of_differences, losses_of
from visionsweep.analysis.intervals import Estimate
from visionsweep.analysis.predictions import Floats, Predictions
from visionsweep.analysis.resampling import SeedErrors
from visionsweep.analysis.run_losses import RunLosses

ALPHA = 1 - bounds.CONFIDENCE
POWER = 0.8
# Losses closer than this on every image differ by how float32 was rounded.
RESOLUTION = 1e-6
MOST = 10**9  # images that anyone would ask for


@dataclass(frozen=True)
class Comparison:
    """A run against the leader.

    Attributes:
        difference: of the losses, run minus leader.
        p: how often so large a difference would be seen if there were none, corrected for the
            number of comparisons (Holm 1979).
        distinguishable: whether the two can be told apart, at 5 % over the whole table.
    """

    difference: Estimate
    p: float
    distinguishable: bool


def compare(predictions: Sequence[Predictions | RunLosses], *, seed: int = 0) -> list[Comparison]:
    """Compare every run with the first, the leader.

    The leader leads since it did best on these images, so its comparisons were picked among those
    of all pairs; p-values are corrected for all of these. With one replicate a run stands for the
    head it trained: how seeds differ does not show, and is not in the comparison.

    Args:
        predictions: of runs on the same images in the same order, the leader first.
        seed: of the redrawing.

    Returns:
        One for each run but the leader, whatever the order of the others. A run that diverged is
        NaN and not distinguishable.
    """
    if len(predictions) < 2:
        return []
    estimates, p = _against_first(predictions, seed=seed)
    corrected = holm(p, tests=len(predictions) * (len(predictions) - 1) // 2)
    return [
        Comparison(difference, float(each), bool(each <= ALPHA))
        for difference, each in zip(estimates, corrected, strict=True)
    ]


def _against_first(
    predictions: Sequence[Predictions | RunLosses], *, seed: int
) -> tuple[list[Estimate], Floats]:
    differences = _minus_first(predictions)
    estimates, p = estimates_of_differences(differences, seed=seed)
    p[np.abs(differences.images).max(1) < RESOLUTION] = 1.0
    return estimates, p


def _minus_first(predictions: Sequence[Predictions | RunLosses]) -> Losses:
    """Return every other run minus the first."""
    losses = losses_of([RunLosses.of(each) for each in predictions])
    seeds = losses.seeds.size, losses.seeds.dof
    each_and_first = [np.stack([x[1:], np.full(len(x) - 1, x[0])], axis=1) for x in seeds]
    return Losses(losses.images[1:] - losses.images[0], SeedErrors.of_sums(*each_and_first))


def holm(p: Floats, tests: int) -> Floats:
    """Correct p-values for the number of tests (Holm 1979); NaN stay and count as tests.

    Args:
        p: `float64[K]`.
        tests: how many there are in all, of which these are taken for those of smallest p, which
            is on the safe side.
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
    """Return how many more images would tell two runs apart with a probability of 80 %.

    At 5 %, two-sided, if the true difference is the one that was measured.

    Args:
        first: a run.
        second: another, on the same images in the same order.
        tests: comparisons that the 5 % are for; k (k - 1) / 2 for the first two of k runs.
        seed: of the redrawing.

    Returns:
        0 where they are told apart already; None where no number of images would do, since seeds
        alone may make the difference, or where a run diverged.
    """
    differences = _minus_first([first, second])
    images = differences.images.shape[1]
    _, p = _against_first([first, second], seed=seed)
    if p[0] * tests <= ALPHA:
        return 0
    if images == 1 or np.isnan(p[0]):
        return None
    value, variance = abs(differences.images.mean()), differences.images.var(ddof=1)

    def enough(count: int) -> bool:
        of_images = np.sqrt(variance / count)
        error = SeedErrors.of_sums(
            np.array([[of_images, differences.seeds.size[0]]]),
            np.array([[count - 1, differences.seeds.dof[0]]]),
        )
        margin = stdtrit(error.dof[0], [1 - ALPHA / tests / 2, POWER]).sum()
        return bool(value >= margin * error.size[0])

    if not enough(MOST):
        return None
    return bisect_left(range(images + 1, MOST), True, key=enough) + 1
