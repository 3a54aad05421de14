"""Losses of runs on the same images, and sums and differences of them with their intervals.

What a comparison, a factor's effect and a learning curve have in common: the images are redrawn
for all runs at once, the seeds of each run for itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from visionsweep.analysis import bounds, resampling
from visionsweep.analysis.intervals import Estimate
from visionsweep.analysis.predictions import Floats
from visionsweep.analysis.resampling import SeedErrors
from visionsweep.analysis.run_losses import RunLosses, require_same_images


@dataclass(frozen=True)
class Losses:
    """What is kept of runs on the same images, so that a thousand runs fit into memory.

    Attributes:
        images: `float64[K, N]`, loss of each run on each image, mean over replicates; NaN
            throughout where a run diverged.
        seeds: errors of the K mean losses.
    """

    images: Floats
    seeds: SeedErrors

    def combined(self, weights: Floats) -> "Losses":
        """Return weighted sums of runs, `weights: float64[M, K]`."""
        return Losses(weights @ self.images, self.seeds.combined(weights))


def losses_of(runs: Sequence[RunLosses]) -> Losses:
    """Gather the losses of runs, all on the same images in the same order.

    Raises:
        UserError: if two runs were scored on different images.
    """
    require_same_images(runs)
    images = len(runs[0].images)
    error = [
        resampling.seed_error_less(each.replicates, each.interaction, images) if each.finite else 0
        for each in runs
    ]
    dof = [max(1.0, len(each.replicates) - 1) if each.finite else 1.0 for each in runs]
    seeds = SeedErrors(np.array(error, np.float64), np.array(dof))
    return Losses(np.stack([each.means for each in runs]), seeds)


def estimates_of_losses(
    losses: Losses, *, seed: int, redrawn: Floats | None = None
) -> list[Estimate]:
    """Estimate mean losses; arguments as `bounds.studentized_ci`."""
    low, high = bounds.studentized_ci(losses.images, losses.seeds, seed=seed, redrawn=redrawn)
    rows = zip(losses.images.mean(1), low, high, strict=True)
    return [Estimate(*map(float, each)) for each in rows]


def estimates_of_differences(differences: Losses, *, seed: int) -> tuple[list[Estimate], Floats]:
    """Estimate differences of mean losses, with their p-values, `float64[K]`."""
    half, p = bounds.paired_bootstrap_ci(differences.images, differences.seeds, seed=seed)
    value = differences.images.mean(1)
    rows = zip(value, value - half, value + half, strict=True)
    return [Estimate(*map(float, each)) for each in rows], p
