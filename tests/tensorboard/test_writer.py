"""A run's events, read back from the file and asked of a real TensorBoard."""

import math
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.compat.tensorflow_stub import pywrap_tensorflow
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.util.tensor_util import make_ndarray
from torch import nn

from visionsweep.runs.scores import Scores
from visionsweep.tensorboard.writer import RunWriter

CURVES = [f"{what}/{split}" for what in ("loss", "accuracy") for split in ("train", "val", "test")]
RESULTS = [
    f"replicates_averaged/{split}_{what}"
    for split in ("val", "test")
    for what in ("loss", "accuracy")
]


def deployed_of(loss: float) -> dict[str, list[Scores]]:
    """Scores of two replicates: single, of the first calibrated, and of both, as deployed."""
    return {
        "val": [Scores(loss + 0.2, 0.6), Scores(loss + 0.1, 0.7), Scores(loss, 0.8)],
        "test": [Scores(loss + 0.3, 0.7), Scores(loss + 0.2, 0.8), Scores(loss + 0.1, 0.9)],
    }


@pytest.fixture
def write_events(make_config, make_history):
    """Write the events of a run as an experiment does."""

    def write(run_dir: Path, *val_losses: float, **choices):
        run_dir.mkdir(parents=True, exist_ok=True)
        history = make_history(*val_losses)
        config = make_config(epochs=len(history), **choices)
        facts = {"name": run_dir.name, "dataset": "sample", "weights": "random"}
        with RunWriter(run_dir, has_curves=len(history) > 1) as writer:
            writer.begin(facts, "epochs: 2\nmodel:\n  name: efficientnet_b0")
            for epoch in history:
                writer.epoch(epoch)
            writer.end(config, facts, deployed_of(val_losses[-1]))

    return write


def read_back(run_dir: Path) -> EventAccumulator:
    events = EventAccumulator(
        str(run_dir), size_guidance={"scalars": 0, "tensors": 0, "histograms": 0}
    )
    events.Reload()
    return events


def points(events: EventAccumulator, tag: str) -> list[tuple[int, float]]:
    return [(e.step, pytest.approx(e.value, rel=1e-5, nan_ok=True)) for e in events.Scalars(tag)]


# ----------------------------------------------------------------------------- in the event file


def cut_off_and_go_on(run_dir: Path, make_config, make_history) -> None:
    """Write a run that was killed after its fourth epoch and taken up after its second."""
    run_dir.mkdir()
    history = make_history(0.9, 0.8, 0.7, 0.6, 0.5)
    facts = {"name": "run", "dataset": "sample", "weights": "random"}
    first = RunWriter(run_dir)
    first.begin(facts, "epochs: 5")
    for epoch in history[:4]:
        first.epoch(epoch)
        first.histograms(epoch.epoch, nn.Linear(2, 2))
    first.flush()
    (killed,) = run_dir.glob("events.*")
    content = killed.read_bytes()
    first.__exit__(None, None, None)
    killed.write_bytes(content[:-7])  # as a kill in the middle of a record leaves it
    with RunWriter(run_dir, after_epoch=2) as writer:
        for epoch in history[2:]:
            writer.epoch(epoch)
        writer.end(make_config(epochs=5), facts, deployed_of(0.5))


def test_curves_of_a_resumed_run_are_continuous(tmp_path, make_config, make_history):
    cut_off_and_go_on(tmp_path / "run", make_config, make_history)
    assert len(list((tmp_path / "run").iterdir())) == 1
    events = read_back(tmp_path / "run")
    expected = [(n, loss) for n, loss in enumerate((0.9, 0.8, 0.7, 0.6, 0.5), 1)]
    assert points(events, "loss/val") == expected
    assert [e.step for e in events.Histograms("weights/head.weight")] == [1, 2]
    assert "run/text_summary" in events.Tags()["tensors"]


def test_restarted_run_deletes_the_events_of_its_failed_attempt(tmp_path, write_events):
    write_events(tmp_path, 0.9, 0.4, 0.3)
    write_events(tmp_path, 0.8, 0.5)
    assert len(list(tmp_path.glob("events.*"))) == 1
    assert points(read_back(tmp_path), "loss/val") == [(1, 0.8), (2, 0.5)]


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
    assert points(events, "training/learning_rate") == [(n, 1e-3) for n in (1, 2, 3)]
    assert points(events, "training/seconds_per_epoch") == [(n, 0.5) for n in (1, 2, 3)]


def test_optional_summaries_are_not_written_by_default(tmp_path, write_events):
    write_events(tmp_path, 0.9, 0.4)
    extra = {"training/learning_rate", "training/seconds_per_epoch"}
    assert set(read_back(tmp_path).Tags()["scalars"]) == {*CURVES, *RESULTS, *extra}


def layout_of(events: EventAccumulator) -> list[tuple[str, bool, list[list[str]]]]:
    """First word of each category's title, whether it starts closed, and the tags of its charts."""
    (tensor,) = events.Tensors("custom_scalars__config__")
    layout = Layout.FromString(tensor.tensor_proto.string_val[0])
    return [
        (each.title.split()[0], each.closed, [list(chart.multiline.tag) for chart in each.chart])
        for each in layout.category
    ]


def test_layout_opens_on_validation_alone(tmp_path, write_events):
    write_events(tmp_path, 0.9, 0.4)
    events = read_back(tmp_path)
    opened, split, together, replicates = layout_of(events)
    assert opened == ("Validation", False, [["loss/val"], ["accuracy/val"]])
    assert split[1] and all(len(tags) == 1 for tags in split[2])  # a curve per run in each chart
    assert together[1:] == (True, [CURVES[:3], CURVES[3:]])
    assert replicates[1:] == (True, [[tag] for tag in RESULTS[:2]])
    charts = [tags for _, _, charts in layout_of(events) for tags in charts]
    assert {tag for tags in charts for tag in tags} <= set(events.Tags()["scalars"])


def test_run_of_one_epoch_has_a_table_of_its_scores_and_no_chart_with_a_single_dot(
    tmp_path, write_events
):
    write_events(tmp_path, 0.9)
    events = read_back(tmp_path)
    assert set(events.Tags()["scalars"]) == set(RESULTS)
    assert all(len(events.Scalars(tag)) > 1 for tag in RESULTS)
    ((_, closed, charts),) = layout_of(events)
    assert not closed and charts == [[tag] for tag in RESULTS[:2]]
    (table,) = events.Tensors("scores/text_summary")
    text = table.tensor_proto.string_val[0].decode()
    assert "| loss/val | 0.9 |" in text and "| accuracy/train | " in text


def test_configuration_and_dataset_are_written_as_text(tmp_path, write_events):
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


def test_settings_of_a_run_are_in_its_own_event_file(tmp_path, write_events):
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


def test_the_last_score_is_that_of_the_deployed_predictor_and_no_chart_has_a_single_dot(
    tmp_path, write_events
):
    write_events(tmp_path, 0.9, 0.4, 0.6)
    events = read_back(tmp_path)
    assert points(events, "replicates_averaged/val_loss") == [(0, 0.8), (1, 0.7), (2, 0.6)]
    assert points(events, "replicates_averaged/test_accuracy") == [(0, 0.7), (1, 0.8), (2, 0.9)]
    assert all(len(events.Scalars(tag)) > 1 for tag in events.Tags()["scalars"])
    metrics = hparams_of(tmp_path)["_hparams_/experiment"].experiment.metric_infos
    assert {m.name.tag: m.display_name for m in metrics} == {
        tag: tag.partition("/")[2].replace("_", " ") for tag in RESULTS
    }


def test_interrupted_run_keeps_its_events(tmp_path, make_history):
    with pytest.raises(RuntimeError, match="out of memory"), RunWriter(tmp_path) as writer:
        writer.begin({"dataset": "sample"}, "epochs: 2")
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


# ------------------------------------------------------------------- precision-recall curves


def write_curves(run_dir: Path, *arguments) -> EventAccumulator:
    with RunWriter(run_dir) as writer:
        writer.pr_curves(*arguments)
    return read_back(run_dir)


def curve(events: EventAccumulator, tag: str) -> np.ndarray:
    """True and false positives, true and false negatives, precision, recall at each threshold."""
    (event,) = events.Tensors(tag)
    return make_ndarray(event.tensor_proto)


def test_every_class_has_its_precision_recall_curve(tmp_path):
    cat = np.array([0.9, 0.6, 0.4, 0.2])
    labels = np.array([0, 1, 0, 1])
    events = write_curves(tmp_path, labels, np.stack([cat, 1 - cat], 1), ["cat", "dog"])
    assert events.PluginTagToContent("pr_curves").keys() == {"pr_curve/cat", "pr_curve/dog"}
    of_cat, of_dog = curve(events, "pr_curve/cat"), curve(events, "pr_curve/dog")
    assert of_cat.shape == (6, 127)
    at = {threshold: round(threshold * 126) for threshold in (0, 0.3, 0.5, 0.7, 0.95)}
    assert of_cat[:, at[0]].tolist() == [2, 2, 0, 0, 0.5, 1]
    assert of_cat[:, at[0.3]].tolist() == pytest.approx([2, 1, 1, 0, 2 / 3, 1])
    assert of_cat[:, at[0.5]].tolist() == [1, 1, 1, 1, 0.5, 0.5]
    assert of_cat[:, at[0.7]].tolist() == [1, 0, 2, 1, 1, 0.5]
    assert of_cat[:, at[0.95]].tolist() == [0, 0, 2, 2, 0, 0]
    assert of_dog[:, at[0.7]].tolist() == [1, 0, 2, 1, 1, 0.5]


def test_curves_of_a_thousand_classes_stay_below_a_megabyte(tmp_path, make_history):
    probabilities = np.random.default_rng(2).dirichlet([0.1] * 1000, 50)
    names = [f"class {number}" for number in range(1000)]
    with RunWriter(tmp_path) as writer:
        for epoch in make_history(0.9, 0.5, 0.4):
            writer.epoch(epoch)
        writer.pr_curves(np.arange(50), probabilities, names)
    events = read_back(tmp_path)
    assert len(events.PluginTagToContent("pr_curves")) == 1000
    assert curve(events, "pr_curve/class 7").shape == (6, 12)
    assert [event.step for event in events.Tensors("pr_curve/class 7")] == [3]
    (file,) = tmp_path.iterdir()
    assert file.stat().st_size < 1_000_000


def test_importing_the_writer_sets_no_hook_and_patches_nothing(tmp_path):
    before = threading.excepthook
    with RunWriter(tmp_path):
        assert threading.excepthook != before
    assert threading.excepthook is before
    assert pywrap_tensorflow.crc32c.__module__ == pywrap_tensorflow.__name__


# ------------------------------------------------------------------- histograms


def test_histograms_count_weights_and_gradients(tmp_path):
    head = nn.Linear(2, 3)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[-1.0, -1], [0, 0], [0, 2]]))
    head(torch.tensor([[1.0, 5.0]])).sum().backward()
    with RunWriter(tmp_path) as writer:
        writer.histograms(1, head)
        writer.histograms(2, head)
    events = read_back(tmp_path)
    names = [
        f"{what}/head.{part}" for what in ("gradients", "weights") for part in ("bias", "weight")
    ]
    assert sorted(events.Tags()["histograms"]) == names
    weights = events.Histograms("weights/head.weight")
    assert [event.step for event in weights] == [1, 2]
    values = weights[0].histogram_value
    assert (values.min, values.max, values.num, values.sum) == (-1, 2, 6, 0)
    assert [count for count in values.bucket if count] == [2, 3, 1]
    assert len(values.bucket) <= 31  # no more than TensorBoard draws
    gradients = events.Histograms("gradients/head.weight")[0].histogram_value
    assert (gradients.min, gradients.max, gradients.num) == (1, 5, 6)


def test_parameters_that_do_not_train_have_no_histogram(tmp_path):
    model = nn.ModuleDict({"backbone": nn.Linear(2, 2), "head": nn.Linear(2, 2)})
    model["backbone"].requires_grad_(False)
    with RunWriter(tmp_path) as writer:
        writer.histograms(1, model)
    assert sorted(read_back(tmp_path).Tags()["histograms"]) == [
        "weights/head.bias",
        "weights/head.weight",
    ]


def test_histogram_of_a_diverged_head_holds_its_finite_values(tmp_path):
    head = nn.Linear(2, 2)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[math.nan, 1.0], [math.inf, 3.0]]))
        head.bias.fill_(math.nan)
    with RunWriter(tmp_path) as writer:
        writer.histograms(1, head)
    events = read_back(tmp_path)
    assert events.Tags()["histograms"] == ["weights/head.weight"]
    assert events.Histograms("weights/head.weight")[0].histogram_value.num == 2


# -------------------------------------------------------------------------- in a real TensorBoard


@pytest.fixture
def tensorboard(tmp_path, write_events, start_tensorboard):
    """A TensorBoard over two runs of a sweep, beside which lie other files of a run."""
    outputs = tmp_path / "outputs"
    sweep = outputs / "2026-01-31" / "12-00-00-000001"
    write_events(sweep / "effnetb0_10pct", 0.9, 0.4, model="effnetb0", data="10pct")
    write_events(sweep / "effnetb2_20pct", 0.7, 0.3, 0.5, model="effnetb2", data="20pct", lr=0.01)
    (sweep / "effnetb0_10pct" / ".hydra").mkdir()
    (sweep / "effnetb0_10pct" / ".hydra" / "config.yaml").write_text("epochs: 2\n")
    return start_tensorboard(outputs, _has_read_all)


def _has_read_all(board) -> bool:
    tags = board.ask("plugin/scalars/tags")
    return sum(set(RESULTS) <= set(of_run) for of_run in tags.values()) >= 2


def test_tensorboard_lists_one_run_and_one_hparams_row_per_experiment(tensorboard):
    runs = [
        "2026-01-31/12-00-00-000001/effnetb0_10pct",
        "2026-01-31/12-00-00-000001/effnetb2_20pct",
    ]
    assert sorted(tensorboard.ask("runs")) == runs

    scalars = tensorboard.ask("plugin/scalars/tags")
    assert set(scalars) == set(runs)
    assert set(CURVES) <= set(scalars[runs[0]])
    texts = {"run/text_summary", "config/text_summary"}
    assert set(tensorboard.ask("plugin/text/tags")[runs[0]]) == texts
    layout = tensorboard.ask("plugin/custom_scalars/layout")
    titles = [[chart["title"] for chart in each["chart"]] for each in layout["category"]]
    assert [len(charts) for charts in titles] == [2, 4, 2, 2]  # of both runs, and drawn once

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
    assert b0["replicates_averaged/val_loss"] == pytest.approx(0.4)
    assert b2["replicates_averaged/val_loss"] == pytest.approx(0.5)
    assert b2["replicates_averaged/test_accuracy"] == pytest.approx(0.9)
