"""Metrics with their intervals of 95 %, over images and seeds together."""

from dataclasses import dataclass

import numpy as np

from visionsweep.analysis import resampling
from visionsweep.analysis.metrics import METRICS, Measured, measure
from visionsweep.analysis.outcomes import Floats, Outcomes


@dataclass(frozen=True)
class Estimate:
    """A number and the interval of 95 % around it."""

    value: float
    low: float
    high: float


def estimates(
    outcomes: Outcomes, *, seed: int = 0, draws: int = resampling.DRAWS
) -> dict[str, Estimate]:
    """Estimate every metric, with its interval.

    Args:
        outcomes: of one run on one split.
        seed: of the redrawing; the same seed gives the same intervals.
        draws: how often images and replicates are redrawn.

    Returns:
        `metrics.METRICS` by name, means over replicates. All NaN where a replicate diverged, so
        that its logits are not finite; bounds NaN where there is one image.
    """
    if not np.isfinite(outcomes.logits).all():
        return dict.fromkeys(METRICS, Estimate(np.nan, np.nan, np.nan))
    measured = measure(outcomes)
    redrawn: dict[str, list[Floats]] = {name: [] for name in METRICS}
    for weights in resampling.image_weights(len(outcomes.labels), seed=seed, draws=draws):
        for name in METRICS:
            redrawn[name].append(measured[name].reweighted(weights))
    result = {
        name: _estimate(measured[name], np.concatenate(redrawn[name]), seed=seed)
        for name in METRICS
    }
    if (hits := outcomes.hits).all() or not hits.any():  # nothing to see in redrawing these
        result["accuracy"] = wilson(int(hits[0].sum()), hits.shape[1])
    return result


def _estimate(measured: Measured, redrawn: Floats, *, seed: int) -> Estimate:
    replicates, images = measured.influence.shape
    value = float(measured.values.mean())
    error = resampling.replicate_error(measured.values, measured.influence)
    noise = resampling.replicate_noise(replicates, seed=seed, draws=len(redrawn))
    low, high = resampling.interval(
        value,
        redrawn + error * noise,
        images=images,
        acceleration=resampling.acceleration(measured.influence.mean(0), error**2),
    )
    return Estimate(value, max(low, 0.0), high)


def wilson(hits: int, images: int) -> Estimate:
    """Return a share of correct images with Wilson's score interval (1927).

    Args:
        hits: images that were classified correctly.
        images: all images; at least one.
    """
    from scipy.stats import binomtest

    bounds = binomtest(hits, images).proportion_ci(resampling.CONFIDENCE, method="wilson")
    return Estimate(hits / images, float(bounds.low), float(bounds.high))
