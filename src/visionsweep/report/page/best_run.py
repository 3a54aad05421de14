"""A close look at one run for the page: scores, confusion matrix, and most confident mistakes."""

import base64
import io
from typing import Any

from PIL import Image

from visionsweep.analysis.metrics import most_confused
from visionsweep.analysis.per_class import class_scores, lowest_f1_first
from visionsweep.report import numbers
from visionsweep.report.column_values import replicates_of
from visionsweep.report.mistakes import NO_DIGEST, mistakes_of
from visionsweep.report.recipes import Scores
from visionsweep.runs import predictions_csv
from visionsweep.runs.discovery import Run
from visionsweep.runs.paths import TRAINING_IMAGES
from visionsweep.runs.predictions_csv import SplitPredictions
from visionsweep.runs.scores import Interval
from visionsweep.storage.untrusted import MB, read_regular

MOST_CLASSES = 20  # in a matrix; of more classes the most frequent confusions are listed
_MOST_CONFUSIONS = 10
_MOST_LISTED = 30  # classes with their scores
_MOST_MISTAKES = 12
_LARGEST_FIGURE = 4 * MB
_SIDE = 160  # pixels of a picture, at most
_METRICS = {
    "loss": "loss",
    "accuracy": "accuracy",
    "accuracy_wilson": "accuracy (Wilson's interval)",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "auroc": "AUROC",
    "average_precision": "average precision",
    "top5_accuracy": "top-5 accuracy",
    "ece": "calibration error (ECE), biased upward",
}


def close_up(run: Run, label: str, scores: Scores) -> dict[str, Any]:
    """Return a run on the test images, as the template reads it.

    `training_images` are the URI and the size of their figure, or None. `metrics` are (title, texts
    of validation and test). `predictions` is None if they are missing. Otherwise `summary` is the
    number of correct ones in words; `classes` are (name, scores), the lowest F1 first;
    `confusions` are (true, predicted, images), the most frequent first; `mistakes` are (mistake,
    URI and size of its picture); and `has_digests` is whether the run recorded the digests without
    which no image is opened.
    """
    predictions = predictions_csv.read(run, "test")
    content: dict[str, Any] = {
        "label": label,
        "name": run.record.name,
        "metrics": [
            (title, [_metric(scores, split, name) for split in ("val", "test")])
            for name, title in _METRICS.items()
            if name in scores.get("test", {})
        ],
        "predictions": predictions,
        "training_images": _training_images(run),
    }
    if predictions is None:
        return content
    classes, replicates = predictions.classes, replicates_of(run.record)
    images = numbers.counted(len(predictions.images), "test image")
    by_class = _class_scores(run, predictions)
    mistakes = mistakes_of(run, "test", predictions, _MOST_MISTAKES)
    return content | {
        "summary": f"{predictions.correct.sum()} of {images} right"
        + (f" by the mean of its {replicates} replicates" if replicates > 1 else ""),
        "classes": lowest_f1_first(by_class)[:_MOST_LISTED],
        "confusions": [
            (classes[true], classes[predicted], count)
            for true, predicted, count in most_confused(predictions.confusion, _MOST_CONFUSIONS)
        ],
        "mistakes": [(mistake, *picture(mistake.image)) for mistake in mistakes],
        "has_digests": all(mistake.missing != NO_DIGEST for mistake in mistakes),
    }


def _class_scores(run: Run, predictions: SplitPredictions) -> dict[str, Any]:
    """Return the test scores of each class as recorded; by counts in records without intervals."""
    recorded = {} if (record := run.whole) is None else record.classes.get("test", {})
    if recorded and all(isinstance(scores.f1, Interval) for scores in recorded.values()):
        return dict(recorded)
    return dict(zip(predictions.classes, class_scores(predictions.confusion), strict=True))


def _training_images(run: Run) -> tuple[str, tuple[int, int]] | None:
    """Return the `data:` URI of a run's figure of training images and its size, if it has one."""
    try:
        content = read_regular(run.directory / TRAINING_IMAGES, _LARGEST_FIGURE)
        with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
            size = image.width * 3 // 4, image.height * 3 // 4  # sharp on dense screens, too
    except (OSError, ValueError):
        return None
    return f"data:image/jpeg;base64,{base64.b64encode(content).decode()}", size


def picture(image: Image.Image | None) -> tuple[str, tuple[int, int]]:
    """Return the `data:` URI of a small copy of an image and its size; empty if it is missing."""
    if image is None:
        return "", (_SIDE, _SIDE)
    image = image.copy()
    image.thumbnail((_SIDE, _SIDE))
    stored = io.BytesIO()
    image.save(stored, "JPEG", quality=82, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(stored.getvalue()).decode()}", image.size


def _metric(scores: Scores, split: str, name: str) -> str:
    measure = scores.get(split, {}).get(name)
    if measure is None:
        return "–"
    if "accuracy" in name:
        return f"{numbers.percent(measure.value)} {numbers.percent_interval(measure)}".rstrip()
    return f"{numbers.decimal(measure.value)} {numbers.interval(measure, 3)}".rstrip()
