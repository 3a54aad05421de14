"""Scores of a run: loss and accuracy per epoch, and every metric with its confidence interval."""

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import numpy as np
from msgspec import Meta, Struct
from msgspec.structs import force_setattr

from visionsweep.analysis import metrics
from visionsweep.analysis.calibration import calibrated
from visionsweep.analysis.intervals import estimates, wilson
from visionsweep.analysis.predictions import Predictions
from visionsweep.runs.fields import MOST_REPLICATES, Natural, NonNegative, Share

_SMALLEST = float(np.finfo(np.float32).tiny)  # probability, so that its logarithm is finite

# JSON has no NaN: a number that diverged is written as null, and read back as NaN.
if TYPE_CHECKING:
    _Nullable = float
    _NullableScore = float
else:
    _Nullable = float | None
    _NullableScore = NonNegative | None


class Scores(Struct, frozen=True, gc=False):
    """Mean loss and accuracy over images.

    Attributes:
        loss: cross-entropy in nats; NaN if training diverged.
        accuracy: share of correctly classified images, 0 to 1.
    """

    loss: _NullableScore
    accuracy: Share

    def __post_init__(self) -> None:
        """Turn null into NaN."""
        if self.loss is None:
            force_setattr(self, "loss", math.nan)


class SplitScores(Struct, frozen=True, gc=False):
    """Scores of one replicate in one epoch."""

    train: Scores
    val: Scores
    test: Scores


class EpochScores(Struct, frozen=True, gc=False):
    """Scores of one epoch, means over replicates.

    Attributes:
        epoch: number of the epoch, from 1.
        train: running scores during training, with dropout.
        val, test: scores after the epoch.
    """

    epoch: Natural
    train: Scores
    val: Scores
    test: Scores


class Epoch(EpochScores, frozen=True, gc=False):
    """Scores and facts of one epoch.

    Attributes:
        learning_rate: learning rate of the epoch.
        seconds: wall-clock seconds, evaluation included.
        replicates: scores per replicate.
    """

    learning_rate: NonNegative
    seconds: NonNegative
    replicates: tuple[SplitScores, ...] = ()


class Metrics(Struct, frozen=True):
    """Scores by which a run is judged.

    Attributes:
        final: scores of the last epoch, which the saved weights reproduce and runs are ranked by.
        best: scores of the epoch with the lowest validation loss.
    """

    final: EpochScores
    best: EpochScores


class Measure(Struct, frozen=True):
    """One metric on one split.

    Attributes:
        value: mean over replicates.
        low, high: bounds of the 95% confidence interval over images and replicates.
        replicates: value per replicate.
    """

    value: _NullableScore
    low: _Nullable
    high: _Nullable
    replicates: Annotated[list[_NullableScore], Meta(min_length=1, max_length=MOST_REPLICATES)]

    def __post_init__(self) -> None:
        """Turn null into NaN."""
        for name in ("value", "low", "high"):
            if getattr(self, name) is None:
                force_setattr(self, name, math.nan)
        if None in self.replicates:
            values = [math.nan if value is None else value for value in self.replicates]
            force_setattr(self, "replicates", values)


def summarize(history: list[Epoch]) -> Metrics:
    """Return the scores of the last epoch and of the epoch with the lowest validation loss.

    A NaN loss counts as infinite; of equal epochs, the first is the best.
    """

    def scores_of(epoch: Epoch) -> EpochScores:
        return EpochScores(epoch.epoch, epoch.train, epoch.val, epoch.test)

    def val_loss(epoch: Epoch) -> float:
        return math.inf if math.isnan(epoch.val.loss) else epoch.val.loss

    return Metrics(scores_of(history[-1]), scores_of(min(history, key=val_loss)))


def estimate_deployed(predictions: Predictions, temperature: float) -> dict[str, Measure]:
    """Return every metric of the deployed predictor with its 95% confidence interval.

    The predictor is the calibrated mean over replicates. Its intervals are over images alone; that
    of accuracy is Wilson's.
    """
    logits = np.log(np.maximum(calibrated(predictions.logits, temperature), _SMALLEST))
    deployed = replace(predictions, logits=logits.astype(np.float32)[None])
    measures = estimate_metrics(deployed)
    return measures | {"accuracy": measures.pop("accuracy_wilson")}


def scores_of_first(predictions: Predictions, temperature: float) -> list[Scores]:
    """Return the scores of the calibrated mean of the first 1, 2, ... R replicates."""
    rows = np.arange(len(predictions.labels))
    total = np.zeros(predictions.logits.shape[1:])
    scores: list[Scores] = []
    for logits in predictions.logits:
        total += calibrated(logits[None], temperature)
        mean = np.maximum(total / (len(scores) + 1), _SMALLEST)
        right = float((mean.argmax(1) == predictions.labels).mean())
        scores.append(Scores(float(-np.log(mean[rows, predictions.labels]).mean()), right))
    return scores


def estimate_metrics(predictions: Predictions) -> dict[str, Measure]:
    """Return every metric of some predictions with its 95% confidence interval.

    With one replicate, `accuracy_wilson` adds the Wilson interval of accuracy.
    """
    per_replicate = metrics.per_replicate(predictions)
    measures = {
        name: Measure(estimate.value, estimate.low, estimate.high, per_replicate[name].tolist())
        for name, estimate in estimates(predictions).items()
    }
    if len(predictions.logits) == 1:
        interval = wilson(int(predictions.correct.sum()), len(predictions.labels))
        measures["accuracy_wilson"] = Measure(
            interval.value, interval.low, interval.high, [interval.value]
        )
    return measures
