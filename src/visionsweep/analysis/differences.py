"""Losses of runs on the same images, and sums and differences of them with their intervals.

What a comparison, a factor's effect and a learning curve have in common: the images are redrawn
for all runs at once, the seeds of each run for itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from visionsweep.analysis import bounds, resampling
from visionsweep.analysis.intervals import Estimate
from visionsweep.analysis.outcomes import Floats, Outcomes
from visionsweep.analysis.resampling import SeedErrors


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


def losses_of(runs: Sequence[Sequence[Outcomes]]) -> Losses:
    """Gather the losses of runs, all on the same images in the same order.

    Args:
        runs: each as the outcomes of its repeats, runs that differ by their seeds alone: all their
            replicates together are taken for replicates of one run.
    """
    first = runs[0][0]
    images = np.full((len(runs), len(first.labels)), np.nan)
    seeds = SeedErrors(np.zeros(len(runs)), np.ones(len(runs)))
    for k, repeats in enumerate(runs):
        assert all(each.images == first.images for each in repeats), "runs on other images"
        if all(each.finite.all() for each in repeats):
            table = np.concatenate([each.losses for each in repeats])
            images[k] = table.mean(0)
            seeds.size[k] = resampling.seed_error(table.mean(1), table)
            seeds.freedom[k] = max(1, len(table) - 1)
    return Losses(images, seeds)


def estimates_of_losses(
    losses: Losses, *, seed: int, redrawn: Floats | None = None
) -> list[Estimate]:
    """Estimate mean losses; arguments as `bounds.around_losses`."""
    low, high = bounds.around_losses(losses.images, losses.seeds, seed=seed, redrawn=redrawn)
    rows = zip(losses.images.mean(1), low, high, strict=True)
    return [Estimate(*map(float, each)) for each in rows]


def estimates_of_differences(differences: Losses, *, seed: int) -> tuple[list[Estimate], Floats]:
    """Estimate differences of mean losses, with their p-values, `float64[K]`."""
    half, p = bounds.around_differences(differences.images, differences.seeds, seed=seed)
    value = differences.images.mean(1)
    rows = zip(value, value - half, value + half, strict=True)
    return [Estimate(*map(float, each)) for each in rows], p
