"""Predictions of images whose true class is known, with verdicts."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from visionsweep.inference.output import percent
from visionsweep.inference.predictor import Prediction
from visionsweep.text.escaping import visible


def is_right(prediction: Prediction, true: str) -> bool:
    """Return whether the most probable class is the true one."""
    return prediction.probabilities[0][0] == true


def verdict_table(predictions: Sequence[Prediction], truths: Sequence[str]) -> Table:
    """Return a table with the columns image, true, predicted, confidence and verdict."""
    table = Table("image", "true", "predicted")
    table.add_column("confidence", justify="right")
    table.add_column("verdict")
    for prediction, true in zip(predictions, truths, strict=True):
        name, confidence = prediction.probabilities[0]
        right = is_right(prediction, true)
        table.add_row(
            Text(visible(prediction.path)),
            Text(visible(true)),
            Text(visible(name)),
            Text(percent(confidence)),
            Text("right", "green") if right else Text("wrong", "bold red"),
        )
    return table


def verdict_line(predictions: Sequence[Prediction], truths: Sequence[str]) -> str:
    """Return the number of correct predictions in a sentence."""
    right = sum(map(is_right, predictions, truths))
    return f"{right} of these {len(truths)} images are predicted correctly."
