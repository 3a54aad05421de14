"""Write a run's events for TensorBoard to one file in the run's directory."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from torch import nn
from torch.utils.tensorboard import FileWriter, SummaryWriter
from torch.utils.tensorboard.summary import custom_scalars, hparams

from visionsweep.config import derived
from visionsweep.config.derived import always_shown, flatten
from visionsweep.config.schema import Config
from visionsweep.runs.scores import Epoch, Scores
from visionsweep.text.escaping import class_columns, markdown, visible

# Custom Scalars, the tab that `view.py` opens: curves by chart and category. Only the first one
# starts open, because all splits of eight runs are 24 curves.
_BY_EPOCH = "(mean over replicates, not calibrated)"
_EPOCHS = {
    f"Validation {_BY_EPOCH}": {"loss": ["loss/val"], "accuracy": ["accuracy/val"]},
    f"Training and test {_BY_EPOCH}": {
        f"{split} {score}": [f"{score}/{tag}"]
        for split, tag in (("training", "train"), ("test", "test"))
        for score in ("loss", "accuracy")
    },
    f"Training, validation, and test of a few runs, selected on the left {_BY_EPOCH}": {
        score: [f"{score}/{split}" for split in ("train", "val", "test")]
        for score in ("loss", "accuracy")
    },
}
_REPLICATES = {
    "Validation by number of averaged replicates (0: single, not calibrated; last: deployed)": {
        score: [f"replicates_averaged/val_{score}"] for score in ("loss", "accuracy")
    }
}
# By default, TensorBoard shows five columns of its HParams table: those marked as differing between
# runs first, then alphabetically. Without the mark, the model would not be among them.
_SHOWN_FIRST = frozenset({*always_shown(), "lr"})

# Tags written before training and with each epoch; the others are written at the end of a run.
_KEPT = (
    "run/", "config/", "scores/", "custom_scalars__config__",
    "loss/", "accuracy/", "training/", "weights/", "gradients/",
)  # fmt: skip

_FLUSH_SECONDS = 10  # longest delay until TensorBoard shows an epoch

# As many bins as TensorBoard draws. SummaryWriter's default of 1,549 takes 30 KB per tensor.
_BINS = 30

# Points of all precision-recall curves of a run: half a megabyte with a thousand classes.
_CURVE_POINTS = 12_700


class RunWriter:
    """A `SummaryWriter` for the events of one run.

    `add_scalars` and `add_hparams` would create further run directories, so neither is used: the
    chart of all splits is a custom-scalars layout, and hparams go into the run's own file.

    Args:
        run_dir: directory of the run. Event files of an earlier attempt are replaced.
        after_epoch: epoch after which the run is resumed; events up to it are copied from the
            earlier attempt.
        has_curves: whether there is more than one epoch. Scores of a single one are a table in
            place of charts with one dot.
    """

    def __init__(self, run_dir: Path, after_epoch: int = 0, *, has_curves: bool = True) -> None:
        self._has_curves = has_curves
        earlier = sorted(run_dir.glob("events.out.tfevents.*"))
        self._writer = SummaryWriter(run_dir, flush_secs=_FLUSH_SECONDS)
        self._events = cast(FileWriter, self._writer.file_writer)
        self._last_epoch = after_epoch
        self._excepthook = threading.excepthook
        if after_epoch:
            self._copy_events(earlier, after_epoch)
        for path in earlier:
            path.unlink()

    def __enter__(self) -> Self:
        # An error of the thread that writes events is raised again by the next event.
        threading.excepthook = self._unless_raised_again
        return self

    def _unless_raised_again(self, ended: threading.ExceptHookArgs) -> None:
        if type(ended.thread).__name__ != "_AsyncWriterThread":
            self._excepthook(ended)

    def __exit__(self, *_error: object) -> None:
        threading.excepthook = self._excepthook
        self._writer.close()

    def _copy_events(self, files: Sequence[Path], after_epoch: int) -> None:
        """Copy the events of earlier attempts up to an epoch."""
        from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader

        seen: set[tuple[str, int]] = set()
        for path in files:
            for content in RawEventFileLoader(str(path)).Load():  # stops at a truncated event
                event = Event.FromString(content)
                tags = [value.tag for value in event.summary.value]
                marks = {(tag, event.step) for tag in tags}
                counts = event.step <= after_epoch and all(t.startswith(_KEPT) for t in tags)
                if event.HasField("file_version") or not counts or marks & seen:
                    continue
                seen |= marks
                self._events.add_event(event, event.step, event.wall_time)
        self._writer.flush()

    def begin(self, facts: dict[str, str], config_yaml: str) -> None:
        """Write the events before training: facts, and the configuration as a text."""
        self.facts(facts)
        lines = [f"    {visible(line)}" for line in config_yaml.split("\n")]
        self._writer.add_text("config", "\n".join(lines))
        self._events.add_summary(
            _layout(_EPOCHS | _REPLICATES if self._has_curves else _REPLICATES)
        )

    def flush(self) -> None:
        """Flush all events to disk."""
        self._writer.flush()

    def facts(self, facts: dict[str, str]) -> None:
        """Write facts about the run as a table under the tag `run`."""
        self._table("run", facts)

    def _table(self, tag: str, cells: Mapping[str, str]) -> None:
        rows = "\n".join(f"| {markdown(key)} | {markdown(value)} |" for key, value in cells.items())
        self._writer.add_text(tag, f"| | |\n|---|---|\n{rows}", self._last_epoch)

    def epoch(self, epoch: Epoch) -> None:
        """Write the scores of an epoch."""
        self._last_epoch = epoch.epoch
        values = {
            f"{score}/{split}": getattr(getattr(epoch, split), score)
            for score in ("loss", "accuracy")
            for split in ("train", "val", "test")
            if getattr(epoch, split).known
        }
        values |= {
            "training/learning_rate": epoch.learning_rate,
            "training/seconds_per_epoch": epoch.seconds,
        }
        if not self._has_curves:
            self._table("scores", {tag: f"{value:.4g}" for tag, value in values.items()})
            return
        for tag, value in values.items():
            self._writer.add_scalar(tag, value, epoch.epoch)

    def test_scores(self, epoch: Epoch) -> None:
        """Write the test scores of an epoch that was written without them."""
        if self._has_curves:
            self._writer.add_scalar("loss/test", epoch.test.loss, epoch.epoch)
            self._writer.add_scalar("accuracy/test", epoch.test.accuracy, epoch.epoch)

    def histograms(self, epoch: int, module: nn.Module) -> None:
        """Write histograms of the trained parameters and of their gradients, finite values only.

        Parameters are named as in the weights file.
        """
        prefix = "" if hasattr(module, "head") else "head."
        for name, parameter in module.named_parameters():
            if not parameter.requires_grad:
                continue
            for kind, values in (("weights", parameter.detach()), ("gradients", parameter.grad)):
                if values is not None and (finite := values[values.isfinite()]).numel():
                    self._writer.add_histogram(f"{kind}/{prefix}{name}", finite, epoch, bins=_BINS)

    def pr_curves(
        self, labels: NDArray[np.int64], probabilities: NDArray[np.float64], classes: Sequence[str]
    ) -> None:
        """Write a precision-recall curve per class.

        True classes are `int64[N]`, and calibrated probabilities `float64[N, C]`.
        """
        thresholds = max(11, min(127, _CURVE_POINTS // len(classes)))
        for index, name in enumerate(class_columns(classes, ())):
            self._writer.add_pr_curve(
                f"pr_curve/{name}", labels == index, probabilities[:, index], self._last_epoch,
                thresholds,
            )  # fmt: skip

    def end(
        self, config: Config, facts: dict[str, str], deployed: Mapping[str, Sequence[Scores]]
    ) -> None:
        """Write the row of the HParams table: settings, and scores of the deployed predictor.

        The table takes the last value of a curve. So that no chart holds a single dot, the curves
        are over the number of averaged replicates: `deployed` has for each split the scores of
        single replicates before calibration, and of the calibrated mean of the first 1, 2, ... R.
        """
        curves = {
            f"replicates_averaged/{split}_{name}": [getattr(each, name) for each in scores]
            for split, scores in deployed.items()
            for name in ("loss", "accuracy")
        }
        columns, *session = hparams(_hyperparameters(config, facts), dict.fromkeys(curves, 0.0))
        _show_first(columns)
        for summary in (columns, *session):
            self._events.add_summary(summary)
        for tag, values in curves.items():
            for replicates, value in enumerate(values):
                self._writer.add_scalar(tag, value, replicates)


def _layout(categories: Mapping[str, Mapping[str, Sequence[str]]]) -> Any:
    """Return the summary that lays out charts, of which only the first category starts open."""
    summary = custom_scalars(
        {title: {chart: ["Multiline", tags] for chart, tags in charts.items()}
         for title, charts in categories.items()}
    )  # fmt: skip
    stored = summary.value[0].tensor
    layout = Layout.FromString(stored.string_val[0])
    for category in layout.category[1:]:
        category.closed = True
    stored.string_val[0] = layout.SerializeToString()
    return summary


def _show_first(columns: Any) -> None:
    """Mark, in place, the columns that TensorBoard shows by default, and title the scores."""
    stored = columns.value[0].metadata.plugin_data
    content = HParamsPluginData.FromString(stored.content)
    for column in content.experiment.hparam_infos:
        column.differs = column.name in _SHOWN_FIRST
    for score in content.experiment.metric_infos:
        score.display_name = score.name.tag.rpartition("/")[2].replace("_", " ")
    stored.content = content.SerializeToString()


def _hyperparameters(config: Config, facts: dict[str, str]) -> dict[str, Any]:
    """Return the values of the HParams table, by the last part of their names in tables."""
    flat, names = flatten(asdict(config)), derived.short_names()
    shown = derived.keys(hparam=True) - derived.unused_keys(asdict(config))
    chosen = {
        names[key].rpartition(".")[2]: flat[key] for key in derived.settings() if key in shown
    }
    chosen |= {"dataset": facts["dataset"], "weights": facts["weights"]}
    return {k: visible(v) if isinstance(v, str) else v for k, v in chosen.items()}
