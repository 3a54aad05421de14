"""Metrics with 95% confidence intervals over images, or groups of them, and seeds."""

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.special import ndtri, stdtrit

from visionsweep.analysis import bounds, resampling
from visionsweep.analysis.calibration_error import calibration_error_bounds
from visionsweep.analysis.groups import Groups, by_group, count_groups
from visionsweep.analysis.metrics import METRICS, class_counts, class_f1, macro_f1, per_replicate
from visionsweep.analysis.predictions import Floats, Predictions

# Range of each metric, to which intervals are clipped.
_LOWEST, _HIGHEST = 0.0, {"loss": np.inf, "accuracy": 1.0, "macro_f1": 1.0, "ece": 1.0}

# With fewer wrong images, resampling does not cover the uncertainty of F1 and of the loss.
FEW = 10
WRONG_LOSS = 1.0  # of a wrong image that the sample lacks, in nats, at least


@dataclass(frozen=True)
class Estimate:
    """A value with its 95% confidence interval."""

    value: float
    low: float
    high: float


def estimates(
    predictions: Predictions, *, seed: int = 0, n_resamples: int = resampling.N_RESAMPLES
) -> dict[str, Estimate]:
    """Estimate every metric, with its interval.

    Args:
        predictions: predictions of a run on one split.
        seed: seed of the resampling; equal seeds give equal intervals.
        n_resamples: number of bootstrap resamples.

    Returns:
        `metrics.METRICS` by name, means over replicates. All NaN where a replicate diverged, so
        that its logits are not finite; bounds NaN where there is one image, or one group.
    """
    if not predictions.finite.all():
        return dict.fromkeys(METRICS, Estimate(np.nan, np.nan, np.nan))
    values = per_replicate(predictions)
    if count_groups(predictions.groups, len(predictions.labels)) == 1:
        return {name: Estimate(float(values[name].mean()), np.nan, np.nan) for name in METRICS}
    reach = {
        "loss": _loss(predictions, seed, n_resamples),
        "accuracy": share_bounds(
            values["accuracy"],
            predictions.correct - values["accuracy"][:, None],
            predictions.groups,
        ),
        "macro_f1": _macro_f1(predictions, values["macro_f1"], seed, n_resamples),
        "ece": _calibration_error(predictions, seed, n_resamples),
    }
    return {
        name: _estimate(float(values[name].mean()), *reach[name], _HIGHEST[name])
        for name in METRICS
    }


def wilson(correct: int, images: int) -> Estimate:
    """Return a share of correct images with Wilson's score interval (1927).

    Args:
        correct: images that were classified correctly.
        images: all images; at least one.
    """
    value = correct / images
    return _estimate(value, *_wilson(value, images), 1.0)


def share_of(correct: NDArray[np.bool_], groups: Groups | None) -> Estimate:
    """Return the share of correct images with its interval.

    Args:
        correct: whether each image was classified correctly, `bool[N]`, N at least one.
        groups: their groups; without any the interval is Wilson's.
    """
    if groups is None:
        return wilson(int(correct.sum()), len(correct))
    value = float(correct.mean())
    influence = (correct.astype(np.float64) - value)[None]
    reach = share_bounds(np.array([value]), influence, groups)
    return _estimate(value, *reach, 1.0)


def _estimate(value: float, low: float, high: float, highest: float) -> Estimate:
    """Return an estimate whose interval holds the value and stays within what is possible."""
    low, high = np.clip([low, high], _LOWEST, highest).tolist()
    return Estimate(value, min(low, value), max(high, value))


def _wilson(share: float, images: float) -> tuple[float, float]:
    """Return Wilson's bounds; `images` need not be whole, which SciPy's binomtest asks for."""
    z = float(ndtri(bounds.UPPER))
    middle = share + z**2 / (2 * images)
    half = z * sqrt(share * (1 - share) / images + z**2 / (4 * images**2))
    scale = 1 + z**2 / images
    return (middle - half) / scale, (middle + half) / scale


def share_bounds(
    values: Floats, influence: Floats, groups: Groups | None = None
) -> tuple[float, float]:
    """Return bounds of a share of images: Wilson's, with the effective number of images.

    That is how many independent images would give the variance that images and seeds have
    together (Kish 1965; Dean & Pagano 2015). With one replicate it is the number of images. Few
    replicates count by Student's distribution (Satterthwaite 1946), and so do groups, whose
    variance is at least that of the images (Korn & Graubard 1998).

    Args:
        values: `float64[R]`, the share for each replicate.
        influence: `float64[R, N]`, what each image contributes to it, mean zero.
        groups: groups of the images; where all are alike, a group counts as one image.
    """
    replicates, images = influence.shape
    share = min(float(values.mean()), 1.0)
    of_images = float(influence.mean(0).var()) / images
    influence = by_group(influence, groups)
    count = influence.shape[1]
    seeds = resampling.seed_error(values, influence) ** 2
    if groups is not None and count > 1:
        of_images = max(of_images, float(influence.mean(0).var(ddof=1)) / count)
    variance = of_images + seeds
    if share in (0, 1) or variance == 0 or count == 1:
        return _wilson(share, count)
    z = ndtri(bounds.UPPER)
    if groups is not None:
        spent = of_images**2 / (count - 1) + seeds**2 / max(1, replicates - 1)
        variance *= float(stdtrit(variance**2 / spent, bounds.UPPER) / z) ** 2
        return _wilson(share, max(1.0, share * (1 - share) / variance))
    if seeds:
        t = stdtrit((replicates - 1) * (variance / seeds) ** 2, bounds.UPPER)
        variance *= float(t / z) ** 2
    return _wilson(share, share * (1 - share) / variance)


def _wrong(predictions: Predictions) -> float:
    """Return the number of wrong images, or of groups with some, mean over replicates."""
    wrong, groups = ~predictions.correct, predictions.groups
    if groups is None:
        return float(wrong.sum()) / len(wrong)
    return float(np.mean([len(np.unique(groups[of_one])) for of_one in wrong]))


def _loss(predictions: Predictions, seed: int, n_resamples: int) -> tuple[float, float]:
    """Resample the losses; with few wrong images, count that there may be more among others.

    A few wrong images make up most of the loss, and resampling cannot draw those that this sample
    happens to lack. The upper bound is then at least the loss with as many wrong images as
    Wilson's lower bound of the accuracy allows. A further one is taken to lose as much as those of
    the sample do on average, with one more of at least `WRONG_LOSS` among them.
    """
    losses, wrong = predictions.losses, ~predictions.correct
    grouped = by_group(losses, predictions.groups)
    seeds = resampling.seed_errors_of_run(losses.mean(1), grouped)
    lows, highs = bounds.studentized_ci(
        grouped.mean(0)[None], seeds, seed=seed, n_resamples=n_resamples
    )
    if _wrong(predictions) >= FEW:
        return float(lows[0]), float(highs[0])
    replicates, images = losses.shape
    count = float(wrong.sum()) / replicates
    total = float(losses[wrong].sum()) / replicates
    each = (total + max(WRONG_LOSS, total / max(count, 1))) / (count + 1)
    share = 1 - count / images
    low = _wilson(share, images)[0]
    if predictions.groups is not None:
        correct = predictions.correct.mean(0)
        low = share_bounds(np.array([share]), (correct - share)[None], predictions.groups)[0]
    more = share - low
    return float(lows[0]), max(float(highs[0]), float(losses.mean()) + more * each)


def _macro_f1(
    predictions: Predictions, values: Floats, seed: int, n_resamples: int
) -> tuple[float, float]:
    """Resample what F1 is made of; with few wrong images, at least as wide as for a share."""
    replicates, images, classes = predictions.logits.shape
    influence, groups = f1_influence(predictions), predictions.groups
    grouped, count = by_group(influence, groups), count_groups(groups, images)
    rows = np.arange(replicates)[:, None] * classes
    of_true, of_predicted = (
        (rows + predictions.labels).ravel(),
        (rows + predictions.predicted).ravel(),
    )
    image = np.tile(np.arange(images) if groups is None else groups, replicates)
    shape = (replicates * classes, count)
    true_positives = csr_array(
        (predictions.correct.ravel().astype(np.float64), (of_true, image)), shape=shape
    )
    twice = np.concatenate([of_true, of_predicted]), np.tile(image, 2)
    occurrences = csr_array((np.ones(len(twice[0])), twice), shape=shape)
    resampled = []
    for weights in resampling.bootstrap_weights(count, seed=seed, n_resamples=n_resamples):
        sums = (true_positives @ weights, occurrences @ weights)
        resampled.append(
            macro_f1(*(each.reshape(replicates, classes, -1) for each in sums)).mean(0)
        )
    value = float(values.mean())
    low, high = bounds.bca_ci(value, np.concatenate(resampled), grouped.mean(0))
    low, high = bounds.over_seeds(value, low, high, resampling.seed_errors_of_run(values, grouped))
    if _wrong(predictions) < FEW:
        share = share_bounds(values, influence, groups)
        low, high = min(low, share[0]), max(high, share[1])
    return float(low), float(high)


def f1_influence(predictions: Predictions) -> Floats:
    """Return N times the derivative of macro F1 by the weight of each image, `float64[R, N]`.

    The infinitesimal jackknife (Davison & Hinkley 1997, section 2.7): an image adds a hit or not
    to its class, and enlarges its class and the predicted one.
    """
    true_positives, occurrences = class_counts(predictions)
    f1 = class_f1(true_positives, occurrences)
    rows = np.arange(len(true_positives))[:, None]
    true, predicted = (rows, predictions.labels[None]), (rows, predictions.predicted)
    present = (occurrences > 0).sum(1, keepdims=True)
    result: Floats = (2 * predictions.correct - f1[true]) / occurrences[true]
    result -= f1[predicted] / occurrences[predicted]
    result *= len(predictions.labels) / present
    return result


def _calibration_error(
    predictions: Predictions, seed: int, n_resamples: int
) -> tuple[float, float]:
    low, high = calibration_error_bounds(predictions, seed=seed, n_resamples=n_resamples)
    if predictions.correct.all():  # no miss among these, yet there may be some among others
        count = count_groups(predictions.groups, len(predictions.labels))
        high = max(high, float(predictions.confidence.mean()) - _wilson(1.0, count)[0])
    return float(low), float(high)
