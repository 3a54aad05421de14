"""Logits of the most probable classes, which stand for all where there are many."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, softmax

from visionsweep.analysis.predictions import MANY_CLASSES, Floats, Predictions

KEPT = 50  # classes of each image
_CHUNK = 512  # images at once


@dataclass(frozen=True)
class TopLogits:
    """Logits of K of C classes of each image; the others share one value.

    Losses, confidences, and the most probable classes are those of all logits, up to rounding, at
    two temperatures: 1, and that of the deployed predictor.

    Attributes:
        logits: of each replicate and image, `float32[R, N, K]`.
        classes: the K classes of each image, ascending, `int32[N, K]`.
        others: logit of each other class at either temperature, `float32[2, R, N]`.
    """

    logits: NDArray[np.float32]
    classes: NDArray[np.int32]
    others: NDArray[np.float32]

    @classmethod
    def of(cls, predictions: Predictions, temperature: float) -> Self:
        """Keep the true class, the first choice of each replicate, and the most probable classes.

        Args:
            predictions: predictions of more than `KEPT` classes.
            temperature: that of the deployed predictor.
        """
        images = len(predictions.labels)
        parts = [
            _top(
                predictions.logits[:, start : start + _CHUNK].astype(np.float64),
                predictions.labels[start : start + _CHUNK],
                temperature,
            )
            for start in range(0, images, _CHUNK)
        ]
        logits, classes, others = zip(*parts, strict=True)
        return cls(
            np.concatenate(logits, axis=1).astype(np.float32),
            np.concatenate(classes).astype(np.int32),
            np.concatenate(others, axis=2).astype(np.float32),
        )

    def all_classes(self, count: int, *, deployed: bool) -> NDArray[np.float32]:
        """Return the logits of all classes, `float32[R, N, count]`.

        Args:
            count: number of classes.
            deployed: whether they will be divided by the temperature of the deployed predictor.
        """
        result = np.repeat(self.others[int(deployed), :, :, None], count, axis=2)
        np.put_along_axis(result, self.classes[None].astype(np.int64), self.logits, axis=2)
        return result


def shortened(predictions: Predictions, temperature: float | None) -> Predictions:
    """Return predictions of many classes as they are after they were stored; of few, unchanged."""
    count = predictions.logits.shape[2]
    if count < MANY_CLASSES or temperature is None:
        return predictions
    top = TopLogits.of(predictions, temperature)
    return replace(predictions, logits=top.all_classes(count, deployed=True))


def _top(
    logits: Floats, labels: NDArray[np.int64], temperature: float
) -> tuple[Floats, NDArray[np.int64], Floats]:
    """Return the fields of `TopLogits` for the logits `float64[R, n, C]` of some images."""
    rank = softmax(logits / temperature, axis=2).mean(0)
    rows = np.arange(len(labels))
    rank[rows, logits.argmax(2)] += 1
    rank[rows, labels] = np.inf
    classes = np.sort(np.argpartition(-rank, KEPT - 1, axis=1)[:, :KEPT], axis=1)
    kept = np.take_along_axis(logits, classes[None], axis=2)
    rest = logits.copy()
    np.put_along_axis(rest, classes[None], -np.inf, axis=2)
    count = logits.shape[2] - KEPT
    others = [t * (logsumexp(rest / t, axis=2) - np.log(count)) for t in (1.0, temperature)]
    return kept, classes, np.stack(others)
