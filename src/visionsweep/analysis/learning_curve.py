"""What more training images would bring: a power law through the losses."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visionsweep.analysis import resampling
from visionsweep.analysis.differences import estimates_of_losses, losses_of
from visionsweep.analysis.intervals import Estimate
from visionsweep.analysis.outcomes import Floats, Outcomes
from visionsweep.analysis.resampling import SeedErrors

POINTS = 50
TINY = 1e-9
# Powers that are tried where the losses level off; 0.5 and below are usual (Hestness et al. 2017).
POWERS = np.linspace(0.05, 3, 60)


@dataclass(frozen=True)
class LearningCurve:
    """Validation loss by the number of training images.

    Attributes:
        images: `int64[K]`, the sizes that were tried.
        losses: measured at these, means over the runs of a size.
        at: `float64[M]`, sizes from the smallest to twice the largest.
        fitted: `float64[M]`, the power law there.
        low: `float64[M]`, lower edge of its band of 95 %.
        high: `float64[M]`, upper edge.
        doubled_images: twice the largest size.
        doubled: the loss to expect there.
        change: what that is more than the fitted loss at the largest size.
    """

    images: NDArray[np.int64]
    losses: list[Estimate]
    at: Floats
    fitted: Floats
    low: Floats
    high: Floats
    doubled_images: int
    doubled: Estimate
    change: Estimate


def learning_curve(
    counts: Sequence[int], outcomes: Sequence[Sequence[Outcomes]], *, seed: int = 0
) -> LearningCurve | None:
    """Fit a power law to losses at several numbers of training images.

    Args:
        counts: training images, in any order; equal ones are put together.
        outcomes: the runs with so many, all on the same images; runs that diverged are left out.
        seed: of the redrawing.

    Returns:
        None where there are fewer than two sizes.
    """
    runs: dict[int, list[Outcomes]] = defaultdict(list)
    for count, some in zip(counts, outcomes, strict=True):
        runs[count].extend(each for each in some if each.finite.all())
    sizes = np.array(sorted(count for count in runs if runs[count]))
    if len(sizes) < 2:
        return None
    every = losses_of([[each] for size in sizes for each in runs[size]])
    of_size = np.repeat(np.arange(len(sizes)), [len(runs[size]) for size in sizes])
    mean = (of_size == np.arange(len(sizes))[:, None]) / np.bincount(of_size)[:, None]
    losses = every.combined(mean)
    drawn = resampling.weighted_means(losses.images, seed, resampling.DRAWS)
    levels_off = len(sizes) >= 4 and _levels_off(sizes, drawn, losses.seeds, seed)

    at = np.geomspace(sizes[0], 2 * sizes[-1], POINTS)
    sought = np.concatenate([at, sizes[-1:]])
    values, slopes = _with_slopes(sizes, losses.images.mean(1), sought, levels_off)
    # the curve at all points but the largest size, of which the change by doubling is wanted
    wanted = np.eye(POINTS + 1)
    wanted[-1, -2:] = 1, -1
    linear = losses.combined(wanted @ slopes)
    linear.images[:] += (wanted @ values - linear.images.mean(1))[:, None]
    redrawn = wanted @ _values(sizes, drawn, sought, levels_off)
    *curve, change = estimates_of_losses(linear, seed=seed, redrawn=redrawn)
    return LearningCurve(
        images=sizes,
        losses=estimates_of_losses(losses, seed=seed),
        at=at,
        fitted=np.array([each.value for each in curve]),
        low=np.array([each.low for each in curve]),
        high=np.array([each.high for each in curve]),
        doubled_images=2 * int(sizes[-1]),
        doubled=curve[-1],
        change=change,
    )


def _values(sizes: NDArray[np.int64], losses: Floats, at: Floats, levels_off: bool) -> Floats:
    """Fit a curve to each column of `losses: float64[K, B]`; return it `at` M sizes, `[M, B]`."""
    floor, scale, power = (_with_floor if levels_off else _to_zero)(sizes, losses)
    result: Floats = floor + scale * (at[:, None] / sizes[0]) ** -power
    return result


def _with_slopes(
    sizes: NDArray[np.int64], losses: Floats, at: Floats, levels_off: bool
) -> tuple[Floats, Floats]:
    """Return the curve's values `float64[M]` and their derivatives by each loss, `[M, K]`."""
    step = 1e-4 * losses
    columns = losses[:, None] + np.concatenate([np.zeros((len(losses), 1)), np.diag(step)], axis=1)
    values = _values(sizes, columns, at, levels_off)
    return values[:, 0], (values[:, 1:] - values[:, :1]) / step


def _to_zero(sizes: NDArray[np.int64], losses: Floats) -> tuple[Floats, Floats, Floats]:
    """Fit loss = scale x (images / smallest)^-power: a line through logarithms, `float64[B]`s."""
    x = np.log(sizes / sizes[0])
    y = np.log(np.maximum(losses, TINY))
    power = -(x - x.mean()) @ y / ((x - x.mean()) ** 2).sum()
    return np.zeros_like(power), np.exp(y.mean(0) + power * x.mean()), power


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


def _levels_off(sizes: NDArray[np.int64], drawn: Floats, seeds: SeedErrors, seed: int) -> bool:
    """Say whether redrawn losses, with other seeds, agree that the curve levels off above zero."""
    noise = [
        SeedErrors(seeds.size[k, None], seeds.freedom[k, None]).drawn(
            seed=seed + 1 + k, draws=drawn.shape[1]
        )
        for k in range(len(sizes))
    ]
    floor, _, _ = _with_floor(sizes, drawn + np.concatenate(noise))
    return bool(np.quantile(floor, (1 - resampling.CONFIDENCE) / 2) > 0)
