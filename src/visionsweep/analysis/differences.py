"""Losses of several runs on the same images, and their weighted sums with confidence intervals.

Comparisons, effects of settings, and learning curves use them: images are resampled for all runs at
once, or groups of images where there are any, which then stand in the place of images. Replicates
are paired where runs share their seeds, else independent. One replicate is a constant.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from visionsweep.analysis import bounds, resampling
from visionsweep.analysis.intervals import Estimate
from visionsweep.analysis.predictions import Floats
from visionsweep.analysis.resampling import SeedErrors
from visionsweep.analysis.run_losses import RunLosses, Seed, by_groups, require_same_images

MANY_IMAGES = 500  # from more on, the training sample counts in every difference
_SAME = 1e-9  # weights of a training set that cancel


@dataclass(frozen=True)
class Losses:
    """Losses of runs, or weighted sums of them.

    Attributes:
        images: loss on each image, `float64[K, N]`; NaN if the run diverged.
        seeds: standard errors of the K means due to seeds.
        training: those due to the training sample; zero if unknown.
        training_sets: a random number for each training set, weighted alike, `float64[K]`; zero if
            all of a sum are differences between runs on the same training images.
        by_replicate: contributions of replicates, `float32[K, R, N]`, if all runs share their
            seeds; else None.
        by_sample: contributions of heads on bootstrap samples of the training images,
            `float32[K, B, N]`, if all runs share their seeds; else None.
    """

    images: Floats
    seeds: SeedErrors
    training: SeedErrors
    training_sets: Floats
    by_replicate: NDArray[np.float32] | None = None
    by_sample: NDArray[np.float32] | None = None

    def combined(self, weights: Floats) -> "Losses":
        """Return weighted sums of runs.

        Args:
            weights: `float64[M, K]`.
        """

        def sums(table: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
            return None if table is None else np.tensordot(weights.astype(np.float32), table, 1)

        return Losses(
            weights @ self.images,
            self.seeds.combined(weights),
            self.training.combined(weights),
            weights @ self.training_sets,
            sums(self.by_replicate),
            sums(self.by_sample),
        )._paired()

    def minus_first(self) -> "Losses":
        """Return each other run minus the first."""

        def minus(table: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
            return None if table is None else table[1:] - table[0]

        def independent(errors: SeedErrors) -> SeedErrors:
            parts = (errors.size, errors.dof)
            both = [np.stack([x[1:], np.full(len(x) - 1, x[0])], axis=1) for x in parts]
            return SeedErrors.of_sums(*both)

        return Losses(
            self.images[1:] - self.images[0],
            independent(self.seeds),
            independent(self.training),
            self.training_sets[1:] - self.training_sets[0],
            minus(self.by_replicate),
            minus(self.by_sample),
        )._paired()

    def _paired(self) -> "Losses":
        """Return these losses with the errors of paired replicates, where these are known."""
        if self.by_replicate is None:
            return self
        paired = replace(self, seeds=_paired_errors(self.by_replicate))
        if self.by_sample is None:
            return paired
        return replace(paired, training=_training_errors(self.by_replicate, self.by_sample))

    def counts_training(self, training_sets: Floats, images: int = 0) -> NDArray[np.bool_]:
        """Return whether the training sample is counted in sums of these losses.

        It is in data effects, and with many images in every difference: the images then no longer
        hide that other training images would have given other heads.

        Args:
            training_sets: those of the sums, like the attribute, of any shape.
            images: number of images; by default those of these losses.
        """
        of_data: NDArray[np.bool_] = np.abs(training_sets) > _SAME
        many = (images or self.images.shape[1]) > MANY_IMAGES and self.by_sample is not None
        return of_data | many

    def counted_training(self, images: int = 0) -> Floats:
        """Return the standard errors due to the training sample, 0 where it is not counted.

        Args:
            images: number of images; by default those of these losses.
        """
        counted = self.counts_training(self.training_sets, images)
        return np.where(counted, self.training.size, 0.0)

    def heads(self, images: int = 0) -> SeedErrors:
        """Return the standard errors due to seeds and, where it counts, to the training sample.

        Args:
            images: number of images; by default those of these losses.
        """
        size = self.counted_training(images)
        if not size.any():
            return self.seeds
        return SeedErrors.of_sums(
            np.stack([self.seeds.size, size], axis=1),
            np.stack([self.seeds.dof, self.training.dof], axis=1),
        )

    @property
    def errors(self) -> SeedErrors:
        """Standard errors of the means over images and heads together; NaN with one image."""
        count = self.images.shape[1]
        if count == 1:
            return SeedErrors(np.full(len(self.images), np.nan), np.ones(len(self.images)))
        of_images, of_heads = np.sqrt(self.images.var(1, ddof=1) / count), self.heads()
        return SeedErrors.of_sums(
            np.stack([of_images, of_heads.size], axis=1),
            np.stack([np.full(len(of_images), count - 1.0), of_heads.dof], axis=1),
        )

    def half_widths(self, tests: NDArray[np.int64]) -> Floats:
        """Return half the widths of 95% confidence intervals of the means by Student's t.

        Args:
            tests: number of means that the 95% are for, of each (Bonferroni), `int64[K]`.
        """
        errors = self.errors
        half: Floats = stdtrit(errors.dof, 1 - (1 - bounds.UPPER) / tests) * errors.size
        return half


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


def _training_errors(
    by_replicate: Iterable[NDArray[np.float32]], by_sample: Iterable[NDArray[np.float32]]
) -> SeedErrors:
    """Return the training errors of sums, `[R, N]` and `[B, N]` each; zero where B is 0."""
    errors = [
        (
            resampling.training_error(heads.astype(np.float64), resampled.astype(np.float64))
            if len(resampled) and np.isfinite(heads).all()
            else 0.0,
            max(1.0, len(resampled) - 1.0),
        )
        for heads, resampled in zip(by_replicate, by_sample, strict=True)
    ]
    size, dof = np.array(errors).T
    return SeedErrors(size, dof)


def _seeds_in_common(runs: Sequence[RunLosses]) -> tuple[Seed, ...]:
    """Return the seeds that all runs share, apart from those of one replicate; else none.

    One replicate, as of a solved head or a trained backbone, does not show how seeds differ. It
    neither adds to the seed error of a sum nor keeps the other runs from being paired.
    """
    several = {run.seeds for run in runs if len(run.by_replicate) > 1}
    seeds = several or {run.seeds for run in runs}
    return seeds.pop() if len(seeds) == 1 else ()


def _same_size(tables: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Stack tables of heads, `[K, R, N]`; one head counts as R equal ones, and so does none."""
    size = max(map(len, tables))
    rows = [
        table if len(table) else np.zeros_like(tables[0], shape=(1, table.shape[1]))
        for table in tables
    ]
    return np.stack([np.broadcast_to(row, (size, row.shape[1])) for row in rows])


def losses_of(runs: Sequence[RunLosses]) -> Losses:
    """Gather the losses of runs, all on the same images in the same order.

    Raises:
        UserError: if two runs were scored on different images.
    """
    require_same_images(runs)
    runs = by_groups(runs)
    images = np.stack([run.means for run in runs])
    names = list(dict.fromkeys(run.training for run in runs))
    numbers = dict(zip(names, np.random.default_rng(0).uniform(1, 2, len(names)), strict=True))
    sets = np.array([numbers[run.training] for run in runs])
    training = _training_errors([run.by_replicate for run in runs], [run.by_sample for run in runs])
    paired = _seeds_in_common(runs)
    if paired:
        shared = _same_size([run.by_replicate for run in runs])
        alike = len({(run.samples, run.sample_images) for run in runs if run.samples}) == 1
        samples = _same_size([run.by_sample for run in runs]) if alike else None
        return Losses(images, _paired_errors(shared), training, sets, shared, samples)
    count = len(runs[0].means)
    error = [
        resampling.seed_error_less(run.replicates, run.interaction, count) if run.finite else 0
        for run in runs
    ]
    dof = [max(1.0, len(run.by_replicate) - 1) if run.finite else 1.0 for run in runs]
    return Losses(images, SeedErrors(np.array(error, np.float64), np.array(dof)), training, sets)


def estimates_of_losses(
    losses: Losses, *, seed: int, resampled: Floats | None = None
) -> list[Estimate]:
    """Return mean losses with confidence intervals; arguments as in `bounds.studentized_ci`."""
    low, high = bounds.studentized_ci(losses.images, losses.heads(), seed=seed, resampled=resampled)
    rows = zip(losses.images.mean(1), low, high, strict=True)
    return [Estimate(*map(float, each)) for each in rows]


def estimates_of_differences(differences: Losses, *, seed: int) -> list[Estimate]:
    """Return differences of mean losses with confidence intervals."""
    half, _ = bounds.paired_bootstrap_ci(differences.images, differences.heads(), seed=seed)
    value = differences.images.mean(1)
    rows = zip(value, value - half, value + half, strict=True)
    return [Estimate(*map(float, each)) for each in rows]
