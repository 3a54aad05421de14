"""Which runs can be told from the best one, comparing image by image."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from scipy.special import ndtri, stdtr

from visionsweep.analysis import resampling
from visionsweep.analysis.differences import Losses, estimates_of, losses_of
from visionsweep.analysis.intervals import Estimate
from visionsweep.analysis.outcomes import Floats, Outcomes

ALPHA = 1 - resampling.CONFIDENCE
POWER = 0.8
# Losses closer than this differ by how float32 was rounded.
RESOLUTION = 1e-6


@dataclass(frozen=True)
class Comparison:
    """A run against the leader.

    Attributes:
        difference: of the losses, run minus leader.
        p: how often so large a difference would be seen if there were none, corrected for the
            number of comparisons (Holm 1979).
        distinguishable: whether the two can be told apart, at 5 % over the whole table.
    """

    difference: Estimate
    p: float
    distinguishable: bool


def compare(outcomes: Sequence[Outcomes], *, seed: int = 0) -> list[Comparison]:
    """Compare every run with the first, the leader.

    Args:
        outcomes: of runs on the same images in the same order, the leader first.
        seed: of the redrawing.

    Returns:
        One for each run but the leader. A run that diverged is NaN and not distinguishable.
    """
    if len(outcomes) < 2:
        return []
    losses = losses_of([[each] for each in outcomes])
    differences = losses.images[1:] - losses.images[0]
    pairs = len(outcomes) * (len(outcomes) - 1) // 2
    p = holm(p_values(losses, differences), tests=pairs)
    # The same draws for every run, whatever its place: only the leader's must be others.
    noise = -losses.errors[0] * _noise(losses, 0, seed=seed) + np.stack(
        [losses.errors[k] * _noise(losses, k, seed=seed + 1) for k in range(1, len(outcomes))]
    )
    errors = np.hypot(losses.errors[1:], losses.errors[0])
    return [
        Comparison(difference, float(each), bool(each <= ALPHA) and not _holds_zero(difference))
        for difference, each in zip(
            estimates_of(differences, errors, noise, seed=seed), p, strict=True
        )
    ]


def _noise(losses: Losses, k: int, *, seed: int) -> Floats:
    return resampling.replicate_noise(int(losses.replicates[k]), seed=seed)


def _holds_zero(difference: Estimate) -> bool:
    return difference.low <= 0 <= difference.high


def p_values(losses: Losses, differences: Floats) -> Floats:
    """Return two-sided p-values of differences to the first run, `float64[K - 1]`.

    Student's t with the degrees of freedom of Welch and Satterthwaite: the error of the images is
    known from N of them, that of the seeds from few replicates. A smooth tail is needed: among a
    hundred runs p must fall below 1e-5, which redrawing two thousand times cannot show.
    """
    images = differences.shape[1]
    if images == 1:
        return np.full(len(differences), np.nan)
    parts = np.array(
        [
            differences.var(1, ddof=1) / images,
            losses.errors[1:] ** 2,
            np.full(len(differences), losses.errors[0] ** 2),
        ]
    )
    freedom = np.ones_like(parts)
    freedom[0], freedom[1], freedom[2] = (
        images - 1,
        losses.replicates[1:] - 1,
        losses.replicates[0] - 1,
    )
    variance = parts.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.where(parts > 0, parts**2 / freedom, 0.0).sum(0)
        t = np.abs(differences.mean(1)) / np.sqrt(variance)
        p: Floats = 2 * stdtr(variance**2 / shares, -t)
    p[(variance == 0) | (np.abs(differences).max(1) < RESOLUTION)] = 1.0
    return np.where(np.isfinite(differences).all(1), p, np.nan)


def holm(p: Floats, tests: int) -> Floats:
    """Correct p-values for the number of tests (Holm 1979); NaN stay and count as tests.

    Args:
        p: `float64[K]`.
        tests: how many there are in all, of which these are taken for those of smallest p. The
            leader leads since it did best on these images, so its comparisons were picked among
            those of all pairs.
    """
    order = np.argsort(p)
    multiplied = p[order] * (tests - np.arange(len(p)))
    result = np.empty_like(p)
    result[order] = np.minimum(1, np.maximum.accumulate(multiplied))
    return result


def images_needed(first: Outcomes, second: Outcomes) -> int | None:
    """Return how many more images would tell two runs apart with a probability of 80 %.

    At 5 %, two-sided, if the true difference is the one that was measured.

    Returns:
        0 where they are told apart already; None where no number of images would do, since the
        seeds alone may make the difference, or a run diverged.
    """
    losses = losses_of([[first], [second]])
    differences = losses.images[1:] - losses.images[0]
    images = differences.shape[1]
    if p_values(losses, differences)[0] <= ALPHA:
        return 0
    effect = differences.mean() / (ndtri(1 - ALPHA / 2) + ndtri(POWER))
    left = float(effect**2 - (losses.errors**2).sum())
    if images == 1 or not left > 0:
        return None
    needed = float(differences.var(ddof=1)) / left
    return max(1, ceil(needed) - int(images))
