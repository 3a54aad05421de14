"""Measure a trained run: metrics with confidence intervals, overall and of each class."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from msgspec.structs import replace

from visionsweep.analysis import metrics
from visionsweep.analysis.calibration import SMALLEST, calibrated, deployed_predictions
from visionsweep.analysis.contributions import METRICS, contributions
from visionsweep.analysis.cross_fit import widened_bounds
from visionsweep.analysis.intervals import Estimate, estimates, share_of
from visionsweep.analysis.per_class import scores_of_predictions
from visionsweep.analysis.predictions import Predictions
from visionsweep.data.split_names import CROSS_FIT
from visionsweep.runs.scores import ClassMeasures, Interval, Measure, Scores

IntervalT = TypeVar("IntervalT", bound=Interval)


@dataclass(frozen=True)
class RunScores:
    """Scores of a run, by split and name, as `runs.record.Record` describes them."""

    evaluation: dict[str, dict[str, Measure]] = field(default_factory=dict)
    deployed: dict[str, dict[str, Measure]] = field(default_factory=dict)
    classes: dict[str, dict[str, ClassMeasures]] = field(default_factory=dict)


def score_splits(
    predictions: Mapping[str, Predictions], temperature: float, classes: Sequence[str]
) -> RunScores:
    """Return the scores of a run from the predictions of all replicates, by split."""
    deployed = {split: deployed_predictions(p, temperature) for split, p in predictions.items()}
    scores = RunScores(
        {split: estimate_metrics(p) for split, p in predictions.items()},
        {split: estimate_deployed(p) for split, p in deployed.items()},
        {split: measure_classes(p, classes) for split, p in deployed.items()},
    )
    if CROSS_FIT in predictions:
        scores.evaluation[CROSS_FIT] = _widened(scores.evaluation[CROSS_FIT])
        scores.deployed[CROSS_FIT] = _widened(scores.deployed[CROSS_FIT])
        scores.classes[CROSS_FIT] = {
            name: replace(
                each, **{of: widened(getattr(each, of)) for of in ("precision", "recall", "f1")}
            )
            for name, each in scores.classes[CROSS_FIT].items()
        }
    return scores


def estimate_cross_fitted(deployed: Predictions) -> dict[str, Measure]:
    """Return what `estimate_deployed` does, with the wider intervals of cross-fitted scores."""
    return _widened(estimate_deployed(deployed))


def _widened(measures: Mapping[str, Measure]) -> dict[str, Measure]:
    return {
        name: widened(measure, math.inf if name == "loss" else 1.0)
        for name, measure in measures.items()
    }


def widened(score: IntervalT, highest: float = 1.0) -> IntervalT:
    """Return a cross-fitted score, at most `highest`, with the interval of `analysis.cross_fit`."""
    low, high = widened_bounds(score.value, score.low, score.high, highest)
    return replace(score, low=low, high=high)


def measure_classes(deployed: Predictions, classes: Sequence[str]) -> dict[str, ClassMeasures]:
    """Return the scores of each class from the predictions of the deployed predictor."""
    measured = {}
    for name, scores in zip(classes, scores_of_predictions(deployed), strict=True):
        shares = (scores.precision, scores.recall, scores.f1)
        intervals = (Interval(share.value, share.low, share.high) for share in shares)
        measured[name] = ClassMeasures(scores.images, scores.predicted, *intervals)
    return measured


def estimate_deployed(deployed: Predictions) -> dict[str, Measure]:
    """Return the metrics of the deployed predictor with 95% confidence intervals.

    These are `analysis.metrics.METRICS` and those of `analysis.contributions`. Intervals are over
    images, or groups of them, alone; that of accuracy is Wilson's.
    """
    measures = estimate_metrics(deployed)
    measures["accuracy"] = measures.pop("accuracy_wilson")
    if deployed.finite.all():
        missing = [name for name in METRICS if name not in measures]
        for name, metric in contributions(deployed, missing).items():
            measures[name] = _measure(metric.estimate)
    return measures


def estimate_metrics(predictions: Predictions) -> dict[str, Measure]:
    """Return every metric of some predictions with its 95% confidence interval.

    With one replicate, `accuracy_wilson` adds the Wilson interval of accuracy.
    """
    per_replicate = metrics.per_replicate(predictions)
    measures = {
        name: _measure(estimate, per_replicate[name].tolist())
        for name, estimate in estimates(predictions).items()
    }
    if len(predictions.logits) == 1:
        share = share_of(predictions.correct[0], predictions.groups)
        measures["accuracy_wilson"] = _measure(share)
    return measures


def _measure(estimate: Estimate, replicates: list[float] | None = None) -> Measure:
    values = [estimate.value] if replicates is None else replicates
    return Measure(estimate.value, estimate.low, estimate.high, values)


def replicate_scores(predictions: Predictions) -> list[Scores]:
    """Return the scores of each replicate before calibration."""
    losses, correct = predictions.losses.mean(1), predictions.correct.mean(1)
    return [Scores(*pair) for pair in zip(losses.tolist(), correct.tolist(), strict=True)]


def scores_by_replicates(predictions: Predictions, temperature: float) -> list[Scores]:
    """Return the scores of the calibrated mean of the first 1, 2, ... R replicates.

    Before them, at index 0, are the mean scores of single replicates before calibration. The logits
    of all replicates are divided by the temperature of their mean.
    """
    rows = np.arange(len(predictions.labels))
    total = np.zeros(predictions.logits.shape[1:])
    scores = [Scores(float(predictions.losses.mean()), float(predictions.correct.mean()))]
    for count, logits in enumerate(predictions.logits, 1):
        total += calibrated(logits[None], temperature)
        mean = np.maximum(total / count, SMALLEST)
        right = float((mean.argmax(1) == predictions.labels).mean())
        scores.append(Scores(float(-np.log(mean[rows, predictions.labels]).mean()), right))
    return scores
