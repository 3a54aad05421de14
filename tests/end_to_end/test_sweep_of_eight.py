"""The main job: eight runs from one command, then the table, TensorBoard and predictions."""

import csv
import json
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

from visionsweep.analysis.calibration import calibrated
from visionsweep.runs import logits
from visionsweep.runs.record_file import read_record

NAMES = {
    f"{model}_{data}_{epochs}-epochs_size-32"
    for model in ("effnetb0", "effnetb2")
    for data in ("10pct", "20pct")
    for epochs in (5, 10)
}


def records(commands):
    files = commands.directory.glob("outputs/*/*/*/result.json")
    return {file.parent.name: json.loads(file.read_text()) for file in files}


def test_sweep_of_eight_completes_under_readable_names(sweep_of_eight):
    commands, done = sweep_of_eight
    assert done.returncode == 0, done.stderr
    found = records(commands)
    assert set(found) == NAMES
    assert {r["status"] for r in found.values()} == {"completed"}
    for name, record in found.items():
        assert record["name"] == name
        assert len(record["history"]) == record["config"]["epochs"]
        for when in ("final", "best"):
            for split in ("train", "val", "test"):
                scores = record["metrics"][when][split]
                assert scores["loss"] > 0 and 0 <= scores["accuracy"] <= 1


def test_every_run_is_scored_on_the_same_images(sweep_of_eight):
    found = records(sweep_of_eight[0]).values()
    assert len({(r["data"]["digests"]["val"], r["data"]["digests"]["test"]) for r in found}) == 1
    assert {r["data"]["counts"]["train"] for r in found} == {225, 450}
    assert {(r["data"]["counts"]["val"], r["data"]["counts"]["test"]) for r in found} == {(135, 75)}


def test_use_of_the_sample_and_random_weights_is_prominent(sweep_of_eight):
    commands, done = sweep_of_eight
    assert done.stderr.count("!  THE PHOTOGRAPHS CANNOT BE REACHED") == 1  # framed, for all runs
    assert "!  PRETRAINED WEIGHTS ARE UNAVAILABLE" in done.stderr
    for record in records(commands).values():
        assert (record["dataset"], record["weights"]) == ("sample", "random")
    assert re.search(r"dataset: sample.*weights: random", done.stdout)


def test_run_directory_holds_weights_and_predictions(sweep_of_eight):
    commands, _ = sweep_of_eight
    for directory in commands.directory.glob("outputs/*/*/effnet*"):
        names = {file.name for file in directory.iterdir()}
        assert {"result.json", "head.safetensors", "predictions.csv", "model.txt"} <= names
        assert {".hydra", "train.log"} <= names
        for_tensorboard = ("tfevents", "projector", "training_images.jpg")
        files = [
            file
            for file in directory.rglob("*")
            if file.is_file() and not any(part in str(file) for part in for_tensorboard)
        ]
        assert sum(file.stat().st_size for file in files) < 200_000
        head = load_file(directory / "head.safetensors")
        assert {name.partition(".")[0] for name in head} == {"head", "temperature"}
        with (directory / "predictions.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == 135 + 75
        assert {row["split"] for row in rows} == {"val", "test"}
        for row in rows:
            assert sum(float(row[c]) for c in ("pizza", "steak", "sushi")) == pytest.approx(
                1, abs=1e-5
            )
        record = json.loads((directory / "result.json").read_text())
        known = read_record(directory / "result.json")
        for split, found in logits.read(directory, known).items():
            part = [row for row in rows if row["split"] == split]
            final = record["metrics"]["final"][split]
            assert found.correct.mean() == pytest.approx(final["accuracy"])
            expected = calibrated(found.logits, head["temperature"].item())
            written = [[float(row[c]) for c in ("pizza", "steak", "sushi")] for row in part]
            assert np.allclose(written, expected, atol=1e-6)


def test_leaderboard_is_printed_best_first_by_train_and_compare(sweep_of_eight):
    commands, done = sweep_of_eight
    ranked = sorted(
        records(commands), key=lambda n: records(commands)[n]["deployed"]["val"]["loss"]["value"]
    )
    compared = commands.run("compare.py", "outputs")
    assert compared.returncode == 0
    for text in (done.stdout, compared.stdout):
        rows = re.findall(r"│\s+(effnet\S+size-32)\s+│", text)
        assert rows == ranked
    assert "src/view.py outputs/" in done.stdout
    table = commands.run("compare.py", "outputs", "--csv", "--sort", "test_accuracy", "--top", "3")
    rows = list(csv.DictReader(table.stdout.splitlines()))
    assert len(rows) == 3
    assert [r["test_accuracy"] for r in rows] == sorted(
        (r["test_accuracy"] for r in rows), key=float, reverse=True
    )


def test_real_tensorboard_lists_exactly_eight_runs_and_eight_hparams_rows(sweep_of_eight):
    commands, _ = sweep_of_eight
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    board = subprocess.Popen(
        [sys.executable, "-m", "tensorboard.main", "--logdir", "outputs", "--port", str(port),
         "--load_fast", "false"],
        cwd=commands.directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip

    def ask(path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/data/{path}", data, {"Content-Type": "application/json"}
        )
        return json.load(urllib.request.urlopen(request, timeout=10))

    try:
        runs = []
        for _ in range(240):
            try:
                runs = ask("runs")
            except OSError:
                runs = []
            if len(runs) >= 8:
                break
            time.sleep(0.25)
        assert sorted(Path(run).name for run in runs) == sorted(NAMES)
        experiment = ask("plugin/hparams/experiment", {})
        columns = [c["name"] for c in experiment["hparamInfos"]]
        assert {"model", "data", "epochs", "lr"} <= set(columns)
        asked = {
            "startIndex": 0, "sliceSize": 20, "colParams": [],
            "allowedStatuses": ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE",
                                "STATUS_RUNNING"],
        }  # fmt: skip
        rows = []
        for _ in range(240):  # a run is listed before its last lines are read
            rows = ask("plugin/hparams/session_groups", asked)["sessionGroups"]
            if len(rows) >= 8 and all(len(row["metricValues"]) > 3 for row in rows):
                break
            time.sleep(0.25)
        assert len(rows) == 8
        assert {
            (r["hparams"]["model"], r["hparams"]["data"], r["hparams"]["epochs"]) for r in rows
        } == {
            (m, d, e) for m in ("effnetb0", "effnetb2") for d in ("10pct", "20pct") for e in (5, 10)
        }
        for row in rows:
            measured = {m["name"]["tag"] for m in row["metricValues"]}
            assert {"replicates_averaged/val_loss", "replicates_averaged/test_accuracy"} <= measured
    finally:
        board.terminate()
        board.wait()


def test_best_run_predicts_from_another_directory_without_its_data(sweep_of_eight, tmp_path):
    commands, _ = sweep_of_eight
    for number in range(27):
        Image.new("RGB", (40, 30), (9 * number, 90, 20)).save(tmp_path / f"photo {number}.png")
    best = min(
        records(commands).items(), key=lambda item: item[1]["deployed"]["val"]["loss"]["value"]
    )[0]
    outputs = commands.directory / "outputs"
    done = commands.run("predict.py", tmp_path, "--run", outputs, "--top", "3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert best in done.stdout and "lowest validation loss of 8 runs" in done.stdout
    figures = re.findall(r"Figure: (.+\.png)", done.stdout)
    assert len(figures) == 2  # 25 images to a figure
    for figure in figures:
        with Image.open(figure) as image:
            assert min(image.size) > 100


def test_unreadable_files_are_reported_and_the_others_predicted(sweep_of_eight, tmp_path):
    commands, _ = sweep_of_eight
    Image.new("RGB", (40, 30)).save(tmp_path / "good.png")
    (tmp_path / "broken.jpg").write_bytes(b"not an image")
    named = next(commands.directory.glob("outputs/*/*/effnetb0_10pct_5-epochs_size-32"))
    done = commands.run(
        "predict.py", tmp_path, tmp_path / "absent.jpg", "--run", named, "--figures", tmp_path / "f"
    )
    assert done.returncode == 1
    assert "broken.jpg" in done.stderr and "absent.jpg" in done.stderr
    assert "2 of 3 files could not be read" in done.stderr
    assert "good.png" in done.stdout and (tmp_path / "f" / "predictions-1.png").is_file()
