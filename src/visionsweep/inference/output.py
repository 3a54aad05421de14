"""Predictions as a table, with or without true classes, as CSV, and as JSON."""

import csv
import io
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.table import Column, Table
from rich.text import Text

from visionsweep.data.formats import UnreadableImageError
from visionsweep.inference.predictor import Prediction, Predictor
from visionsweep.text.escaping import class_columns, csv_cell, json_text, visible

_COLUMNS = ("image", "predicted", "confidence", "abstained")  # before those of the classes
Answer = tuple[Path, Prediction | UnreadableImageError]


def percent(probability: float) -> str:
    """Return a probability in percent; only certainty reads 100% or 0%."""
    if 0 < probability < 0.0005:
        return "< 0.1%"
    if 0.9995 <= probability < 1:
        return "> 99.9%"
    return f"{100 * probability:.1f}%"


def as_table(predictions: Sequence[Prediction], top: int) -> Table:
    """Return a table of images with their `top` most probable classes."""
    shown = min(top, len(predictions[0].probabilities))
    table = Table("image")
    for _ in range(shown):
        table.add_column("class")
        table.add_column("probability", justify="right")
    for prediction in predictions:
        cells = [Text(visible(prediction.path))]
        for place, (name, probability) in enumerate(prediction.probabilities[:shown]):
            if prediction.abstained and place == 0:
                cells.append(Text.assemble("unsure ", (f"({visible(name)})", "bright_black")))
                cells.append(Text(f"({percent(probability)})", "bright_black"))
            else:
                cells += [Text(visible(name)), Text(percent(probability))]
        table.add_row(*cells)
    return table


def is_right(prediction: Prediction, true: str) -> bool:
    """Return whether the most probable class is the true one."""
    return prediction.probabilities[0][0] == true


def verdict_table(predictions: Sequence[Prediction], truths: Sequence[str]) -> Table:
    """Return a table with the columns image, true, predicted, confidence and verdict."""
    table = Table("image", "true", "predicted", Column("confidence", justify="right"), "verdict")
    for prediction, true in zip(predictions, truths, strict=True):
        name, confidence = prediction.probabilities[0]
        verdict = ("right", "green") if is_right(prediction, true) else ("wrong", "bold red")
        cells = [visible(prediction.path), visible(true), visible(name), percent(confidence)]
        table.add_row(*map(Text, cells), Text(*verdict))
    return table


def verdict_line(predictions: Sequence[Prediction], truths: Sequence[str]) -> str:
    """Return the number of correct predictions in a sentence."""
    right = sum(map(is_right, predictions, truths))
    return f"{right} of these {len(truths)} images are predicted correctly."


def csv_lines(answers: Iterable[Answer], classes: Sequence[str]) -> Iterator[str]:
    """Yield predictions as lines of CSV, unrounded: the header, then a line per image.

    Columns are `image`, `predicted` (empty if the model abstained), `confidence` of the most
    probable class, `abstained`, the probability of each class, and `error`. `class_columns` names
    the classes, also in `predicted`.
    """
    columns = class_columns(classes, [*_COLUMNS, "error"])
    called = dict(zip(classes, columns, strict=True))
    yield _line([*_COLUMNS, *columns, "error"])
    for path, answer in answers:
        if isinstance(answer, Prediction):
            by_class = dict(answer.probabilities)
            name, confidence = answer.probabilities[0]
            abstained, predicted = ("true", "") if answer.abstained else ("false", called[name])
            yield _line([path, predicted, confidence, abstained, *map(by_class.get, classes), ""])
        else:
            yield _line([path, "", "", "", *("" for _ in classes), answer])


def as_json(answers: Iterable[Answer], predictor: Predictor, min_confidence: float) -> str:
    """Return predictions as JSON, unrounded: `{run, temperature, min_confidence, predictions}`."""
    content = {
        "run": str(predictor.run.directory),
        "temperature": predictor.temperature,
        "min_confidence": min_confidence,
        "predictions": [_entry(path, answer, predictor.classes) for path, answer in answers],
    }
    return json_text(content, encoding=sys.stdout.encoding)


def _entry(
    path: Path, answer: Prediction | UnreadableImageError, classes: Sequence[str]
) -> dict[str, Any]:
    if isinstance(answer, UnreadableImageError):
        nothing = dict.fromkeys(("predicted", "confidence", "abstained", "probabilities"))
        return {"image": str(path), **nothing, "error": str(answer)}
    by_class = dict(answer.probabilities)
    name, confidence = answer.probabilities[0]
    return {
        "image": str(path),
        "predicted": None if answer.abstained else name,
        "confidence": confidence,
        "abstained": answer.abstained,
        "probabilities": {name: by_class[name] for name in classes},
        "error": None,
    }


def _line(cells: Iterable[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(map(csv_cell, cells))
    return text.getvalue()
