"""Writes a run's events for TensorBoard: one file, in the run's own directory."""

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from visionsweep.config import Config
from visionsweep.engine import Epoch, Scores
from visionsweep.tracking.record import EpochScores, Metrics

_LAYOUT = {
    "Curves": {
        name: ["Multiline", [f"{name}/{split}" for split in ("train", "val", "test")]]
        for name in ("loss", "accuracy")
    }
}
# TensorBoard shows five columns of its HPARAMS table unasked, by alphabet, but first those that are
# said to differ between runs: without this the model would not be among them.
_SHOWN_FIRST = frozenset({"model", "data", "epochs", "lr"})


class RunWriter:
    """A `SummaryWriter` that knows what a run has to say.

    `add_scalars` and `add_hparams` would each make extra run directories, so neither is used: the
    chart of all splits is a custom-scalars layout, and the hparams go into the run's own file.

    Args:
        run_dir: the run's directory; the event file lies right in it.
    """

    def __init__(self, run_dir: Path) -> None:
        self._writer = SummaryWriter(run_dir)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.close()

    def begin(self, facts: dict[str, str], config_yaml: str, graph: bytes) -> None:
        """Write what is known before training.

        Args:
            facts: shown as a table under the tag `run`.
            config_yaml: the configuration, shown under the tag `config`.
            graph: a serialized `GraphDef` of the network.
        """
        rows = "\n".join(f"| {key} | {value} |" for key, value in facts.items())
        self._writer.add_text("run", f"| | |\n|---|---|\n{rows}")
        self._writer.add_text("config", "\n".join(f"    {s}" for s in config_yaml.splitlines()))
        self._writer.add_custom_scalars(_LAYOUT)
        if graph:
            self._writer._get_file_writer().add_event(Event(graph_def=graph))

    def epoch(self, epoch: Epoch) -> None:
        """Write one epoch's numbers."""
        for split in ("train", "val", "test"):
            scores: Scores = getattr(epoch, split)
            self._writer.add_scalar(f"loss/{split}", scores.loss, epoch.epoch)
            self._writer.add_scalar(f"accuracy/{split}", scores.accuracy, epoch.epoch)
        self._writer.add_scalar("learning_rate", epoch.learning_rate, epoch.epoch)
        self._writer.add_scalar("seconds_per_epoch", epoch.seconds, epoch.epoch)

    def end(self, config: Config, facts: dict[str, str], metrics: Metrics) -> None:
        """Write the row of the HPARAMS table: what was chosen, and what came of it."""
        final, best = _flat("final", metrics.final), _flat("best", metrics.best)
        columns, *session = hparams(_hyperparameters(config, facts), final | best)
        _show_first(columns)
        for summary in (columns, *session):
            self._writer._get_file_writer().add_summary(summary)
        for values, epoch in ((final, metrics.final.epoch), (best, metrics.best.epoch)):
            for tag, value in values.items():
                self._writer.add_scalar(tag, value, epoch)


def _show_first(columns: Any) -> None:
    """Mark the columns of an hparams summary that TensorBoard is to show without being asked."""
    stored = columns.value[0].metadata.plugin_data
    content = HParamsPluginData.FromString(stored.content)
    for column in content.experiment.hparam_infos:
        column.differs = column.name in _SHOWN_FIRST
    stored.content = content.SerializeToString()


def _flat(when: str, scores: EpochScores) -> dict[str, float]:
    return {
        f"{when}/{split}_{name}": value
        for split in ("val", "test", "train")
        for name, value in msgspec.to_builtins(getattr(scores, split)).items()
    }


def _hyperparameters(config: Config, facts: dict[str, str]) -> dict[str, Any]:
    return {
        "model": config.model.label,
        "data": config.data.label,
        "epochs": config.epochs,
        "lr": config.optimizer.lr,
        "optimizer": config.optimizer.name,
        "batch_size": config.batch_size,
        "seed": config.seed,
        "training": config.training.name,
        "augmentation": config.augmentation.name,
        "transform": config.transform.name,
        "weight_decay": config.optimizer.weight_decay,
        "dataset": facts["dataset"],
        "weights": facts["weights"],
    }
