"""A run's events, read back from the file and asked of a real TensorBoard."""

import json
import math
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from torch import nn

from visionsweep.models.description import describe
from visionsweep.tracking import record
from visionsweep.tracking.writer import RunWriter

GRAPH = describe(nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2)), 8).graph
CURVES = [f"{what}/{split}" for what in ("loss", "accuracy") for split in ("train", "val", "test")]
RESULTS = [
    f"{when}/{split}_{what}"
    for when in ("final", "best")
    for split in ("train", "val", "test")
    for what in ("loss", "accuracy")
]


@pytest.fixture
def write_events(make_config, make_history):
    """Write the events of a run as an experiment does."""

    def write(run_dir: Path, *val_losses: float, graph: bytes = GRAPH, **choices):
        run_dir.mkdir(parents=True, exist_ok=True)
        history = make_history(*val_losses)
        config = make_config(epochs=len(history), **choices)
        facts = {"name": run_dir.name, "dataset": "sample", "weights": "random"}
        with RunWriter(run_dir) as writer:
            writer.begin(facts, "epochs: 2\nmodel:\n  name: efficientnet_b0", graph)
            for epoch in history:
                writer.epoch(epoch)
            writer.end(config, facts, record.summarize(history))

    return write


def read_back(run_dir: Path) -> EventAccumulator:
    events = EventAccumulator(str(run_dir), size_guidance={"scalars": 0, "tensors": 0})
    events.Reload()
    return events


def points(events: EventAccumulator, tag: str) -> list[tuple[int, float]]:
    return [(e.step, pytest.approx(e.value, rel=1e-5, nan_ok=True)) for e in events.Scalars(tag)]


# ----------------------------------------------------------------------------- in the event file


def test_a_run_has_one_event_file_in_its_own_directory_and_no_other(tmp_path, write_events):
    write_events(tmp_path / "run", 0.9, 0.4)
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert [p.parent.name for p in files] == ["run"]
    assert "tfevents" in files[0].name


def test_every_epoch_has_its_point_in_every_curve(tmp_path, write_events):
    write_events(tmp_path, 0.9, 0.4, 0.6)
    events = read_back(tmp_path)
    assert set(CURVES) <= set(events.Tags()["scalars"])
    assert points(events, "loss/val") == [(1, 0.9), (2, 0.4), (3, 0.6)]
    assert points(events, "loss/train") == [(1, 1.0), (2, 0.5), (3, 0.7)]
    assert points(events, "accuracy/test") == [(1, 0.8), (2, 0.8), (3, 0.8)]
    assert points(events, "learning_rate") == [(n, 1e-3) for n in (1, 2, 3)]
    assert points(events, "seconds_per_epoch") == [(n, 0.5) for n in (1, 2, 3)]


def test_nothing_is_written_that_nobody_asked_for(tmp_path, write_events):
    write_events(tmp_path, 0.9)
    extra = {"learning_rate", "seconds_per_epoch"}
    assert set(read_back(tmp_path).Tags()["scalars"]) == {*CURVES, *RESULTS, *extra}


def test_a_layout_draws_train_validation_and_test_in_one_chart(tmp_path, write_events):
    write_events(tmp_path, 0.9)
    events = read_back(tmp_path)
    (tensor,) = events.Tensors("custom_scalars__config__")
    layout = Layout.FromString(tensor.tensor_proto.string_val[0])
    charts = {
        c.title: list(c.multiline.tag) for category in layout.category for c in category.chart
    }
    assert charts == {"loss": CURVES[:3], "accuracy": CURVES[3:]}
    assert set(CURVES) <= set(events.Tags()["scalars"])


def test_the_graph_is_the_networks(tmp_path, write_events):
    write_events(tmp_path, 0.9)
    events = read_back(tmp_path)
    assert events.Tags()["graph"]
    assert events.Graph() == GraphDef.FromString(GRAPH)
    assert len(events.Graph().node) > 3


def test_a_network_without_a_graph_is_tracked_all_the_same(tmp_path, write_events):
    write_events(tmp_path, 0.9, graph=b"")
    assert not read_back(tmp_path).Tags()["graph"]
    assert points(read_back(tmp_path), "loss/val") == [(1, 0.9)]


def test_configuration_and_dataset_are_there_as_text(tmp_path, write_events):
    write_events(tmp_path, 0.9)
    texts = {
        tag: read_back(tmp_path).Tensors(tag)[0].tensor_proto.string_val[0].decode()
        for tag in ("config/text_summary", "run/text_summary")
    }
    # Indented by four: Markdown then leaves it as it is.
    assert "    model:\n      name: efficientnet_b0" in texts["config/text_summary"]
    assert "| dataset | sample |" in texts["run/text_summary"]
    assert "| weights | random |" in texts["run/text_summary"]


def hparams_of(run_dir: Path) -> dict[str, HParamsPluginData]:
    (file,) = run_dir.glob("*tfevents*")
    return {
        value.tag: HParamsPluginData.FromString(value.metadata.plugin_data.content)
        for event in EventFileLoader(str(file)).Load()
        for value in event.summary.value
        if value.metadata.plugin_data.plugin_name == "hparams"
    }


def test_what_was_chosen_stands_in_the_runs_own_event_file(tmp_path, write_events):
    write_events(tmp_path, 0.9, 0.4, model="effnetb2", data="20pct", lr=0.01)
    found = hparams_of(tmp_path)
    assert set(found) == {
        f"_hparams_/{part}" for part in ("experiment", "session_start_info", "session_end_info")
    }
    chosen = found["_hparams_/session_start_info"].session_start_info.hparams
    assert chosen["model"].string_value == "effnetb2"
    assert chosen["data"].string_value == "20pct"
    assert chosen["epochs"].number_value == 2
    assert chosen["lr"].number_value == 0.01
    assert chosen["dataset"].string_value == "sample"
    assert chosen["weights"].string_value == "random"
    metrics = found["_hparams_/experiment"].experiment.metric_infos
    assert {info.name.tag for info in metrics} == set(RESULTS)


def test_final_and_best_values_are_those_of_the_record(tmp_path, write_events):
    write_events(tmp_path, 0.9, 0.4, 0.6)
    events = read_back(tmp_path)
    assert points(events, "final/val_loss") == [(3, 0.6)]
    assert [value for _, value in points(events, "best/val_loss")] == [0.4]
    assert [value for _, value in points(events, "best/test_loss")] == [0.45]
    assert [value for _, value in points(events, "final/train_loss")] == [0.7]


def test_a_run_that_stops_half_way_keeps_what_it_had(tmp_path, make_history):
    with pytest.raises(RuntimeError, match="out of memory"), RunWriter(tmp_path) as writer:
        writer.begin({"dataset": "sample"}, "epochs: 2", b"")
        writer.epoch(make_history(0.9)[0])
        raise RuntimeError("out of memory")
    assert points(read_back(tmp_path), "loss/val") == [(1, 0.9)]


def test_a_diverged_run_is_written(tmp_path, write_events):
    write_events(tmp_path, 0.9, math.nan)
    assert points(read_back(tmp_path), "loss/val") == [(1, 0.9), (2, math.nan)]


def test_writing_events_draws_no_random_numbers(tmp_path, write_events):
    before = torch.get_rng_state()
    write_events(tmp_path, 0.9)
    assert torch.equal(torch.get_rng_state(), before)


# -------------------------------------------------------------------------- in a real TensorBoard


class TensorBoard:
    """A started TensorBoard, and its HTTP API."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, path: str, body: dict | None = None):
        request = urllib.request.Request(
            f"{self.url}/data/{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=20) as response:
            return json.load(response)


@pytest.fixture
def tensorboard(tmp_path, write_events):
    """A TensorBoard over two runs of a sweep, beside which lie other files of a run."""
    outputs = tmp_path / "outputs"
    sweep = outputs / "2026-01-31" / "12-00-00-000001"
    write_events(sweep / "effnetb0_10pct", 0.9, 0.4, model="effnetb0", data="10pct")
    write_events(sweep / "effnetb2_20pct", 0.7, 0.3, 0.5, model="effnetb2", data="20pct", lr=0.01)
    (sweep / "effnetb0_10pct" / ".hydra").mkdir()
    (sweep / "effnetb0_10pct" / ".hydra" / "config.yaml").write_text("epochs: 2\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "tensorboard.main", "--logdir", outputs),
                *("--host", "127.0.0.1", "--port", str(port)),
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
        )
    board = TensorBoard(f"http://127.0.0.1:{port}")
    try:
        deadline = time.monotonic() + 90
        while not _has_read_all(board):
            assert process.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.2)
        yield board
    finally:
        process.terminate()
        process.wait(20)


def _has_read_all(board: TensorBoard) -> bool:
    try:
        tags = board.ask("plugin/scalars/tags")
    except OSError:  # not up yet
        return False
    return sum(set(RESULTS) <= set(of_run) for of_run in tags.values()) >= 2


def test_tensorboard_lists_one_run_an_experiment_and_its_hparams_table_a_row_each(tensorboard):
    runs = [
        "2026-01-31/12-00-00-000001/effnetb0_10pct",
        "2026-01-31/12-00-00-000001/effnetb2_20pct",
    ]
    assert sorted(tensorboard.ask("runs")) == runs

    scalars = tensorboard.ask("plugin/scalars/tags")
    assert set(scalars) == set(runs)
    assert set(CURVES) <= set(scalars[runs[0]])
    assert sorted(tensorboard.ask("plugin/graphs/info")) == runs
    texts = {"run/text_summary", "config/text_summary"}
    assert set(tensorboard.ask("plugin/text/tags")[runs[0]]) == texts
    layout = tensorboard.ask("plugin/custom_scalars/layout")
    assert [chart["title"] for chart in layout["category"][0]["chart"]] == ["loss", "accuracy"]

    experiment = tensorboard.ask("plugin/hparams/experiment", {"experimentName": ""})
    columns = {info["name"] for info in experiment["hparamInfos"]}
    assert {"model", "data", "epochs", "lr", "seed"} <= columns
    metrics = [info["name"] for info in experiment["metricInfos"]]
    assert {m["tag"] for m in metrics} == set(RESULTS)

    asked = {
        "experimentName": "",
        "allowedStatuses": ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"],
        "colParams": [{"metric": metric} for metric in metrics],
        "startIndex": 0,
        "sliceSize": 100,
    }
    groups = tensorboard.ask("plugin/hparams/session_groups", asked)["sessionGroups"]
    assert len(groups) == 2
    assert Counter(len(group["sessions"]) for group in groups) == {1: 2}
    rows = {
        group["hparams"]["model"]: group["hparams"]
        | {
            f"{value['name']['tag']}": value["value"]
            for value in group["metricValues"]
            if value["name"]["group"] == ""
        }
        for group in groups
    }
    b0, b2 = rows["effnetb0"], rows["effnetb2"]
    assert (b0["data"], b0["epochs"], b0["lr"]) == ("10pct", 2.0, 0.001)
    assert (b2["data"], b2["epochs"], b2["lr"]) == ("20pct", 3.0, 0.01)
    assert b0["final/val_loss"] == pytest.approx(0.4)
    assert (b2["final/val_loss"], b2["best/val_loss"]) == pytest.approx((0.5, 0.3))
    assert b2["final/test_accuracy"] == pytest.approx(0.8)
