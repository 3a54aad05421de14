"""Bootstrap over images, and standard errors due to seeds and to the training sample.

Images and seeds are crossed random samples (Owen 2007). Images are resampled with replacement.
Replicates are too few to resample: five of them have short tails. Their standard error enters by
Student's distribution instead, without the part of their spread that comes from the images. So does
that of heads on bootstrap samples of the training images.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from visionsweep.analysis.predictions import Floats

N_RESAMPLES = 2000
_CHUNK = 2**19  # weights held at a time: 4 MB, twice that while they are drawn, counts of 0.5 MB


def bootstrap_weights(
    images: int, *, seed: int, n_resamples: int = N_RESAMPLES
) -> Iterator[Floats]:
    """Yield the weights of images in resampled sets, `float64[N, b]`, columns that sum to one.

    A set is N - 1 images drawn with replacement: variances then come out right, not at
    (N - 1) / N (Rao & Wu 1988). Counts are kept, up to 64 MB of them, since the metrics of a run
    and the runs of a sweep have images in common.

    Args:
        images: N; one image is drawn every time.
        seed: seed of the random numbers.
        n_resamples: sets in all.
    """
    step = max(1, _CHUNK // images)
    for start in range(0, n_resamples, step):
        counts = _counts(images, min(step, n_resamples - start), seed, start)
        yield counts.astype(np.float64) / max(1, images - 1)


@lru_cache(maxsize=128)
def _counts(images: int, n_resamples: int, seed: int, start: int) -> NDArray[np.uint8]:
    generator = np.random.default_rng((seed, start))
    cells = generator.integers(images, size=(max(1, images - 1), n_resamples))
    cells *= n_resamples
    cells += np.arange(n_resamples)
    counts = np.bincount(cells.ravel(), minlength=images * n_resamples)
    return np.minimum(counts, 255).astype(np.uint8).reshape(images, n_resamples)


@dataclass(frozen=True)
class SeedErrors:
    """Standard errors of values that are due to seeds, to the training sample, or to both.

    Attributes:
        size: `float64[K]`.
        dof: `float64[K]`, degrees of freedom they are known with; at least one.
    """

    size: Floats
    dof: Floats

    def combined(self, weights: Floats) -> "SeedErrors":
        """Return those of weighted sums, `weights: float64[M, K]`."""
        return SeedErrors.of_sums(weights * self.size, self.dof)

    @staticmethod
    def of_sums(size: Floats, dof: Floats) -> "SeedErrors":
        """Return those of sums of independent values, `[K, P]` to `[K]` (Satterthwaite 1946)."""
        total = (size**2).sum(1)
        spent = (size**4 / dof).sum(1)
        known = np.divide(total**2, spent, out=np.ones_like(total), where=spent > 0)
        return SeedErrors(np.sqrt(total), known)

    def drawn(self, *, seed: int, n_resamples: int) -> Floats:
        """Draw what other seeds might have added, `float64[K, B]`."""
        return np.stack(
            [
                size * _student(int(dof + 0.01), n_resamples, seed)
                for size, dof in zip(self.size, self.dof, strict=True)
            ]
        )


@lru_cache(maxsize=64)
def _student(dof: int, n_resamples: int, seed: int) -> Floats:
    """Return the quantiles of Student's t in random order: a sample with exact tails."""
    order = np.random.default_rng((seed, dof)).permutation(n_resamples)
    result: Floats = stdtrit(dof, (order + 0.5) / n_resamples)
    result.setflags(write=False)
    return result


def seed_error(values: Floats, influence: Floats) -> float:
    """Return the standard error of a mean over replicates that is due to their seeds.

    Replicates also differ because each fails on other images. Resampling the images covers that
    part, the interaction of a two-way analysis of variance, so it is subtracted. One replicate does
    not show how seeds differ: the error is then zero.

    Args:
        values: metric of each replicate, `float64[R]`.
        influence: contribution of each image to it, `float64[R, N]`.
    """
    return seed_error_less(values, interaction(influence), influence.shape[1])


def interaction(influence: Floats) -> float:
    """Return the sum of squares of the interaction of images and replicates.

    Args:
        influence: contribution of each image to each replicate, `float64[R, N]`.
    """
    own = influence - influence.mean(0)
    own -= own.mean(1, keepdims=True)
    return float((own**2).sum())


def seed_error_less(values: Floats, interaction: float, images: int) -> float:
    """Return `seed_error`, given the interaction of N images and R replicates."""
    return float(np.sqrt(_common_variance(values, interaction, images) / len(values)))


def _common_variance(values: Floats, interaction: float, images: int) -> float:
    """Return the variance of heads that is common to all images; 0 for one head or image."""
    heads = len(values)
    if heads == 1 or images == 1:
        return 0.0
    shown = interaction / ((heads - 1) * (images - 1)) / images
    return max(0.0, float(values.var(ddof=1)) - shown)


def training_error(replicates: Floats, resampled: Floats) -> float:
    """Return the standard error of a mean loss that is due to the training sample.

    Heads on bootstrap samples differ by their samples and by their seeds, replicates by their seeds
    alone, so it is the excess of the former variance over the latter. Each variance is without the
    part that comes from the images (see `seed_error`). A single replicate does not show how seeds
    differ: the error is then due to both.

    Args:
        replicates: contributions of replicates, `float64[R, N]`.
        resampled: contributions of heads on bootstrap samples, `float64[B, N]`.
    """
    of_both, of_seeds = (
        _common_variance(x.mean(1), interaction(x), x.shape[1]) for x in (resampled, replicates)
    )
    return float(np.sqrt(max(0.0, of_both - of_seeds)))


def seed_errors_of_run(values: Floats, influence: Floats) -> SeedErrors:
    """Return `seed_error` of one run with its degrees of freedom."""
    dof = max(1, len(values) - 1)
    return SeedErrors(np.array([seed_error(values, influence)]), np.array([float(dof)]))


def resampled_means(images: Floats, seed: int, n_resamples: int) -> Floats:
    """Return means over resampled images, `float64[K, B]`, of `images: float64[K, N]`."""
    chunks = bootstrap_weights(images.shape[1], seed=seed, n_resamples=n_resamples)
    return np.concatenate([images @ weights for weights in chunks], axis=1)
