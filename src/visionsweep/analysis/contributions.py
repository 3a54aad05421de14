"""Metrics of one predictor with the contribution of each image, for paired differences."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit
from scipy.stats import rankdata

from visionsweep.analysis.bounds import UPPER
from visionsweep.analysis.groups import Groups, by_group, count_groups, joined
from visionsweep.analysis.intervals import Estimate, f1_influence, share_bounds
from visionsweep.analysis.metrics import Ints, class_counts, macro_f1
from visionsweep.analysis.predictions import Floats, Predictions

METRICS = (
    "accuracy", "balanced_accuracy", "macro_f1", "auroc", "average_precision", "top5_accuracy"
)  # fmt: skip
TOP = 5
FEWEST_CLASSES_FOR_TOP = 20


@dataclass(frozen=True)
class Contributions:
    """A metric between 0 and 1.

    Attributes:
        value: the metric.
        influence: N times its derivative by the weight of each image, `float64[N]`, of mean zero:
            the infinitesimal jackknife (Davison & Hinkley 1997, section 2.7).
        groups: groups of the images, `int64[N]`; None where each is independent.
    """

    value: float
    influence: Floats
    groups: Groups | None = None

    @property
    def estimate(self) -> Estimate:
        """The metric with its 95% interval over images or groups, Wilson's for its variance."""
        if count_groups(self.groups, len(self.influence)) == 1:
            return Estimate(self.value, np.nan, np.nan)
        low, high = share_bounds(np.array([self.value]), self.influence[None], self.groups)
        return Estimate(self.value, min(low, self.value), max(high, self.value))

    def minus(self, other: "Contributions", *, tests: int = 1) -> Estimate:
        """Return the difference to another predictor on the same images in the same order.

        The 95% confidence interval is paired, over images or groups, by Student's distribution.

        Args:
            other: the same metric of the other predictor.
            tests: number of differences that the 95% are for (Bonferroni).
        """
        groups = joined([self.groups, other.groups])
        differences = by_group(self.influence - other.influence, groups)
        images = len(differences)
        value = self.value - other.value
        if images == 1:
            return Estimate(value, np.nan, np.nan)
        error = differences.std(ddof=1) / np.sqrt(images)
        half = float(stdtrit(images - 1, 1 - (1 - UPPER) / tests) * error)
        return Estimate(value, value - half, value + half)


def contributions(
    predictions: Predictions, metrics: Sequence[str] = METRICS
) -> dict[str, Contributions]:
    """Return metrics of a predictor by name, as far as they apply.

    With two classes, the second one is the positive class of the area under the ROC curve and of
    the average precision. From `FEWEST_CLASSES_FOR_TOP` classes on, `top5_accuracy` is the share of
    images whose class is among the `TOP` most probable.

    Args:
        predictions: predictions of one predictor, finite logits `float32[1, N, C]`.
        metrics: names of `METRICS`.
    """
    values = {name: _contributions(predictions, name) for name in metrics}
    return {
        name: replace(value, groups=predictions.groups)
        for name, value in values.items()
        if value is not None
    }


def _contributions(predictions: Predictions, metric: str) -> Contributions | None:
    """Return a metric, or None if it does not apply."""
    labels, logits, correct = predictions.labels, predictions.logits[0], predictions.correct[0]
    classes = logits.shape[1]
    if metric == "accuracy":
        return mean_of(correct)
    if metric == "balanced_accuracy":
        return _balanced_accuracy(labels, correct.astype(np.float64), classes)
    if metric == "macro_f1":
        value = float(macro_f1(*class_counts(predictions))[0])
        return Contributions(value, f1_influence(predictions)[0])
    if metric == "top5_accuracy":
        own = np.take_along_axis(logits, labels[:, None], axis=1)
        hit = (logits > own).sum(1) < TOP
        return mean_of(hit) if classes >= FEWEST_CLASSES_FOR_TOP else None
    if classes != 2 or not 0 < labels.sum() < len(labels):
        return None
    scores = logits[:, 1].astype(np.float64) - logits[:, 0]
    return (_auroc if metric == "auroc" else _average_precision)(labels == 1, scores)


def mean_of(values: NDArray[Any], groups: Groups | None = None) -> Contributions:
    """Return the mean of a value of each image, such as whether it is predicted correctly.

    Args:
        values: between 0 and 1, `[N]`.
        groups: groups of the images.
    """
    values = values.astype(np.float64)
    mean = float(values.mean())
    return Contributions(mean, values - mean, groups)


def _balanced_accuracy(labels: Ints, correct: Floats, classes: int) -> Contributions:
    """Mean recall over the classes that have images."""
    images = np.bincount(labels, minlength=classes)
    recall = np.bincount(labels, correct, minlength=classes) / np.maximum(images, 1)
    present = int((images > 0).sum())
    influence = (correct - recall[labels]) * len(labels) / (images[labels] * present)
    return Contributions(float(recall[images > 0].mean()), influence)


def _auroc(positive: np.ndarray, scores: Floats) -> Contributions:
    """Area under the ROC curve; the influence consists of placements (DeLong et al. 1988).

    Args:
        positive: True for images of the positive class, `bool[N]`.
        scores: higher for the positive class, `float64[N]`; ties count half.
    """
    count, positives = len(scores), int(positive.sum())
    negatives = count - positives
    ranks = rankdata(scores)
    placements = np.empty(count)
    placements[positive] = (ranks[positive] - rankdata(scores[positive])) / negatives
    placements[~positive] = 1 - (ranks[~positive] - rankdata(scores[~positive])) / positives
    value = float(placements[positive].mean())
    of_class = np.where(positive, positives, negatives)
    return Contributions(value, (placements - value) * count / of_class)


def _average_precision(positive: np.ndarray, scores: Floats) -> Contributions:
    """Mean precision at the scores of the positive images; arguments as `_auroc`."""
    _, group = np.unique(-scores, return_inverse=True)  # highest score first, ties together
    hits, size = np.bincount(group, positive), np.bincount(group)
    included = np.cumsum(size)  # images at or above the threshold of a group
    precision = np.cumsum(hits) / included
    total = hits.sum()
    value = float((hits * precision).sum() / total)
    # An image enters the precision at its own threshold and at all lower ones.
    of_positive = np.cumsum((hits / included)[::-1])[::-1]
    of_any = np.cumsum((hits * precision / included)[::-1])[::-1]
    own = positive * (precision[group] - value)
    influence = (own + positive * of_positive[group] - of_any[group]) * len(scores) / total
    return Contributions(value, influence)
