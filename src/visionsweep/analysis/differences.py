"""Losses of several runs on the same images, and their weighted sums with confidence intervals.

Comparisons, effects of settings, and learning curves use them: images are resampled for all runs at
once. Replicates are paired where runs share their seeds, else independent.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visionsweep.analysis import bounds, resampling
from visionsweep.analysis.intervals import Estimate
from visionsweep.analysis.predictions import Floats
from visionsweep.analysis.resampling import SeedErrors
from visionsweep.analysis.run_losses import RunLosses, require_same_images


@dataclass(frozen=True)
class Losses:
    """Losses of runs, or weighted sums of them.

    Attributes:
        images: loss on each image, `float64[K, N]`; NaN if the run diverged.
        seeds: standard errors of the K means due to seeds.
        by_replicate: contributions of replicates, `float32[K, R, N]`, if all runs share their
            seeds; else None.
    """

    images: Floats
    seeds: SeedErrors
    by_replicate: NDArray[np.float32] | None = None

    def combined(self, weights: Floats) -> "Losses":
        """Return weighted sums of runs.

        Args:
            weights: `float64[M, K]`.
        """
        images = weights @ self.images
        if self.by_replicate is None:
            return Losses(images, self.seeds.combined(weights))
        sums = np.tensordot(weights.astype(np.float32), self.by_replicate, 1)
        return Losses(images, _paired_errors(sums), sums)

    def minus_first(self) -> "Losses":
        """Return each other run minus the first."""
        images = self.images[1:] - self.images[0]
        if self.by_replicate is not None:
            sums = self.by_replicate[1:] - self.by_replicate[0]
            return Losses(images, _paired_errors(sums), sums)
        size, dof = self.seeds.size, self.seeds.dof
        pairs = [np.stack([x[1:], np.full(len(x) - 1, x[0])], axis=1) for x in (size, dof)]
        return Losses(images, SeedErrors.of_sums(*pairs))

    @property
    def errors(self) -> SeedErrors:
        """Standard errors of the means over images and seeds together; NaN with one image."""
        count = self.images.shape[1]
        if count == 1:
            return SeedErrors(np.full(len(self.images), np.nan), np.ones(len(self.images)))
        of_images = np.sqrt(self.images.var(1, ddof=1) / count)
        return SeedErrors.of_sums(
            np.stack([of_images, self.seeds.size], axis=1),
            np.stack([np.full(len(of_images), count - 1.0), self.seeds.dof], axis=1),
        )


def _paired_errors(by_replicate: NDArray[np.float32]) -> SeedErrors:
    """Return the seed errors of sums whose replicates are known, `float32[K, R, N]`."""
    replicates, images = by_replicate.shape[1:]
    size = np.array(
        [
            resampling.seed_error_less(x.mean(1), resampling.interaction(x), images)
            for x in (sums.astype(np.float64) for sums in by_replicate)
        ]
    )
    return SeedErrors(np.nan_to_num(size), np.full(len(size), max(1.0, replicates - 1.0)))


def losses_of(runs: Sequence[RunLosses]) -> Losses:
    """Gather the losses of runs, all on the same images in the same order.

    Raises:
        UserError: if two runs were scored on different images.
    """
    require_same_images(runs)
    images = np.stack([run.means for run in runs])
    if runs[0].seeds and all(run.seeds == runs[0].seeds for run in runs):
        shared = np.stack([run.by_replicate for run in runs])
        return Losses(images, _paired_errors(shared), shared)
    count = len(runs[0].images)
    error = [
        resampling.seed_error_less(run.replicates, run.interaction, count) if run.finite else 0
        for run in runs
    ]
    dof = [max(1.0, len(run.by_replicate) - 1) if run.finite else 1.0 for run in runs]
    return Losses(images, SeedErrors(np.array(error, np.float64), np.array(dof)))


def estimates_of_losses(
    losses: Losses, *, seed: int, resampled: Floats | None = None
) -> list[Estimate]:
    """Return mean losses with confidence intervals; arguments as in `bounds.studentized_ci`."""
    low, high = bounds.studentized_ci(losses.images, losses.seeds, seed=seed, resampled=resampled)
    rows = zip(losses.images.mean(1), low, high, strict=True)
    return [Estimate(*map(float, each)) for each in rows]


def estimates_of_differences(differences: Losses, *, seed: int) -> tuple[list[Estimate], Floats]:
    """Return differences of mean losses with confidence intervals, and p-values, `float64[K]`."""
    half, p = bounds.paired_bootstrap_ci(differences.images, differences.seeds, seed=seed)
    value = differences.images.mean(1)
    rows = zip(value, value - half, value + half, strict=True)
    return [Estimate(*map(float, each)) for each in rows], p
