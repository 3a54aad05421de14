"""Predictions in writing: what stands in the table, in CSV and in JSON."""

import csv
import io
import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image
from rich.console import Console

from visionsweep.data.formats import UnreadableImageError
from visionsweep.inference.output import as_json, as_table, csv_lines, percent
from visionsweep.inference.predictor import Prediction

CLASSES = ["pizza", 'steak, "rare"', "sushi"]  # in the order of the model, not of the alphabet


def prediction(name: str, *probabilities: float, abstained: bool = False) -> Prediction:
    ordered = sorted(zip(CLASSES, probabilities, strict=True), key=lambda p: -p[1])
    return Prediction(Path(name), Image.new("RGB", (4, 4)), ordered, abstained)


@pytest.fixture
def answers():
    predictions = [
        prediction("a [b], c.png", 0.1, 0.7, 0.2),
        prediction("unsure.png", 1 / 3, 0.2, 1 - 1 / 3 - 0.2, abstained=True),
    ]
    broken = UnreadableImageError("broken.png: cannot be read, says Pillow")
    return [*((p.path, p) for p in predictions), (Path("broken.png"), broken)]


@pytest.fixture
def predictor():
    run = SimpleNamespace(directory=Path("outputs/run"))
    return SimpleNamespace(run=run, temperature=1.5, classes=CLASSES)


def test_csv_has_a_column_for_each_class_and_every_bit_of_its_probability(answers):
    text = "".join(csv_lines(answers, CLASSES))
    rows = list(csv.DictReader(io.StringIO(text)))
    assert list(rows[0]) == ["image", "predicted", "confidence", "abstained", *CLASSES, "error"]
    sure, unsure, broken = rows
    assert sure["image"] == "a [b], c.png" and sure["predicted"] == CLASSES[1]
    assert [float(sure[c]) for c in CLASSES] == [0.1, 0.7, 0.2] and sure["confidence"] == "0.7"
    assert (sure["abstained"], unsure["abstained"]) == ("false", "true")
    assert unsure["predicted"] == "" and float(unsure["confidence"]) == 1 - 1 / 3 - 0.2
    assert float(unsure["pizza"]) == 1 / 3
    assert broken.pop("image") == "broken.png"
    assert broken.pop("error") == "broken.png: cannot be read, says Pillow"
    assert set(broken.values()) == {""}


def test_csv_is_written_line_by_line(answers):
    def endless():
        yield answers[0]
        raise AssertionError("asked for more than was read")

    lines = csv_lines(endless(), CLASSES)
    assert next(lines).startswith("image,") and next(lines).startswith('"a [b], c.png"')


def test_json_holds_the_run_options_and_all_predictions(answers, predictor):
    content = json.loads(as_json(answers, predictor, 0.6))
    sure, unsure, broken = content.pop("predictions")
    assert content == {"run": "outputs/run", "temperature": 1.5, "min_confidence": 0.6}
    assert sure == {
        "image": "a [b], c.png",
        "predicted": CLASSES[1],
        "confidence": 0.7,
        "abstained": False,
        "probabilities": dict(zip(CLASSES, (0.1, 0.7, 0.2), strict=True)),
        "error": None,
    }
    assert list(sure["probabilities"]) == CLASSES
    assert unsure["predicted"] is None and unsure["abstained"] is True
    assert unsure["confidence"] == 1 - 1 / 3 - 0.2
    assert broken == {
        "image": "broken.png", "predicted": None, "confidence": None, "abstained": None,
        "probabilities": None, "error": "broken.png: cannot be read, says Pillow",
    }  # fmt: skip
    assert list(broken) == list(sure)


def test_json_stays_json_where_a_model_diverged(predictor):
    broken = prediction("a.png", math.nan, math.nan, math.nan, abstained=True)
    (entry,) = json.loads(as_json([(broken.path, broken)], predictor, 0.0))["predictions"]
    assert entry["confidence"] is None and set(entry["probabilities"].values()) == {None}


def rows_of(table) -> list[str]:
    console = Console(file=io.StringIO(), width=200)
    console.print(table)
    text = console.file.getvalue()
    return [" ".join(line.strip("│┃ ").split()) for line in text.splitlines() if ".png" in line]


def test_table_shows_top_k_classes(answers):
    predictions = [p for _, p in answers[:1]]
    assert rows_of(as_table(predictions, 1)) == ['a [b], c.png │ steak, "rare" │ 70.0%']
    assert rows_of(as_table(predictions, 2)) == [
        'a [b], c.png │ steak, "rare" │ 70.0% │ sushi │ 20.0%'
    ]
    assert rows_of(as_table(predictions, 9))[0].count("%") == 3


def test_table_marks_unsure_predictions_with_a_gray_guess(answers):
    table = as_table([answers[1][1]], 2)
    assert rows_of(table) == ["unsure.png │ unsure (sushi) │ (46.7%) │ pizza │ 33.3%"]
    console = Console(file=io.StringIO(), force_terminal=True, color_system="standard", width=99)
    console.print(table)
    assert "\x1b[90m(sushi)\x1b[0m" in console.file.getvalue()


@pytest.mark.parametrize(
    ("probability", "written"),
    [
        (0.0, "0.0%"),
        (0.0004, "< 0.1%"),
        (0.0005, "0.1%"),
        (0.5, "50.0%"),
        (0.9994, "99.9%"),
        (0.99999, "> 99.9%"),
        (1.0, "100.0%"),
    ],
)
def test_confidence_in_the_table_is_never_rounded_up_to_certainty(probability, written):
    assert percent(probability) == written
