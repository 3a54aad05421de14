"""Predictions beside the truth: what is right and what is wrong."""

from pathlib import Path

from PIL import Image

from visionsweep.inference.output import verdict_line, verdict_table
from visionsweep.inference.predictor import Prediction


def prediction(path: str, *probabilities: tuple[str, float]) -> Prediction:
    return Prediction(Path(path), Image.new("RGB", (4, 4)), list(probabilities))


def test_table_shows_true_class_predicted_class_and_verdict_of_each_image():
    predictions = [
        prediction("a.jpg", ("pizza", 0.75), ("steak", 0.25)),
        prediction("b\x1b[2J.jpg", ("steak", 1.0), ("pizza", 0.0)),
    ]
    table = verdict_table(predictions, ["pizza", "pizza"])
    rows = zip(*([str(cell) for cell in column.cells] for column in table.columns), strict=True)
    assert [str(column.header) for column in table.columns] == [
        "image", "true", "predicted", "confidence", "verdict",
    ]  # fmt: skip
    assert list(rows) == [
        ("a.jpg", "pizza", "pizza", "75.0%", "right"),
        (r"b\x1b[2J.jpg", "pizza", "steak", "100.0%", "wrong"),
    ]
    assert verdict_line(predictions, ["pizza", "pizza"]).startswith("1 of these 2 images")
