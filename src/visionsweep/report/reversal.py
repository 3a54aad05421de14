"""Whether single replicates, before calibration, rank another run first than the leaderboard."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from visionsweep.analysis.comparison import corrected_difference
from visionsweep.analysis.intervals import Estimate
from visionsweep.report.recipes import Recipe, single_losses
from visionsweep.runs.discovery import Run


@dataclass(frozen=True)
class Reversal:
    """Another run whose single replicates have a significantly lower validation loss.

    The difference is the mean loss of the best run's replicates minus that of its replicates.
    """

    run: Run
    difference: Estimate


def find_reversal(compared: Sequence[Recipe]) -> Reversal | None:
    """Return the run that single replicates rank first; None if it is the best, or not for sure.

    Logits are read again for two runs, and only if the mean losses are reversed. Recipes come
    lowest loss of the deployed predictor first.
    """
    best = compared[0]
    rival = min(compared, key=_mean_loss)
    if not best.deployed or _mean_loss(rival) >= _mean_loss(best):
        return None
    losses = [found for recipe in (rival, best) if (found := single_losses(recipe)) is not None]
    if len(losses) < 2:
        return None
    difference = corrected_difference(*losses, tests=len(compared) - 1)  # one was chosen of these
    return Reversal(rival.runs[0], difference) if difference.low > 0 else None


def _mean_loss(recipe: Recipe) -> float:
    """Return the mean loss of single replicates before calibration; infinite if unknown."""
    scored = [run.record.evaluation.get(run.record.evidence, {}).get("loss") for run in recipe.runs]
    known = [measure.value for measure in scored if measure is not None]
    return sum(known) / len(known) if len(known) == len(scored) else math.inf
