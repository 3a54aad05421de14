"""Loss, accuracy, macro F1 and expected calibration error, and what figures of them need."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visionsweep.analysis.predictions import Floats, Predictions

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
    """Count for each class of each replicate what F1 is made of.

    Returns:
        Images of the class that were recognised, and images of the class plus images taken for
        it, both `float64[R, C]`.
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

    A class that the split lacks and that nothing is taken for has no F1.

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


def confusion(predictions: Predictions) -> Floats:
    """Count which class is taken for which.

    Returns:
        `float64[C, C]`, rows true, columns predicted; the mean over replicates.
    """
    replicates, _, classes = predictions.logits.shape
    cells = (predictions.labels * classes + predictions.predicted).ravel()
    counts = np.bincount(cells, minlength=classes**2).reshape(classes, classes)
    result: Floats = counts / replicates
    return result


@dataclass(frozen=True)
class Reliability:
    """How often predictions of a confidence are right, for a reliability diagram.

    Attributes:
        edges: `float64[bins + 1]`, of confidence; a bin holds its upper edge.
        confidence: `float64[bins]`, mean confidence; NaN in an empty bin.
        accuracy: `float64[bins]`, share of correct predictions; NaN in an empty bin.
        images: `float64[bins]`, images in the bin, mean over replicates.
    """

    edges: Floats
    confidence: Floats
    accuracy: Floats
    images: Floats


def reliability(predictions: Predictions, bins: int = 10) -> Reliability:
    """Return confidence and accuracy in bins of confidence.

    Of all replicates' predictions together; those of replicates that diverged are left out.
    """
    sound = predictions.select_replicates(predictions.finite)
    place = bins_of(sound.confidence, bins).ravel()
    count = np.bincount(place, minlength=bins).astype(np.float64)
    confidence = np.bincount(place, sound.confidence.ravel(), minlength=bins)
    correct = np.bincount(place, sound.correct.ravel(), minlength=bins)
    filled = np.where(count > 0, count, np.nan)
    return Reliability(
        edges=np.linspace(0, 1, bins + 1),
        confidence=confidence / filled,
        accuracy=correct / filled,
        images=count / max(1, len(sound.logits)),
    )
