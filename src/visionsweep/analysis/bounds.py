"""Confidence intervals and p-values from bootstrap resamples."""

from math import hypot

import numpy as np
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from visionsweep.analysis.predictions import Floats
from visionsweep.analysis.resampling import N_RESAMPLES, SeedErrors, resampled_means

CONFIDENCE = 0.95
UPPER = 0.5 + CONFIDENCE / 2  # the level where the upper tail begins
RARE = 0.02  # p-values below are not counted among resamples
_RUNS = 200  # runs whose resamples are held at a time


def studentized_ci(
    images: Floats,
    seeds: SeedErrors,
    *,
    seed: int,
    n_resamples: int = N_RESAMPLES,
    resampled: Floats | None = None,
) -> tuple[Floats, Floats]:
    """Return confidence intervals of mean losses by the studentized bootstrap.

    Each resampled mean is divided by its own standard error (Davison & Hinkley 1997, section 5.2).
    Losses are skewed: a few large ones determine the mean. A resample without these has a low mean
    and a small error, which extends the interval upward.

    Args:
        images: loss on each image, `float64[K, N]`.
        seeds: standard errors of the means due to seeds.
        seed: seed of the resampling.
        n_resamples: number of bootstrap resamples.
        resampled: resampled values, `float64[K, B]`, if they are not means but functions of means
            whose linear part is `images`.

    Returns:
        Lower and upper bounds, `float64[K]`; NaN with one image.
    """
    count = images.shape[1]
    values = images.mean(1)
    if count == 1:
        return np.full_like(values, np.nan), np.full_like(values, np.nan)
    off = images - values[:, None]
    error = np.sqrt(off.var(1, ddof=1) / count + seeds.size**2)
    shifts, squares = (
        resampled_means(off, seed, n_resamples),
        resampled_means(off**2, seed, n_resamples),
    )
    own = np.sqrt(np.maximum(squares - shifts**2, 0) / (count - 1) + seeds.size[:, None] ** 2)
    if resampled is not None:
        shifts = resampled - values[:, None]
    # a set of equal images shows no error; a floor keeps it from claiming any distance
    floor = np.where(error > 0, error / 4, 1.0)[:, None]
    t = (shifts + seeds.drawn(seed=seed, n_resamples=n_resamples)) / np.maximum(own, floor)
    upper, lower = np.quantile(t, [UPPER, 1 - UPPER], axis=1)
    return values - upper * error, values - lower * error


def paired_bootstrap_ci(
    images: Floats, seeds: SeedErrors, *, seed: int, n_resamples: int = N_RESAMPLES
) -> tuple[Floats, Floats]:
    """Return half the widths of confidence intervals of differences, and p-values of zero.

    The paired bootstrap: an image is resampled with the losses of both runs. Intervals are
    symmetric, since the skewness of a difference is mostly due to single images (Hall 1988). A
    p-value is the share of resampled differences that are as far from the measured one as zero is;
    below `RARE`, where resamples are too few, it is that of Student's t (Welch 1947).

    Args:
        images: difference on each image, `float64[K, N]`.
        seeds: standard errors of their means due to seeds.
        seed: seed of the resampling.
        n_resamples: number of bootstrap resamples.

    Returns:
        Half the widths of the intervals and p-values, two-sided, both `float64[K]`; NaN with one
        image.
    """
    half, p = np.full((2, len(images)), np.nan)
    if images.shape[1] > 1:
        for start in range(0, len(images), _RUNS):
            part = slice(start, start + _RUNS)
            some = SeedErrors(seeds.size[part], seeds.dof[part])
            half[part], p[part] = _paired_bootstrap_ci(images[part], some, seed, n_resamples)
    return half, p


def _paired_bootstrap_ci(
    images: Floats, seeds: SeedErrors, seed: int, n_resamples: int
) -> tuple[Floats, Floats]:
    count = images.shape[1]
    values = images.mean(1)
    shifts = resampled_means(images - values[:, None], seed, n_resamples)
    shifts += seeds.drawn(seed=seed, n_resamples=n_resamples)
    shifts *= stdtrit(count - 1, UPPER) / ndtri(UPPER)  # for few images (Hesterberg 2015)
    np.abs(shifts, out=shifts)
    half = np.quantile(shifts, CONFIDENCE, axis=1)
    seen = (shifts >= np.abs(values)[:, None]).mean(1)

    of_images = np.sqrt(images.var(1, ddof=1) / count)
    both = SeedErrors.of_sums(
        np.stack([of_images, seeds.size], axis=1),
        np.stack([np.full(len(images), count - 1.0), seeds.dof], axis=1),
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        tail = 2 * stdtr(both.dof, -np.abs(values) / both.size)
    tail[both.size == 0] = values[both.size == 0] == 0
    return half, np.where(seen > RARE, seen, np.minimum(tail, RARE))


def bca_ci(value: float, resampled: Floats, influence: Floats) -> Floats:
    """Return the BCa confidence interval over images (Efron 1987), corrected for bias and skewness.

    With Student's quantiles for few images (Hesterberg 2015).

    Args:
        value: measured value.
        resampled: `float64[B]`.
        influence: influence of each image on the value, `float64[N]`, mean zero.

    Returns:
        Lower and upper bound, `float64[2]`.
    """
    if np.ptp(resampled) == 0:
        return np.array([value, value])
    below = ((resampled < value).mean() + (resampled <= value).mean()) / 2
    bias = float(ndtri(np.clip(below, 1 / len(resampled), 1 - 1 / len(resampled))))
    levels = ndtr(accelerated(bias, acceleration(influence), len(influence)))
    bounds: Floats = np.quantile(resampled, levels)
    return bounds


def acceleration(influence: Floats) -> float:
    """Return the acceleration: how fast the standard error changes with the value (Efron 1987).

    Args:
        influence: influence of each image on the value, `float64[N]`, mean zero.
    """
    variance = float((influence**2).sum())
    return float((influence**3).sum()) / (6 * variance**1.5) if variance > 0 else 0.0


def over_seeds(value: float, low: float, high: float, seeds: SeedErrors) -> tuple[float, float]:
    """Widen an interval over images for seeds: distances add like standard errors.

    After Zou & Donner (2008), with Student's distribution for few replicates.
    """
    reach = float(stdtrit(seeds.dof[0], UPPER) * seeds.size[0])
    return value - hypot(max(0.0, value - low), reach), value + hypot(max(0.0, high - value), reach)


def accelerated(bias: float, acceleration: float, images: int) -> Floats:
    """Return the ends of the 95% interval among resampled values, in standard errors."""
    half = float(stdtrit(images - 1, UPPER))
    z = bias + np.array([-half, half])
    result: Floats = bias + z / np.maximum(1 - acceleration * z, 0.1)
    return result
