"""Turns redrawn values into intervals of 95 % and p-values."""

from math import hypot

import numpy as np
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from visionsweep.analysis.predictions import Floats
from visionsweep.analysis.resampling import N_RESAMPLES, SeedErrors, resampled_means

CONFIDENCE = 0.95
UPPER = 0.5 + CONFIDENCE / 2  # the level where the upper tail begins
RARE = 0.02  # p-values below are not counted among redrawn values
_RUNS = 200  # whose redrawn values are held at a time


def studentized_ci(
    images: Floats,
    seeds: SeedErrors,
    *,
    seed: int,
    n_resamples: int = N_RESAMPLES,
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
        n_resamples: how often.
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
    shifts, squares = (
        resampled_means(off, seed, n_resamples),
        resampled_means(off**2, seed, n_resamples),
    )
    own = np.sqrt(np.maximum(squares - shifts**2, 0) / (count - 1) + seeds.size[:, None] ** 2)
    if redrawn is not None:
        shifts = redrawn - values[:, None]
    # a set of equal images shows no error; a floor keeps it from claiming any distance
    floor = np.where(error > 0, error / 4, 1.0)[:, None]
    t = (shifts + seeds.drawn(seed=seed, n_resamples=n_resamples)) / np.maximum(own, floor)
    upper, lower = np.quantile(t, [UPPER, 1 - UPPER], axis=1)
    return values - upper * error, values - lower * error


def paired_bootstrap_ci(
    images: Floats, seeds: SeedErrors, *, seed: int, n_resamples: int = N_RESAMPLES
) -> tuple[Floats, Floats]:
    """Return how far to both sides intervals around differences reach, and p-values for zero.

    The paired bootstrap: images are redrawn with what both runs made of them. The same distance to
    both sides, since a difference leans to one side mostly by the chance of one image (Hall 1988).
    A p-value is the share of redrawn differences that lie as far from the measured one as zero
    does; below `RARE`, where n_resamples run out, it is that of Student's t (Welch 1947), for which
    differences are measured in their standard errors.

    Args:
        images: `float64[K, N]`, differences on each image.
        seeds: errors of their means.
        seed: of the redrawing.
        n_resamples: how often.

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


def bca_ci(value: float, redrawn: Floats, influence: Floats) -> Floats:
    """Return the interval over images that redrawn values give, corrected for bias and skewness.

    Efron's BCa interval (1987), with Student's quantiles for few images (Hesterberg 2015).

    Args:
        value: what was measured.
        redrawn: `float64[B]`.
        influence: `float64[N]`, of each image on the value, mean zero.

    Returns:
        Lower and upper bound, `float64[2]`.
    """
    if np.ptp(redrawn) == 0:
        return np.array([value, value])
    below = ((redrawn < value).mean() + (redrawn <= value).mean()) / 2
    bias = float(ndtri(np.clip(below, 1 / len(redrawn), 1 - 1 / len(redrawn))))
    levels = ndtr(accelerated(bias, acceleration(influence), len(influence)))
    bounds: Floats = np.quantile(redrawn, levels)
    return bounds


def acceleration(influence: Floats) -> float:
    """Return how fast the standard error changes with the value (Efron 1987).

    Args:
        influence: `float64[N]`, of each image on the value, mean zero.
    """
    variance = float((influence**2).sum())
    return float((influence**3).sum()) / (6 * variance**1.5) if variance > 0 else 0.0


def over_seeds(value: float, low: float, high: float, seeds: SeedErrors) -> tuple[float, float]:
    """Widen an interval over images for other seeds: distances add up like standard errors.

    Zou & Donner (2008). Student's distribution for few replicates.
    """
    reach = float(stdtrit(seeds.dof[0], UPPER) * seeds.size[0])
    return value - hypot(max(0.0, value - low), reach), value + hypot(max(0.0, high - value), reach)


def accelerated(bias: float, acceleration: float, images: int) -> Floats:
    """Return where the interval of 95 % ends among redrawn values, in standard errors."""
    half = float(stdtrit(images - 1, UPPER))
    z = bias + np.array([-half, half])
    result: Floats = bias + z / np.maximum(1 - acceleration * z, 0.1)
    return result
