"""Redraws images and replicates, and turns redrawn values into an interval.

Images and seeds are two crossed sources of chance (Owen 2007): the images of a split were drawn,
and so were the seeds. One redrawn value is the metric on redrawn images plus what other seeds might
have added.
"""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from scipy.special import ndtr, ndtri, stdtrit

from visionsweep.analysis.outcomes import Floats

DRAWS = 2000
CONFIDENCE = 0.95
_CHUNK = 2**21  # weights held at a time, so 16 MB


def image_weights(images: int, *, seed: int, draws: int = DRAWS) -> Iterator[Floats]:
    """Yield the weights of images in redrawn sets, `float64[N, b]`, columns that sum to one.

    A set is N - 1 images drawn with replacement: variances then come out right, not (N - 1) / N
    of it (Rao & Wu 1988). Weights that fit into one chunk are kept, since the runs of a sweep have
    images in common.
    """
    step = max(1, _CHUNK // images)
    chunk = _weights if draws <= step else _weights.__wrapped__
    for start in range(0, draws, step):
        yield chunk(images, min(step, draws - start), seed, start)


@lru_cache(maxsize=4)
def _weights(images: int, draws: int, seed: int, start: int) -> Floats:
    generator = np.random.default_rng((seed, start))
    drawn = generator.integers(images, size=(images - 1, draws)) * draws + np.arange(draws)
    counts = np.bincount(drawn.ravel(), minlength=images * draws)
    weights: Floats = counts.reshape(images, draws) / max(1, images - 1)
    weights.setflags(write=False)
    return weights


@lru_cache(maxsize=64)
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

    Replicates also differ since each errs on other images, which redrawing the images shows
    already; that part is taken off (the interaction of a two-way analysis of variance).

    Args:
        values: `float64[R]`, the metric of each replicate.
        influence: `float64[R, N]`, what each image contributes to it.
    """
    replicates, images = influence.shape
    if replicates == 1 or images == 1:
        return 0.0
    own = influence - influence.mean(0)
    own -= own.mean(1, keepdims=True)
    shown = (own**2).sum() / ((replicates - 1) * (images - 1)) / images
    return float(np.sqrt(max(0.0, values.var(ddof=1) - shown) / replicates))


def acceleration(influence: Floats, others: float = 0.0) -> float:
    """Return how fast the standard error changes with the value (Efron 1987).

    Args:
        influence: `float64[N]`, of each image on the mean over replicates.
        others: variance from other sources than images; it is symmetric.
    """
    images = len(influence)
    variance = (influence**2).sum() / images**2 + others
    if variance <= 0:
        return 0.0
    return float((influence**3).sum() / images**3 / (6 * variance**1.5))


def interval(
    value: float, redrawn: Floats, *, images: int, acceleration: float = 0.0
) -> tuple[float, float]:
    """Return the interval of 95 % that redrawn values give, corrected for bias and skewness.

    Efron's BCa interval (1987), with Student's quantiles for few images (Hesterberg 2015).

    Args:
        value: what was measured.
        redrawn: `float64[B]`.
        images: how many there are; with one there is no interval: NaN.
        acceleration: from `acceleration`.
    """
    if images == 1 or not np.isfinite(value):
        return np.nan, np.nan
    if np.ptp(redrawn) == 0:
        return value, value
    below = ((redrawn < value).sum() + 0.5 * (redrawn == value).sum()) / len(redrawn)
    bias = ndtri(np.clip(below, 1e-3, 1 - 1e-3))
    z = bias + stdtrit(images - 1, 0.5 + CONFIDENCE / 2) * np.array([-1.0, 1.0])
    low, high = np.quantile(redrawn, ndtr(bias + z / np.maximum(1 - acceleration * z, 0.1)))
    return float(min(low, value)), float(max(high, value))
