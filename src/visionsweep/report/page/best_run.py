"""A close look at one run for the page: scores, confusion matrix, and most confident mistakes."""

import base64
import io
from dataclasses import dataclass

from visionsweep.analysis.metrics import most_confused
from visionsweep.analysis.per_class import ClassScores, class_scores, lowest_f1_first
from visionsweep.figures.mistakes import Mistake
from visionsweep.report import numbers
from visionsweep.report.column_values import replicates_of
from visionsweep.report.mistakes import mistakes_of
from visionsweep.report.recipes import Scores
from visionsweep.runs import predictions_csv
from visionsweep.runs.discovery import Run
from visionsweep.runs.predictions_csv import SplitPredictions

MOST_CLASSES = 20  # in a matrix; of more classes the most frequent confusions are listed
_MOST_CONFUSIONS = 10
_MOST_LISTED = 30  # classes with their scores
_MOST_MISTAKES = 12
_SIDE = 160  # pixels of a picture, at most
_METRICS = {
    "loss": "loss",
    "accuracy": "accuracy",
    "accuracy_wilson": "accuracy (Wilson's interval)",
    "macro_f1": "macro F1",
    "ece": "calibration error (ECE)",
}


@dataclass(frozen=True)
class Picture:
    """An image of the page: its `data:` URI, empty if it is missing, and its size in pixels."""

    uri: str
    size: tuple[int, int]


@dataclass(frozen=True)
class CloseUp:
    """A run on the test images.

    Attributes:
        label: settings of the run.
        name: name of its directory.
        metrics: titles of the metrics with the texts of validation and test.
        predictions: test predictions; None if they are missing.
        summary: number of correct predictions in words.
        classes: class names with their scores, the lowest F1 first.
        confusions: (true class, predicted class, images), the most frequent first.
        mistakes: the most confident mistakes with their pictures.
    """

    label: str
    name: str
    metrics: list[tuple[str, list[str]]]
    predictions: SplitPredictions | None
    summary: str
    classes: list[tuple[str, ClassScores]]
    confusions: list[tuple[str, str, int]]
    mistakes: list[tuple[Mistake, Picture]]

    @property
    def has_digests(self) -> bool:
        """Whether the run recorded the digests of its images, without which none is opened."""
        return all(mistake.missing != "no digest recorded" for mistake, _ in self.mistakes)


def close_up(run: Run, label: str, scores: Scores) -> CloseUp:
    """Return the close-up of a run.

    Args:
        run: the run.
        label: its settings in words.
        scores: metrics of each split.
    """
    predictions = predictions_csv.read(run, "test")
    metrics = [
        (title, [_metric(scores, split, name) for split in ("val", "test")])
        for name, title in _METRICS.items()
        if name in scores.get("test", {})
    ]
    if predictions is None:
        return CloseUp(label, run.record.name, metrics, None, "", [], [], [])
    classes, replicates = predictions.classes, replicates_of(run.record)
    images = numbers.counted(len(predictions.images), "test image")
    summary = f"{predictions.correct.sum()} of {images} right"
    if replicates > 1:
        summary += f" by the mean of its {replicates} replicates"
    scores_by_class = dict(zip(classes, class_scores(predictions.confusion), strict=True))
    return CloseUp(
        label,
        run.record.name,
        metrics,
        predictions,
        summary,
        lowest_f1_first(scores_by_class)[:_MOST_LISTED],
        [
            (classes[true], classes[predicted], count)
            for true, predicted, count in most_confused(predictions.confusion, _MOST_CONFUSIONS)
        ],
        [(m, _picture(m)) for m in mistakes_of(run, "test", predictions, _MOST_MISTAKES)],
    )


def _picture(mistake: Mistake) -> Picture:
    if mistake.image is None:
        return Picture("", (_SIDE, _SIDE))
    image = mistake.image.copy()
    image.thumbnail((_SIDE, _SIDE))
    stored = io.BytesIO()
    image.save(stored, "JPEG", quality=82, optimize=True)
    uri = f"data:image/jpeg;base64,{base64.b64encode(stored.getvalue()).decode()}"
    return Picture(uri, image.size)


def _metric(scores: Scores, split: str, name: str) -> str:
    measure = scores.get(split, {}).get(name)
    if measure is None:
        return "–"
    if name.startswith("accuracy"):
        return f"{numbers.percent(measure.value)} {numbers.percent_interval(measure)}".rstrip()
    return f"{numbers.decimal(measure.value)} {numbers.interval(measure, 3)}".rstrip()
