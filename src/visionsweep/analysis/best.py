"""How far each run is above the best of the others: Hsu's multiple comparisons with the best."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from visionsweep.analysis import bounds, resampling
from visionsweep.analysis.differences import Losses
from visionsweep.analysis.predictions import Floats
from visionsweep.analysis.resampling import SeedErrors

RESOLUTION = 1e-6  # losses closer than this on every image differ only by float32 rounding
MOST_CONTENDERS = 200  # runs among which the best is sought; time grows with their square


def above_best(losses: Losses, *, seed: int = 0) -> tuple[Floats, Floats]:
    """Return bounds of how far the true loss of each run is above the best of the others.

    Hsu's multiple comparisons with the best (1984): a run whose lower bound is above zero is worse
    than some other run, and cannot be the best. Each bound holds at 97.5% for all others together;
    at 95%, few images with skewed losses exclude the true best too often
    (`benchmarks/decisions.py`). The critical values are those of the largest and the smallest
    studentized difference over bootstrap resamples of the images, which takes the correlation
    between runs into account. The upper bound is over runs that could be the best.

    Args:
        losses: losses of K runs, the lowest first.
        seed: seed of the resampling.

    Returns:
        Lower and upper bounds, `float64[K]`; NaN with a single image, for a run that diverged, and
        beyond the first 200 runs. The upper one of a run that alone could be the best is infinite.
    """
    low, high = np.full((2, len(losses.images)), np.nan)
    count = losses.images.shape[1]
    chosen = np.flatnonzero(np.isfinite(losses.images).all(1))[:MOST_CONTENDERS]
    if count == 1 or len(chosen) < 2:
        return low, high
    images = losses.images[chosen]
    value = images.mean(1)
    off = images - value[:, None]
    of_images = _squared_distances(off) / (count - 1) / count
    of_seeds, of_training = _head_variances(losses, chosen)
    variance = of_images + of_seeds + of_training
    error, dof = np.sqrt(variance), np.full(variance.shape, count - 1.0)
    spent = of_images**2 / (count - 1)
    spent += of_seeds**2 / losses.seeds.dof.max() + of_training**2 / losses.training.dof.max()
    np.divide(variance**2, spent, out=dof, where=spent > 0)  # Satterthwaite 1946
    tail = stdtrit(dof, bounds.UPPER) / stdtrit(np.inf, bounds.UPPER)  # for few images or heads
    shifts = resampling.resampled_means(off, seed, resampling.N_RESAMPLES)
    above = value[:, None] - value
    up = np.array(above)
    for place in range(len(chosen)):
        apart = of_images[place] * count > RESOLUTION**2
        if apart.any():
            t = (shifts[place] - shifts[apart]) / np.sqrt(of_images[place, apart])[:, None]
            ends = np.quantile(t.max(0), bounds.UPPER), -np.quantile(t.min(0), 1 - bounds.UPPER)
            down, further = np.maximum(ends, 0)
            reach = tail[place, apart] * error[place, apart]
            low[chosen[place]] = (above[place, apart] - down * reach).max()
            up[place, apart] += further * reach
        else:  # equal, or shifted by a constant
            low[chosen[place]] = 0
    np.fill_diagonal(up, -np.inf)
    high[chosen] = up[:, low[chosen] <= 0].max(1)
    return low, high


def _squared_distances(rows: Floats) -> Floats:
    """Return the sum of squared differences of each pair of rows, `float64[K, K]`."""
    products = rows @ rows.T
    square = np.diag(products)
    distances: Floats = np.maximum(square[:, None] + square - 2 * products, 0.0)
    distances[distances < 1e-12 * (square[:, None] + square)] = 0.0
    return distances


def _head_variances(losses: Losses, chosen: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Return the variances of the difference of each pair of runs due to heads, `float64[K, K]`.

    The first is due to seeds; the second, where it counts, to the training sample.
    """

    def independent(errors: SeedErrors) -> Floats:
        size = errors.size[chosen]
        sums: Floats = size[:, None] ** 2 + size**2
        return sums

    training = independent(losses.training)
    if losses.by_replicate is None:
        variances = independent(losses.seeds)
    else:
        common = _common_variances(losses.by_replicate[chosen])
        variances = common / losses.by_replicate.shape[1]
        if losses.by_sample is not None:
            of_both = _common_variances(losses.by_sample[chosen])
            training = np.maximum(of_both - common, 0.0)
    sets = losses.training_sets[chosen]
    counted = losses.counts_training(sets[:, None] - sets)
    return variances, np.where(counted, training, 0.0)


def _common_variances(table: NDArray[np.float32]) -> Floats:
    """Return the variance over heads of the difference of each pair of runs, `float64[K, K]`.

    Without the part that comes from the images, as in `resampling.seed_error`.

    Args:
        table: contributions of heads, `float32[K, R, N]`.
    """
    runs, heads, images = table.shape
    if heads == 1:
        return np.zeros((runs, runs))
    values = table.mean(2, dtype=np.float64)
    spread = _squared_distances(values - values.mean(1, keepdims=True)) / (heads - 1)
    mean = table.mean(1, dtype=np.float64)
    shown = np.zeros((runs, runs))
    for head in range(heads):
        own = table[:, head] - mean
        shown += _squared_distances(own - own.mean(1, keepdims=True))
    variances: Floats = np.maximum(spread - shown / ((heads - 1) * (images - 1)) / images, 0.0)
    return variances
