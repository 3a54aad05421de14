"""Differences in accuracy between runs on the same images."""

from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit

from visionsweep.analysis.comparison import ALPHA
from visionsweep.analysis.differences import Losses, estimates_of_differences
from visionsweep.analysis.intervals import Estimate
from visionsweep.analysis.resampling import SeedErrors
from visionsweep.analysis.run_losses import RunLosses


def accuracy_difference(run: RunLosses, best: RunLosses, *, seed: int = 0) -> Estimate:
    """Return the accuracy of a run minus that of the best one, with its confidence interval.

    Args:
        run: a run.
        best: the best run, on the same images.
        seed: seed of the resampling.
    """
    none = SeedErrors(np.zeros(1), np.ones(1))
    (estimate,), _ = estimates_of_differences(
        Losses((run.correct - best.correct)[None].astype(np.float64), none), seed=seed
    )
    return estimate


def more_accurate(runs: Sequence[RunLosses], than: int) -> tuple[int, Estimate] | None:
    """Return the most accurate run if it is significantly more accurate than another, else None.

    Differences are paired, over images, and tested by Student's t (Holm 1979 for their number).

    Args:
        runs: runs on the same images in the same order, none diverged.
        than: place of the run to compare with.

    Returns:
        Its place, and the difference in accuracy, a share of 1.
    """
    best = max(range(len(runs)), key=lambda place: float(runs[place].correct.mean()))
    images = len(runs[than].correct)
    if best == than or images < 2:
        return None
    differences = (runs[best].correct - runs[than].correct).astype(np.float64)
    value, error = float(differences.mean()), float(differences.std(ddof=1) / np.sqrt(images))
    tests = len(runs) - 1  # of the largest difference, Holm's correction is Bonferroni's
    if value <= stdtrit(images - 1, 1 - ALPHA / tests / 2) * error:
        return None
    half = float(stdtrit(images - 1, 1 - ALPHA / 2)) * error
    return best, Estimate(value, value - half, value + half)
