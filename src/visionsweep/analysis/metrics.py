"""Loss, accuracy, macro F1, expected calibration error, confusion matrix, reliability."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visionsweep.analysis.predictions import Floats, Predictions

Ints = NDArray[np.int64]

METRICS = ("loss", "accuracy", "macro_f1", "ece")
ECE_BINS = 15  # as in Guo et al. 2017


def per_replicate(predictions: Predictions) -> dict[str, Floats]:
    """Return each of `METRICS` for every replicate, `float64[R]`.

    loss is the mean cross-entropy in nats; accuracy, macro F1 and the expected calibration error
    are shares of 1. A replicate with a logit that is not finite has diverged; all its metrics are
    NaN.
    """
    finite = predictions.finite
    result = {name: np.full(len(finite), np.nan) for name in METRICS}
    if finite.any():
        sound = predictions if finite.all() else predictions.select_replicates(finite)
        result["loss"][finite] = sound.losses.mean(1)
        result["accuracy"][finite] = sound.correct.mean(1)
        result["macro_f1"][finite] = macro_f1(*class_counts(sound))
        result["ece"][finite] = np.abs(calibration_gaps(sound)).sum(1)
    return result


def class_counts(predictions: Predictions) -> tuple[Floats, Floats]:
    """Return the counts that F1 consists of.

    Returns:
        True positives of each class, and its images plus those predicted as it, both
        `float64[R, C]`.
    """
    replicates, _, classes = predictions.logits.shape
    rows = np.arange(replicates)[:, None] * classes
    of_true, of_predicted = rows + predictions.labels, rows + predictions.predicted
    both = np.concatenate([of_true, of_predicted]).ravel()
    counts = np.zeros((2, replicates * classes))
    counts[0] = np.bincount(of_true.ravel(), predictions.correct.ravel(), minlength=counts.shape[1])
    counts[1] = np.bincount(both, minlength=counts.shape[1])
    true_positives, occurrences = counts.reshape(2, replicates, classes)
    return true_positives, occurrences


def macro_f1(true_positives: Floats, occurrences: Floats) -> Floats:
    """Return F1 averaged over the classes that occur among labels or predictions.

    A class without images that is never predicted has no F1.

    Args:
        true_positives: true positives by class, `float64[R, C, ...]`, counts or shares of images.
        occurrences: true plus predicted, likewise.

    Returns:
        `float64[R, ...]`.
    """
    result: Floats = class_f1(true_positives, occurrences).sum(1) / (occurrences > 0).sum(1)
    return result


def class_f1(true_positives: Floats, occurrences: Floats) -> Floats:
    """Return 2 TP / (true + predicted) of each class; 0 where it does not occur."""
    nothing = np.zeros_like(occurrences)
    return np.divide(2 * true_positives, occurrences, out=nothing, where=occurrences > 0)


def calibration_gaps(predictions: Predictions) -> Floats:
    """Sum confidence minus correctness over the images of each bin of confidence.

    Returns:
        `float64[R, ECE_BINS]`, divided by the number of all images: the calibration error of
        Naeini et al. (2015) is the sum of their absolute values.
    """
    replicates, images = predictions.correct.shape
    place = bins_of(predictions.confidence, ECE_BINS) + ECE_BINS * np.arange(replicates)[:, None]
    gaps = (predictions.confidence - predictions.correct).ravel()
    sums = np.bincount(place.ravel(), gaps, minlength=replicates * ECE_BINS)
    result: Floats = sums.reshape(replicates, ECE_BINS) / images
    return result


def bins_of(confidence: Floats, bins: int) -> NDArray[np.int64]:
    """Return the bin of each confidence, bins of equal width; a bin holds its upper edge."""
    return np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)


def confusion(labels: Ints, predicted: Ints, classes: int) -> Ints:
    """Return the confusion matrix.

    Args:
        labels: true classes, `int64[N]`.
        predicted: predicted classes, `int64[N]`.
        classes: number of classes.

    Returns:
        Number of images, `int64[C, C]`; rows are true, columns predicted classes.
    """
    cells = np.bincount(labels * classes + predicted, minlength=classes**2)
    return cells.reshape(classes, classes)


def most_confused(counts: Ints, most: int) -> list[tuple[int, int, int]]:
    """Return (true class, predicted class, images) of the most frequent confusions.

    Args:
        counts: confusion matrix, `int64[C, C]`.
        most: number of confusions.
    """
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = (divmod(int(cell), len(counts)) for cell in order[wrong.flat[order] > 0])
    return [(true, predicted, int(counts[true, predicted])) for true, predicted in pairs]


@dataclass(frozen=True)
class Reliability:
    """Accuracy by confidence.

    Attributes:
        edges: edges of the bins, `float64[bins + 1]`; a bin holds its upper edge.
        confidence: mean confidence, `float64[bins]`; NaN in an empty bin.
        accuracy: share of correct predictions, `float64[bins]`; NaN in an empty bin.
        images: number of images, `int64[bins]`.
    """

    edges: Floats
    confidence: Floats
    accuracy: Floats
    images: Ints

    @property
    def ece(self) -> float:
        """Expected calibration error (Naeini et al. 2015) with these bins."""
        gaps = np.nan_to_num(np.abs(self.confidence - self.accuracy))
        return float((gaps * self.images).sum() / self.images.sum())


def reliability(confidence: Floats, correct: NDArray[np.bool_], bins: int = 10) -> Reliability:
    """Return accuracy by confidence, in bins of equal width.

    Args:
        confidence: probability of the predicted class, `float64[N]`.
        correct: whether it is the true class, `bool[N]`.
        bins: number of bins.
    """
    place = bins_of(confidence, bins)
    images = np.bincount(place, minlength=bins)
    filled = np.where(images > 0, images, np.nan)
    return Reliability(
        edges=np.linspace(0, 1, bins + 1),
        confidence=np.bincount(place, confidence, minlength=bins) / filled,
        accuracy=np.bincount(place, correct, minlength=bins) / filled,
        images=images,
    )
