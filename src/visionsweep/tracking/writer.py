"""Writes a run's events for TensorBoard: one file, in the run's own directory."""

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
from tensorboard.compat.proto.config_pb2 import RunMetadata
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.compat.proto.step_stats_pb2 import StepStats
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
            stored = GraphDef.FromString(graph)
            run_metadata = RunMetadata(step_stats=StepStats())
            self._writer._get_file_writer().add_graph((stored, run_metadata))

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
        values: dict[str, float] = {}
        for when, scores in (("final", metrics.final), ("best", metrics.best)):
            values |= _flat(when, scores)
        for summary in hparams(_hyperparameters(config, facts), values):
            self._writer._get_file_writer().add_summary(summary)
        for tag, value in values.items():
            self._writer.add_scalar(tag, value, metrics.final.epoch)


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
