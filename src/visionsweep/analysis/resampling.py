"""Redraws images and replicates, and turns what comes of it into intervals.

Images and seeds are two crossed sources of chance (Owen 2007). Images are redrawn with
replacement. Replicates are too few for that: five seeds redrawn have short tails. What other seeds
might have given is drawn from Student's distribution instead, once the part of the replicates'
spread that comes from the images is taken off.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from visionsweep.analysis.outcomes import Floats

DRAWS = 2000
CONFIDENCE = 0.95
RARE = 0.02  # p-values below are not counted among redrawn values
_CHUNK = 2**21  # weights held at a time: 16 MB
_RUNS = 200  # whose redrawn values are held at a time


def image_weights(images: int, *, seed: int, draws: int = DRAWS) -> Iterator[Floats]:
    """Yield the weights of images in redrawn sets, `float64[N, b]`, columns that sum to one.

    A set is N - 1 images drawn with replacement: variances then come out right, not at
    (N - 1) / N (Rao & Wu 1988). Weights that fit into one chunk are kept, since the runs of a
    sweep have images in common.

    Args:
        images: at least two.
        seed: of the drawing.
        draws: sets in all.
    """
    step = max(1, _CHUNK // images)
    chunk = _weights if draws <= step else _weights.__wrapped__
    for start in range(0, draws, step):
        yield chunk(images, min(step, draws - start), seed, start)


@lru_cache(maxsize=4)
def _weights(images: int, draws: int, seed: int, start: int) -> Floats:
    generator = np.random.default_rng((seed, start))
    drawn = generator.integers(images, size=(images - 1, draws), dtype=np.int32)
    cells = drawn.astype(np.int64) * draws + np.arange(draws)
    counts = np.bincount(cells.ravel(), minlength=images * draws)
    weights: Floats = counts.reshape(images, draws) / (images - 1)
    weights.setflags(write=False)
    return weights


@dataclass(frozen=True)
class SeedErrors:
    """Standard errors of values that are due to seeds.

    Attributes:
        size: `float64[K]`.
        freedom: `float64[K]`, degrees of freedom they are known with; at least one.
    """

    size: Floats
    freedom: Floats

    def combined(self, weights: Floats) -> "SeedErrors":
        """Return those of weighted sums, `weights: float64[M, K]`."""
        return SeedErrors.of_sums(weights * self.size, self.freedom)

    @staticmethod
    def of_sums(size: Floats, freedom: Floats) -> "SeedErrors":
        """Return those of sums of independent values, `[K, P]` to `[K]` (Satterthwaite 1946)."""
        total = (size**2).sum(1)
        spent = (size**4 / freedom).sum(1)
        known = np.divide(total**2, spent, out=np.ones_like(total), where=spent > 0)
        return SeedErrors(np.sqrt(total), known)

    def drawn(self, *, seed: int, draws: int) -> Floats:
        """Draw what other seeds might have added, `float64[K, B]`."""
        return np.stack(
            [
                size * _student(int(freedom), draws, seed)
                for size, freedom in zip(self.size, self.freedom, strict=True)
            ]
        )


@lru_cache(maxsize=64)
def _student(freedom: int, draws: int, seed: int) -> Floats:
    """Return the quantiles of Student's t in random order: draws without chance in their tails."""
    order = np.random.default_rng((seed, freedom)).permutation(draws)
    result: Floats = stdtrit(freedom, (order + 0.5) / draws)
    result.setflags(write=False)
    return result


def seed_error(values: Floats, influence: Floats) -> float:
    """Return the standard error of a mean over replicates that is due to their seeds.

    Replicates differ, too, since each errs on other images of these few; redrawing the images
    shows that part already, so it is taken off: the interaction of a two-way analysis of variance.
    Zero for one replicate, which does not show how seeds differ.

    Args:
        values: `float64[R]`, a metric of each replicate.
        influence: `float64[R, N]`, what each image contributes to it.
    """
    replicates, images = influence.shape
    if replicates == 1 or images == 1:
        return 0.0
    own = influence - influence.mean(0)
    own -= own.mean(1, keepdims=True)
    shown = (own**2).sum() / ((replicates - 1) * (images - 1)) / images
    return float(np.sqrt(max(0.0, values.var(ddof=1) - shown) / replicates))


def errors_of_one(values: Floats, influence: Floats) -> SeedErrors:
    """Return `seed_error` of one run with its degrees of freedom."""
    freedom = max(1, len(values) - 1)
    return SeedErrors(np.array([seed_error(values, influence)]), np.array([float(freedom)]))


def around_losses(
    images: Floats,
    seeds: SeedErrors,
    *,
    seed: int,
    draws: int = DRAWS,
    redrawn: Floats | None = None,
) -> tuple[Floats, Floats]:
    """Return intervals around mean losses: the studentised bootstrap.

    Each redrawn mean is measured in its own standard error (Davison & Hinkley 1997, section 5.2).
    Losses are skewed, a few large ones make the mean: a redrawn set without these has a low mean
    and a small error, and so says how far above what was measured the truth may lie.

    Args:
        images: `float64[K, N]`, whose means over images are wanted.
        seeds: errors of the means.
        seed: of the redrawing.
        draws: how often.
        redrawn: `float64[K, B]`, where these are not means but functions of means, of which
            `images` are the linear part.

    Returns:
        Lower and upper bounds, `float64[K]`; NaN with one image.
    """
    count = images.shape[1]
    values = images.mean(1)
    if count == 1:
        return np.full_like(values, np.nan), np.full_like(values, np.nan)
    off = images - values[:, None]
    error = np.sqrt(off.var(1, ddof=1) / count + seeds.size**2)
    shifts, squares = weighted_means(off, seed, draws), weighted_means(off**2, seed, draws)
    own = np.sqrt(np.maximum(squares - shifts**2, 0) / (count - 1) + seeds.size[:, None] ** 2)
    if redrawn is not None:
        shifts = redrawn - values[:, None]
    # a set of equal images shows no error; a floor keeps it from claiming any distance
    floor = np.where(error > 0, error / 4, 1.0)[:, None]
    t = (shifts + seeds.drawn(seed=seed, draws=draws)) / np.maximum(own, floor)
    upper, lower = np.quantile(t, [0.5 + CONFIDENCE / 2, 0.5 - CONFIDENCE / 2], axis=1)
    return values - upper * error, values - lower * error


def weighted_means(images: Floats, seed: int, draws: int) -> Floats:
    """Return means over redrawn images, `float64[K, B]`, of `images: float64[K, N]`."""
    chunks = image_weights(images.shape[1], seed=seed, draws=draws)
    return np.concatenate([images @ weights for weights in chunks], axis=1)


def around_differences(
    images: Floats, seeds: SeedErrors, *, seed: int, draws: int = DRAWS
) -> tuple[Floats, Floats]:
    """Return how far to both sides intervals around differences reach, and p-values for zero.

    The paired bootstrap: images are redrawn with what both runs made of them. The same distance to
    both sides, since a difference leans to one side mostly by the chance of one image (Hall 1988).
    A p-value is the share of redrawn differences that lie as far from the measured one as zero
    does; below `RARE`, where draws run out, it is that of Student's t (Welch 1947), for which
    differences are measured in their standard errors.

    Args:
        images: `float64[K, N]`, differences on each image.
        seeds: errors of their means.
        seed: of the redrawing.
        draws: how often.

    Returns:
        Half the widths of the intervals and p-values, two-sided, both `float64[K]`; NaN with one
        image.
    """
    half, p = np.full((2, len(images)), np.nan)
    if images.shape[1] > 1:
        for start in range(0, len(images), _RUNS):
            part = slice(start, start + _RUNS)
            some = SeedErrors(seeds.size[part], seeds.freedom[part])
            half[part], p[part] = _around_differences(images[part], some, seed, draws)
    return half, p


def _around_differences(
    images: Floats, seeds: SeedErrors, seed: int, draws: int
) -> tuple[Floats, Floats]:
    count = images.shape[1]
    values = images.mean(1)
    shifts = weighted_means(images - values[:, None], seed, draws)
    shifts += seeds.drawn(seed=seed, draws=draws)
    level = 0.5 + CONFIDENCE / 2
    shifts *= stdtrit(count - 1, level) / ndtri(level)  # for few images (Hesterberg 2015)
    np.abs(shifts, out=shifts)
    half = np.quantile(shifts, CONFIDENCE, axis=1)
    seen = (shifts >= np.abs(values)[:, None]).mean(1)

    of_images = np.sqrt(images.var(1, ddof=1) / count)
    both = SeedErrors.of_sums(
        np.stack([of_images, seeds.size], axis=1),
        np.stack([np.full(len(images), count - 1.0), seeds.freedom], axis=1),
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        tail = 2 * stdtr(both.freedom, -np.abs(values) / both.size)
    tail[both.size == 0] = values[both.size == 0] == 0
    return half, np.where(seen > RARE, seen, np.minimum(tail, RARE))


def around_redrawn(value: float, redrawn: Floats, influence: Floats, error: float) -> Floats:
    """Return the interval that redrawn values give, corrected for bias and skewness.

    Efron's BCa interval (1987), with Student's quantiles for few images (Hesterberg 2015).

    Args:
        value: what was measured.
        redrawn: `float64[B]`.
        influence: `float64[N]`, of each image on the value.
        error: standard error that is due to seeds, redrawn as well.

    Returns:
        Lower and upper bound, `float64[2]`.
    """
    if np.ptp(redrawn) == 0:
        return np.array([value, value])
    below = ((redrawn < value).mean() + (redrawn <= value).mean()) / 2
    bias = float(ndtri(np.clip(below, 1 / len(redrawn), 1 - 1 / len(redrawn))))
    levels = ndtr(accelerated(bias, acceleration(influence, error), len(influence)))
    bounds: Floats = np.quantile(redrawn, levels)
    return bounds


def acceleration(influence: Floats, error: float) -> float:
    """Return how fast the standard error changes with the value (Efron 1987).

    Args:
        influence: `float64[N]`, of each image on the value, mean zero.
        error: standard error from other sources than images; it is symmetric.
    """
    images = len(influence)
    variance = (influence**2).sum() / images**2 + error**2
    if variance <= 0:
        return 0.0
    return float((influence**3).sum() / images**3 / (6 * variance**1.5))


def accelerated(bias: float, acceleration: float, images: int) -> Floats:
    """Return where the interval of 95 % ends among redrawn values, in standard errors."""
    half = float(stdtrit(images - 1, 0.5 + CONFIDENCE / 2))
    z = bias + np.array([-half, half])
    result: Floats = bias + z / np.maximum(1 - acceleration * z, 0.1)
    return result
