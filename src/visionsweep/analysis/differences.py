"""Losses of runs on the same images, and sums and differences of them with their intervals.

What a comparison, a factor's effect and a learning curve have in common: the images are redrawn
for all runs at once, the seeds of each run for itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visionsweep.analysis import resampling
from visionsweep.analysis.intervals import Estimate
from visionsweep.analysis.outcomes import Floats, Outcomes


@dataclass(frozen=True)
class Losses:
    """What is kept of runs on the same images, so that a thousand runs fit into memory.

    Attributes:
        images: `float64[K, N]`, loss of each run on each image, mean over replicates; NaN
            throughout where a run diverged.
        errors: `float64[K]`, standard error of a run's loss that is due to its seeds.
        replicates: `int64[K]`.
    """

    images: Floats
    errors: Floats
    replicates: NDArray[np.int64]


def losses_of(runs: Sequence[Sequence[Outcomes]]) -> Losses:
    """Gather the losses of runs, all on the same images in the same order.

    Args:
        runs: each as the outcomes of its repeats, runs that differ by their seeds alone: all their
            replicates together are taken for replicates of one run.
    """
    first = runs[0][0]
    images = np.full((len(runs), len(first.labels)), np.nan)
    errors = np.zeros(len(runs))
    replicates = np.ones(len(runs), np.int64)
    for k, repeats in enumerate(runs):
        assert all(each.images == first.images for each in repeats), "runs on other images"
        if all(each.finite.all() for each in repeats):
            table = np.concatenate([each.losses for each in repeats])
            images[k] = table.mean(0)
            errors[k] = resampling.replicate_error(table.mean(1), table)
            replicates[k] = len(table)
    return Losses(images, errors, replicates)


def redrawn_means(images: Floats, *, seed: int) -> Floats:
    """Return means over redrawn images, `float64[K, B]`, of `images: float64[K, N]`."""
    chunks = resampling.image_weights(images.shape[1], seed=seed)
    return np.concatenate([images @ weights for weights in chunks], axis=1)


def seed_noise(losses: Losses, *, seed: int) -> Floats:
    """Return what other seeds might have added to the loss of each run, `float64[K, B]`."""
    noise = [
        error * resampling.replicate_noise(int(replicates), seed=seed + 1 + k)
        for k, (error, replicates) in enumerate(zip(losses.errors, losses.replicates, strict=True))
    ]
    return np.stack(noise)


def estimates_of(
    images: Floats, errors: Floats, noise: Floats, *, seed: int, redrawn: Floats | None = None
) -> list[Estimate]:
    """Estimate sums of losses, given for each image; arguments as `resampling.around_means`."""
    low, high = resampling.around_means(images, errors, noise, seed=seed, redrawn=redrawn)
    bounds = zip(images.mean(1), low, high, strict=True)
    return [Estimate(*map(float, each)) for each in bounds]
