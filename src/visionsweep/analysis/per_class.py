"""Precision, recall and F1 of each class, from a confusion matrix or from predictions."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from visionsweep.analysis.groups import numbered
from visionsweep.analysis.intervals import Estimate, share_of, wilson
from visionsweep.analysis.metrics import confusion
from visionsweep.analysis.predictions import Predictions

_NONE = Estimate(np.nan, np.nan, np.nan)


@dataclass(frozen=True)
class ClassScores:
    """Scores of one class.

    Attributes:
        images: number of images of the class.
        predicted: number of images predicted as the class.
        precision: share of those that are of the class, with Wilson's interval; NaN if none is
            predicted as the class.
        recall: share of its images that are predicted as the class, with Wilson's interval; NaN if
            there are none.
        f1: harmonic mean of precision and recall; NaN if the class occurs nowhere. Its interval is
            Wilson's of the share s of correct images among those of the class or predicted as it,
            since F1 = 2 s / (1 + s).

    Of groups of images, Wilson's intervals are for the effective number of images (`share_bounds`).
    """

    images: int
    predicted: int
    precision: Estimate
    recall: Estimate
    f1: Estimate


def class_scores(confusion: NDArray[np.int64]) -> list[ClassScores]:
    """Return the scores of each class.

    Args:
        confusion: confusion matrix, `int64[C, C]`; rows are true, columns predicted classes.
    """
    scores = []
    for place in range(len(confusion)):
        correct = int(confusion[place, place])
        images, predicted = int(confusion[place].sum()), int(confusion[:, place].sum())
        either = images + predicted - correct
        scores.append(
            ClassScores(
                images,
                predicted,
                wilson(correct, predicted) if predicted else _NONE,
                wilson(correct, images) if images else _NONE,
                _f1(wilson(correct, either)) if either else _NONE,
            )
        )
    return scores


def scores_of_predictions(predictions: Predictions) -> list[ClassScores]:
    """Return the scores of each class, with intervals over groups where images have these.

    Args:
        predictions: predictions of one predictor, `float32[1, N, C]`.
    """
    labels, predicted, groups = predictions.labels, predictions.predicted[0], predictions.groups
    scores = class_scores(confusion(labels, predicted, predictions.logits.shape[2]))
    if groups is None:
        return scores

    def share(of_class: NDArray[np.bool_]) -> Estimate:
        if not of_class.any():
            return _NONE
        return share_of(labels[of_class] == predicted[of_class], numbered(groups[of_class]))

    return [
        replace(
            of_class,
            precision=share(predicted == place),
            recall=share(labels == place),
            f1=_f1(share((labels == place) | (predicted == place))),
        )
        for place, of_class in enumerate(scores)
    ]


def _f1(share: Estimate) -> Estimate:
    return Estimate(*(2 * s / (1 + s) for s in (share.value, share.low, share.high)))


class Counted(Protocol):
    """Counts of one class: `ClassScores`, or those in a record."""

    @property
    def images(self) -> int:
        """Number of images of the class."""

    @property
    def predicted(self) -> int:
        """Number of images predicted as the class."""


def never_predicted(scores: Mapping[str, Counted]) -> list[str]:
    """Return the names of the classes that have images and are never predicted."""
    return [name for name, counts in scores.items() if counts.images and not counts.predicted]


def lowest_f1_first(scores: Mapping[str, ClassScores]) -> list[tuple[str, ClassScores]]:
    """Return class names with their scores, the lowest F1 first, ties by name."""
    return sorted(scores.items(), key=lambda item: (item[1].f1.value, item[0]))


def balanced_accuracy(confusion: NDArray[np.int64]) -> float:
    """Return the mean recall over the classes that have images; NaN if there are none."""
    images = confusion.sum(1)
    present = images > 0
    if not present.any():
        return float("nan")
    return float((np.diag(confusion)[present] / images[present]).mean())
