"""Differences in accuracy between runs on the same images."""

from collections.abc import Sequence

import numpy as np

from visionsweep.analysis.contributions import mean_of
from visionsweep.analysis.differences import Losses, estimates_of_differences
from visionsweep.analysis.groups import by_group, joined
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
    difference = (run.correct - best.correct)[None].astype(np.float64)
    difference = by_group(difference, joined([run.groups, best.groups]))
    (estimate,) = estimates_of_differences(Losses(difference, none, none, np.zeros(1)), seed=seed)
    return estimate


def more_accurate(runs: Sequence[RunLosses], than: int) -> tuple[int, Estimate] | None:
    """Return the most accurate run if it is significantly more accurate than another, else None.

    Differences are paired, over images or groups of them, and tested by Student's t (Holm 1979 for
    their number).

    Args:
        runs: runs on the same images in the same order, none diverged.
        than: place of the run to compare with.

    Returns:
        Its place, and the difference in accuracy, a share of 1, with the interval that was tested.
    """
    best = max(range(len(runs)), key=lambda place: float(runs[place].correct.mean()))
    if best == than:
        return None
    ours, other = (mean_of(runs[place].correct, runs[place].groups) for place in (best, than))
    # Of the largest difference, Holm's correction is Bonferroni's.
    difference = ours.minus(other, tests=len(runs) - 1)
    return (best, difference) if difference.low > 0 else None  # NaN with one image
