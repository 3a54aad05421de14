"""predict.py for programs, with explanations, and where it should rather say nothing."""

import csv
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

PREDICT = Path(__file__).parents[2] / "src" / "predict.py"


@pytest.fixture
def photos(tmp_path):
    """Two images and a broken one."""
    folder = tmp_path / "photos"
    folder.mkdir()
    random = np.random.default_rng(0)
    for name in ("a.png", "c.png"):
        Image.fromarray(random.integers(0, 255, (30, 40, 3), np.uint8)).save(folder / name)
    (folder / "b.jpg").write_bytes(b"no image")
    return folder


@pytest.fixture
def predict(sweep_of_eight, photos, tmp_path):
    """Ask a run of the sweep, copied, about the photos; the asking, and the run."""
    commands, _ = sweep_of_eight
    found = next(commands.directory.glob("outputs/*/*/effnetb0_10pct_5-epochs_size-32"))
    run = shutil.copytree(found, tmp_path / "run", ignore=shutil.ignore_patterns("predictions"))

    def ask(*options, run=run):
        return commands.run("predict.py", photos, "--run", run, *options, cwd=photos)

    return ask, run


def test_csv_and_json_are_alone_on_standard_output_and_agree(predict, photos):
    ask, run = predict
    as_csv, as_json = ask("--csv"), ask("--json")
    assert as_csv.returncode == as_json.returncode == 1  # one could not be read
    for done in (as_csv, as_json):
        assert f"Run: {run}" in done.stderr and "1 of 3 files could not be read" in done.stderr
        assert "Figure" not in done.stderr
    assert not (run / "predictions").exists()

    rows = list(csv.DictReader(io.StringIO(as_csv.stdout)))
    content = json.loads(as_json.stdout)
    assert content["run"] == str(run) and content["min_confidence"] == 0
    assert content["temperature"] == load_file(run / "head.safetensors")["temperature"].item()
    assert [Path(row["image"]).name for row in rows] == ["a.png", "b.jpg", "c.png"]
    for row, entry in zip(rows, content["predictions"], strict=True):
        assert row["image"] == entry["image"] and row["error"] == (entry["error"] or "")
        if entry["error"]:
            assert "b.jpg: cannot be read" in entry["error"]
            continue
        assert row["predicted"] == entry["predicted"]
        probabilities = entry["probabilities"]
        assert {name: float(row[name]) for name in probabilities} == probabilities
        assert sum(probabilities.values()) == pytest.approx(1)
        assert (
            entry["confidence"] == probabilities[entry["predicted"]] == max(probabilities.values())
        )


def test_predictions_below_min_confidence_name_no_class_and_are_counted(predict, tmp_path):
    ask, _ = predict
    table = ask("--min-confidence", "0.999999", "--figures", tmp_path / "figures")
    assert table.stdout.count("unsure (") == 2
    assert "2 of 3 images: unsure, since no class has a confidence of 99.9999%." in table.stdout
    for row in csv.DictReader(io.StringIO(ask("--csv", "--min-confidence", "0.999999").stdout)):
        if not row["error"]:
            assert (row["predicted"], row["abstained"]) == ("", "true")
    sure = ask("--min-confidence", "0.1")
    assert "unsure" not in sure.stdout


@pytest.mark.exhaustive
def test_a_higher_temperature_makes_the_same_prediction_less_confident(predict, tmp_path):
    ask, run = predict
    hot = tmp_path / "hot"
    hot.mkdir()
    (hot / "result.json").write_bytes((run / "result.json").read_bytes())
    tensors = load_file(run / "head.safetensors")
    save_file(tensors | {"temperature": 5 * tensors["temperature"]}, hot / "head.safetensors")
    normal, flat = (
        [e for e in json.loads(ask("--json", run=of).stdout)["predictions"] if not e["error"]]
        for of in (run, hot)
    )
    for before, after in zip(normal, flat, strict=True):
        assert 1 / 3 < after["confidence"] < before["confidence"]


def test_explain_draws_heat_maps_also_with_json_output(predict, tmp_path):
    pytest.importorskip("captum")
    ask, _ = predict
    plain = ask("--figures", tmp_path / "plain")
    done = ask("--explain", "--json", "--figures", tmp_path / "explained")
    assert f"Figure: {tmp_path}/explained/predictions-1.png" in done.stderr
    json.loads(done.stdout)
    assert f"Figure: {tmp_path}/plain/predictions-1.png" in plain.stdout
    widths = [
        Image.open(tmp_path / kind / "predictions-1.png").width for kind in ("plain", "explained")
    ]
    assert widths[1] > 1.8 * widths[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--min-confidence", "80"], "80: should be from 0 to 1"),
        (["--min-confidence", "high"], "invalid"),
        (["--csv", "--json"], "not allowed with"),
        (["--top", "0"], "0: should be at least 1"),
    ],
)
def test_invalid_options_are_refused(commands, photos, options, message):
    done = commands.run("predict.py", photos, *options)
    assert done.returncode == 2 and message in done.stderr


def test_missing_run_is_reported_without_importing_torch(photos):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", PREDICT, photos, "--run", "nowhere"],
        cwd=photos, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert "nowhere: no such folder" in done.stderr and "Traceback" not in done.stderr
    assert "torch" not in {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}


def test_without_captum_the_command_that_installs_it_is_named(photos, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as u\n"
        "find = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'captum' else find(name, *rest)\n"
    )
    done = subprocess.run(
        [sys.executable, PREDICT, photos, "--explain"],
        cwd=photos, capture_output=True, text=True, env={"PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == (
        "--explain: needs captum, which is not installed; pip install -e '.[explain]'\n"
    )
