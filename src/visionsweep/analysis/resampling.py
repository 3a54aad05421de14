"""Redraws images and replicates, and turns what comes of it into intervals.

Images and seeds are two crossed sources of chance (Owen 2007). Images are redrawn with
replacement. Replicates are too few for that: five seeds redrawn have short tails. What other seeds
might have given is drawn from Student's distribution instead, once the part of the replicates'
spread that comes from the images is taken off.
"""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from scipy.special import ndtr, ndtri, stdtrit

from visionsweep.analysis.outcomes import Floats

DRAWS = 2000
CONFIDENCE = 0.95
_CHUNK = 2**21  # weights held at a time: 16 MB
_RUNS = 200  # whose redrawn means are held at a time


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


@lru_cache(maxsize=256)
def replicate_noise(replicates: int, *, seed: int, draws: int = DRAWS) -> Floats:
    """Draw standardised errors of a mean over replicates, `float64[B]`: Student's t.

    Zero for one replicate, which does not show how seeds differ.
    """
    if replicates == 1:
        return np.zeros(draws)
    levels = (np.random.default_rng((seed, replicates)).permutation(draws) + 0.5) / draws
    noise: Floats = stdtrit(replicates - 1, levels)
    noise.setflags(write=False)
    return noise


def replicate_error(values: Floats, influence: Floats) -> float:
    """Return the standard error of a mean over replicates that is due to their seeds.

    Replicates differ, too, since each errs on other images of these few; redrawing the images
    shows that part already, so it is taken off: the interaction of a two-way analysis of variance.

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


def around_means(
    images: Floats,
    errors: Floats,
    noise: Floats,
    *,
    seed: int,
    redrawn: Floats | None = None,
) -> tuple[Floats, Floats]:
    """Return intervals around means over images: the studentised bootstrap.

    Each redrawn mean is measured in its own standard error (Davison & Hinkley 1997, section 5.2).
    Losses are skewed, a few large ones make the mean: a redrawn set without these has a low mean
    and a small error, and so says how far above the truth may lie.

    Args:
        images: `float64[K, N]`, whose means over images are wanted.
        errors: `float64[K]`, their standard errors that are due to seeds.
        noise: `float64[K, B]`, what other seeds might have added.
        seed: of redrawing the images.
        redrawn: `float64[K, B]`, where these are no means but functions of means, of which
            `images` are the linear part.

    Returns:
        Lower and upper bounds, `float64[K]`; NaN with one image.
    """
    low, high = np.empty((2, len(images)))
    for start in range(0, len(images), _RUNS):
        part = slice(start, start + _RUNS)
        means = None if redrawn is None else redrawn[part]
        low[part], high[part] = _around(images[part], errors[part], noise[part], seed, means)
    return low, high


def _around(
    images: Floats, errors: Floats, noise: Floats, seed: int, redrawn: Floats | None
) -> tuple[Floats, Floats]:
    count = images.shape[1]
    values = images.mean(1)
    if count == 1:
        return np.full_like(values, np.nan), np.full_like(values, np.nan)
    off = images - values[:, None]
    error = np.sqrt(off.var(1, ddof=1) / count + errors**2)
    chunks = list(image_weights(count, seed=seed, draws=noise.shape[1]))
    shifts = np.concatenate([off @ weights for weights in chunks], axis=1)
    squares = np.concatenate([off**2 @ weights for weights in chunks], axis=1)
    own = np.sqrt(np.maximum(squares - shifts**2, 0) / (count - 1) + errors[:, None] ** 2)
    if redrawn is not None:
        shifts = redrawn - values[:, None]
    # a set of equal images shows no error; a floor keeps it from claiming any distance
    floor = np.where(error > 0, error / 4, 1.0)[:, None]
    t = (shifts + noise) / np.maximum(own, floor)
    upper, lower = np.quantile(t, [0.5 + CONFIDENCE / 2, 0.5 - CONFIDENCE / 2], axis=1)
    return values - upper * error, values - lower * error


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
