"""The learning curve: a power law through the losses at several numbers of training images."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visionsweep.analysis import bounds, resampling
from visionsweep.analysis.differences import Losses, estimates_of_losses, losses_of
from visionsweep.analysis.intervals import Estimate
from visionsweep.analysis.predictions import Floats, Predictions
from visionsweep.analysis.resampling import SeedErrors
from visionsweep.analysis.run_losses import RunLosses

POINTS = 50
MISFIT = (0.2, 2.0)  # true change as a multiple of the forecast (benchmarks/learning_curve.py)
TINY = 1e-9
FOR_A_FLOOR = 4  # sizes, since a floor is a third number to fit
SURELY = 0.005  # share of resampled losses that may see no floor, for it to be taken as real
# Powers that are tried where the losses level off; 0.5 and below are usual (Hestness et al. 2017).
POWERS = np.geomspace(0.05, 3, 36)


@dataclass(frozen=True)
class LearningCurve:
    """Validation loss by the number of training images.

    Attributes:
        images: numbers of training images, `int64[K]`.
        losses: mean loss of the runs of each size.
        runs: number of runs per size, equal in all other settings.
        at: `float64[M]`, sizes from the smallest to twice the largest.
        fitted: `float64[M]`, the power law there.
        low: `float64[M]`, lower edge of its band of 95%.
        high: `float64[M]`, upper edge.
        doubled_images: twice the largest size.
        doubled: expected loss there.
        change: difference of that loss to the fitted loss at the largest size.
    """

    images: NDArray[np.int64]
    losses: list[Estimate]
    runs: int
    at: Floats
    fitted: Floats
    low: Floats
    high: Floats
    doubled_images: int
    doubled: Estimate
    change: Estimate


def learning_curve(
    counts: Sequence[int],
    predictions: Sequence[Sequence[Predictions | RunLosses]],
    *,
    seed: int = 0,
) -> LearningCurve | None:
    """Fit a power law to losses at several numbers of training images.

    Args:
        counts: numbers of training images, in any order; equal ones are pooled.
        predictions: the runs with each of these numbers, all on the same images; those at one place
            of each list are alike in all else. Where one of them diverged, all are left out.
        seed: seed of the resampling.

    Returns:
        None where there are fewer than two sizes, or no run is left.
    """
    lost = [list(map(RunLosses.of, column)) for column in predictions]
    matched = [row for row in zip(*lost, strict=True) if all(each.finite for each in row)]
    runs: dict[int, list[RunLosses]] = defaultdict(list)
    for count, column in zip(counts, zip(*matched, strict=True), strict=bool(matched)):
        runs[count].extend(column)
    sizes = np.array(sorted(runs))
    if len(sizes) < 2:
        return None
    every = losses_of([each for size in sizes for each in runs[size]])
    of_size = np.repeat(np.arange(len(sizes)), [len(runs[size]) for size in sizes])
    mean = (of_size == np.arange(len(sizes))[:, None]) / np.bincount(of_size)[:, None]
    losses = every.combined(mean)
    drawn = resampling.resampled_means(losses.images, seed, resampling.N_RESAMPLES)
    at = np.geomspace(sizes[0], 2 * sizes[-1], POINTS)
    sought = np.concatenate([at, sizes[-1:]])
    curve = _power_law(sizes, losses, drawn, sought, seed)
    if len(sizes) >= FOR_A_FLOOR:
        curve = _allowing_a_floor(curve, sizes, losses, drawn, sought, seed)
    *points, change = curve
    largest = points[-1].value - change.value
    changes = [*(point.value - largest for point in points[:-1]), change.value]
    points = [
        _with_misfit(point, changed) if size > sizes[-1] else point
        for point, changed, size in zip(points, changes, at, strict=True)
    ]
    change = _with_misfit(change, change.value)
    points = [_not_negative(each) for each in points]
    return LearningCurve(
        images=sizes,
        losses=[_not_negative(each) for each in estimates_of_losses(losses, seed=seed)],
        runs=len(runs[int(sizes[0])]),
        at=at,
        fitted=np.array([each.value for each in points]),
        low=np.array([each.low for each in points]),
        high=np.array([each.high for each in points]),
        doubled_images=2 * int(sizes[-1]),
        doubled=points[-1],
        change=change,
    )


def images_for(curve: LearningCurve, share: float) -> Estimate:
    """Return the number of training images at which the loss falls to a share of that at the most.

    The inverse of the forecast: the loss falls as images^-b, with b from the change when the images
    are doubled.

    Args:
        curve: learning curve.
        share: loss as a share of the fitted loss at the largest size, below 1.

    Returns:
        The number of images with its interval; infinite where the loss need not fall.
    """
    largest = curve.doubled.value - curve.change.value

    def images(change: float) -> float:
        ratio = 1 + change / largest
        if ratio >= 1 or np.isnan(ratio):
            return np.inf
        power = -np.log2(max(ratio, TINY))
        return float(curve.doubled_images / 2 * share ** (-1 / power))

    return Estimate(
        *(images(change) for change in (curve.change.value, curve.change.low, curve.change.high))
    )


def _with_misfit(estimate: Estimate, change: float) -> Estimate:
    """Widen an interval of the forecast for the misfit of the power law.

    Resampling the validation images does not show that misfit, however many there are. The two
    errors are independent, so the distances to the bounds add in quadrature.

    Args:
        estimate: loss at a size beyond the largest, or its change from there.
        change: forecast change.
    """
    below, above = sorted((factor - 1) * change for factor in MISFIT)
    value = estimate.value
    low, high = np.hypot([value - estimate.low, estimate.high - value], [below, above])
    return Estimate(value, value - float(low), value + float(high))


def _not_negative(loss: Estimate) -> Estimate:
    """Let the interval of a loss end at zero, which no loss is below."""
    return Estimate(loss.value, float(np.maximum(0.0, loss.low)), loss.high)  # NaN stays


def _with_change(points: Floats) -> Floats:
    """Put what doubling changes in the place of the loss at the largest size, which comes last."""
    return np.concatenate([points[:-1], points[-2:-1] - points[-1:]])


def _power_law(
    sizes: NDArray[np.int64], losses: Losses, drawn: Floats, sought: Floats, seed: int
) -> list[Estimate]:
    """Fit loss = a x images^-b: a line through logarithms, by least squares.

    Args:
        sizes: `int64[K]`.
        losses: losses of the K sizes.
        drawn: these over resampled images, `float64[K, B]`.
        sought: sizes to estimate the loss at, `float64[M]`; doubled and largest come last.
        seed: seed of the resampling.

    Returns:
        M estimates, the last of the change from largest to doubled.
    """
    x, at = np.log(sizes), np.log(sought)
    off = x - x.mean()
    # how much each measured logarithm counts for that of each sought loss
    weights = 1 / len(sizes) + np.outer(at - x.mean(), off) / (off**2).sum()
    means = losses.images.mean(1)
    values = np.exp(weights @ np.log(np.maximum(means, TINY)))
    linear = losses.combined(_with_change(values[:, None] * weights / np.maximum(means, TINY)))
    linear.images[:] += (_with_change(values) - linear.images.mean(1))[:, None]
    resampled = _with_change(np.exp(weights @ np.log(np.maximum(drawn, TINY))))
    return estimates_of_losses(linear, seed=seed, resampled=resampled)


def _allowing_a_floor(
    curve: list[Estimate],
    sizes: NDArray[np.int64],
    losses: Losses,
    drawn: Floats,
    sought: Floats,
    seed: int,
) -> list[Estimate]:
    """Fit loss = floor + a x images^-b as well.

    A floor that resampled losses agree on replaces the curve without one. Otherwise both are
    possible, and the band spans both. Arguments as `_power_law`.
    """
    heads = losses.heads()
    noise = [
        SeedErrors(heads.size[k, None], heads.dof[k, None]).drawn(
            seed=seed + 1 + k, n_resamples=drawn.shape[1]
        )
        for k in range(len(sizes))
    ]
    growth = (sought / sizes[0])[:, None]
    floor, scale, power = _with_floor(sizes, drawn + np.concatenate(noise))
    resampled = _with_change(floor + scale * growth**-power)
    low, high = np.quantile(resampled, [1 - bounds.UPPER, bounds.UPPER], axis=1)
    values = np.array([each.value for each in curve])
    if np.quantile(floor, SURELY) > 0:
        floor, scale, power = _with_floor(sizes, losses.images.mean(1)[:, None])
        values = _with_change(floor + scale * growth**-power)[:, 0]
        low, high = np.minimum(low, values), np.maximum(high, values)
    else:
        low = np.minimum(low, [each.low for each in curve])
        high = np.maximum(high, [each.high for each in curve])
    return [Estimate(*map(float, each)) for each in zip(values, low, high, strict=True)]


def _with_floor(sizes: NDArray[np.int64], losses: Floats) -> tuple[Floats, Floats, Floats]:
    """Fit loss = floor + scale x (images / smallest)^-power, `float64[B]`s; no floor below zero.

    For each power that is tried the rest is a line, fitted to relative errors as logarithms are.
    """
    losses = np.maximum(losses, TINY)
    weights = 1 / losses**2
    best = np.full(losses.shape[1], np.inf)
    result = np.zeros((3, losses.shape[1]))
    for power in POWERS:
        x = ((sizes / sizes[0]) ** -power)[:, None]
        total = weights.sum(0)
        x_mean, y_mean = (weights * x).sum(0) / total, (weights * losses).sum(0) / total
        scale = (weights * (x - x_mean) * losses).sum(0) / (weights * (x - x_mean) ** 2).sum(0)
        floor = y_mean - scale * x_mean
        below = floor < 0
        scale = np.where(below, (weights * x * losses).sum(0) / (weights * x**2).sum(0), scale)
        floor = np.where(below, 0.0, floor)
        left = (weights * (losses - floor - scale * x) ** 2).sum(0)
        better = (left < best) & (scale > 0)
        best = np.where(better, left, best)
        result = np.where(better, [floor, scale, np.full_like(floor, power)], result)
    return result[0], result[1], result[2]
