"""Mean losses of runs on the same images, and sums and differences of them, with their errors.

What a comparison, a factor's effect and a learning curve have in common: the images are redrawn
for all runs at once, the seeds of each run for itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

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
    replicates: np.ndarray

    @property
    def values(self) -> Floats:
        """The loss of each run, `float64[K]`."""
        result: Floats = self.images.mean(1)
        return result


def losses_of(outcomes: Sequence[Outcomes]) -> Losses:
    """Gather the losses of runs, all on the same images in the same order."""
    assert all(each.images == outcomes[0].images for each in outcomes), "runs on other images"
    images = np.empty((len(outcomes), len(outcomes[0].labels)))
    errors = np.zeros(len(outcomes))
    for k, each in enumerate(outcomes):
        table = each.losses
        if np.isfinite(table).all():
            images[k] = table.mean(0)
            errors[k] = resampling.replicate_error(table.mean(1), table)
        else:
            images[k] = np.nan
    return Losses(images, errors, np.array([len(each.logits) for each in outcomes]))


def pooled(outcomes: Sequence[Outcomes]) -> Outcomes:
    """Take the replicates of runs that differ by their seeds alone for replicates of one run."""
    return reduce(lambda one, other: one + other, outcomes)


def redrawn(images: Floats, *, seed: int) -> Floats:
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


def estimate(images: Floats, means: Floats, noise: Floats | float, error: float) -> Estimate:
    """Estimate a sum of losses.

    Args:
        images: `float64[N]`, of each image.
        means: `float64[B]`, over redrawn images.
        noise: `float64[B]`, what other seeds might have added.
        error: standard error that is due to seeds.
    """
    value = float(images.mean())
    skew = resampling.acceleration(images - value, error**2)
    low, high = resampling.interval(value, means + noise, images=len(images), acceleration=skew)
    return Estimate(value, low, high)
