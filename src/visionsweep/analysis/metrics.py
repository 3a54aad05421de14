"""Loss, accuracy, macro F1 and calibration error as functions of how much each image weighs.

Every metric here is made of sums over images, so its value for thousands of redrawn sets of images
is a few matrix products. `measure` gives that function and what each image contributes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visionsweep.analysis.outcomes import Floats, Outcomes

METRICS = ("loss", "accuracy", "macro_f1", "ece")
ECE_BINS = 15  # as in Guo et al. 2017


@dataclass(frozen=True)
class Measured:
    """A metric of every replicate, and how it depends on the images.

    Attributes:
        values: `float64[R]`, the metric of each replicate.
        influence: `float64[R, N]`: N times the derivative by the weight of an image, mean zero
            over images (the infinitesimal jackknife: Davison & Hinkley 1997, section 2.7).
        reweighted: from image weights `float64[N, B]`, columns that sum to one, to the metric's
            mean over replicates, `float64[B]`.
    """

    values: Floats
    influence: Floats
    reweighted: Callable[[Floats], Floats]


def measure(outcomes: Outcomes) -> dict[str, Measured]:
    """Return each of `METRICS`; all logits must be finite."""
    return {
        "loss": _mean_of(outcomes.losses),
        "accuracy": _mean_of(outcomes.hits.astype(np.float64)),
        "macro_f1": _macro_f1(outcomes),
        "ece": _calibration_error(outcomes),
    }


def per_replicate(outcomes: Outcomes) -> dict[str, Floats]:
    """Return each of `METRICS` for every replicate, `float64[R]`.

    loss is the mean cross-entropy in nats; accuracy, macro F1 and the expected calibration error
    are shares of 1. Macro F1 is the mean over the classes that occur among labels or predictions:
    a class that the split lacks and nobody predicts has no F1. A replicate with a logit that is
    not finite has diverged; all its metrics are NaN.
    """
    finite: NDArray[np.bool_] = np.isfinite(outcomes.logits).all(axis=(1, 2))
    sound = outcomes if finite.all() else outcomes.of_replicates(finite)
    result = {name: np.full(len(finite), np.nan) for name in METRICS}
    if finite.any():
        for name, measured in measure(sound).items():
            result[name][finite] = measured.values
    return result


def confusion(outcomes: Outcomes) -> Floats:
    """Count which class is taken for which.

    Returns:
        `float64[C, C]`, rows true, columns predicted; the mean over replicates.
    """
    replicates, _, classes = outcomes.logits.shape
    cells = (outcomes.labels * classes + outcomes.predicted).ravel()
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


def reliability(outcomes: Outcomes, bins: int = 10) -> Reliability:
    """Return mean confidence and accuracy of all replicates' predictions in bins of confidence."""
    place = _bin_of(outcomes.confidence, bins).ravel()
    count = np.bincount(place, minlength=bins).astype(np.float64)
    confidence = np.bincount(place, outcomes.confidence.ravel(), minlength=bins)
    hits = np.bincount(place, outcomes.hits.ravel(), minlength=bins)
    filled = np.where(count, count, np.nan)
    return Reliability(
        edges=np.linspace(0, 1, bins + 1),
        confidence=confidence / filled,
        accuracy=hits / filled,
        images=count / len(outcomes.logits),
    )


def _mean_of(table: Floats) -> Measured:
    """Measure the mean over images of `table`, `float64[R, N]`."""
    values = table.mean(1)
    images = table.mean(0)
    return Measured(values, table - values[:, None], lambda weights: images @ weights)


def _macro_f1(outcomes: Outcomes) -> Measured:
    """Measure F1 = 2 TP / (predicted + true), averaged over the classes that occur."""
    replicates, images, classes = outcomes.logits.shape
    one = np.arange(images)
    hits, occurrences = (np.zeros((replicates, classes, images)) for _ in range(2))
    for r in range(replicates):
        hits[r, outcomes.labels, one] = outcomes.hits[r]
        occurrences[r, outcomes.labels, one] += 1
        occurrences[r, outcomes.predicted[r], one] += 1
    size, twice = occurrences.sum(2), 2 * hits.sum(2)
    f1 = np.divide(twice, size, out=np.zeros_like(size), where=size > 0)
    present = (size > 0).sum(1)
    # of one image: its true class gains a hit or not, its true and predicted class grow
    per_size = np.divide(images, size, out=np.zeros_like(size), where=size > 0)
    rows = np.arange(replicates)[:, None]
    of_true, of_predicted = per_size[:, outcomes.labels], per_size[rows, outcomes.predicted]
    influence = 2 * outcomes.hits * of_true
    influence -= f1[:, outcomes.labels] * of_true + f1[rows, outcomes.predicted] * of_predicted
    influence /= present[:, None]

    def reweighted(weights: Floats) -> Floats:
        shape = (replicates, classes, weights.shape[1])
        size = (occurrences.reshape(-1, images) @ weights).reshape(shape)
        twice = 2 * (hits.reshape(-1, images) @ weights).reshape(shape)
        f1 = np.divide(twice, size, out=np.zeros_like(size), where=size > 1e-12)
        result: Floats = (f1.sum(1) / (size > 1e-12).sum(1)).mean(0)
        return result

    return Measured(f1.sum(1) / present, influence, reweighted)


def _calibration_error(outcomes: Outcomes) -> Measured:
    """Measure the sum over bins of confidence of |mean confidence - accuracy| x share of images."""
    replicates, images, _ = outcomes.logits.shape
    place = _bin_of(outcomes.confidence, ECE_BINS)
    gaps = outcomes.confidence - outcomes.hits
    table = np.zeros((replicates, ECE_BINS, images))
    rows, columns = np.arange(replicates)[:, None], np.arange(images)
    table[rows, place, columns] = gaps
    of_bin = table.mean(2)
    values = np.abs(of_bin).sum(1)
    influence = np.sign(of_bin[rows, place]) * gaps - values[:, None]

    def reweighted(weights: Floats) -> Floats:
        sums = (table.reshape(-1, images) @ weights).reshape(replicates, ECE_BINS, -1)
        result: Floats = np.abs(sums).sum(1).mean(0)
        return result

    return Measured(values, influence, reweighted)


def _bin_of(confidence: Floats, bins: int) -> NDArray[np.int64]:
    """Return the bin of each confidence, of equal widths; a bin holds its upper edge."""
    return np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
