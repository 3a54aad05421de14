"""Records of runs that were never made, for tests of what reads records."""

import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from visionsweep.config import (
    AugmentationConfig,
    Config,
    DataConfig,
    ModelConfig,
    OptimizerConfig,
    TrainingConfig,
    TransformConfig,
)
from visionsweep.engine import Epoch, Scores
from visionsweep.tracking import record
from visionsweep.tracking.record import DataFacts, Failure, ModelFacts, Record


@pytest.fixture
def make_config() -> Callable[..., Config]:
    """Make a configuration as the command line would."""

    def make(model: str = "effnetb0", data: str = "10pct", epochs: int = 2, lr: float = 1e-3):
        return Config(
            model=ModelConfig(label=model, name="efficientnet_b0"),
            data=DataConfig(label=data, source="sample"),
            transform=TransformConfig(name="resize", size=32),
            augmentation=AugmentationConfig(name="none"),
            optimizer=OptimizerConfig(name="Adam", lr=lr, fine_tuning_lr=1e-4),
            training=TrainingConfig(name="feature_extraction", freeze_backbone=True),
            epochs=epochs,
            sweep_dir="outputs/now",
        )

    return make


@pytest.fixture
def make_history() -> Callable[..., list[Epoch]]:
    """Make the history of a run from its validation losses."""

    def make(*val_losses: float, test_accuracy: float = 0.8) -> list[Epoch]:
        return [
            Epoch(
                epoch=number,
                train=Scores(loss + 0.1, 0.7),
                val=Scores(loss, 0.5 if math.isnan(loss) else 1 - loss / 2),
                test=Scores(loss + 0.05, test_accuracy),
                learning_rate=1e-3,
                seconds=0.5,
            )
            for number, loss in enumerate(val_losses, 1)
        ]

    return make


@pytest.fixture
def make_record(make_config, make_history) -> Callable[..., Record]:
    """Make the record of a run by what matters; without `val_losses` it is one that failed."""

    def make(
        name: str = "a-run",
        *val_losses: float,
        model: str = "effnetb0",
        data: str = "10pct",
        lr: float = 1e-3,
        test_accuracy: float = 0.8,
        seconds: float = 12.5,
        trainable: int = 3_843,
        val_images: str = "val-digest",
        weights: str = "IMAGENET1K_V1",
        dataset: str = "sample",
        status: str | None = None,
        failure: Failure | None = None,
    ) -> Record:
        history = make_history(*val_losses, test_accuracy=test_accuracy)
        return Record(
            status=status or ("completed" if history else "failed"),
            name=name,
            dataset=dataset,
            weights=weights,
            config=asdict(make_config(model, data, max(len(history), 1), lr)),
            history=history,
            metrics=record.summarize(history) if history else None,
            model=ModelFacts(
                label=model,
                name="efficientnet_b0",
                fingerprint="abc",
                width=1280,
                dropout=0.2,
                trainable=trainable,
                parameters=4_011_391,
                preprocessing={},
                checkpoint="head.safetensors",
            ),
            data=DataFacts(
                label=data,
                classes=["pizza", "steak", "sushi"],
                counts={"train": 225, "val": 135, "test": 75},
                digests={"train": "train-digest", "val": val_images, "test": "test-digest"},
                skipped=[],
            ),
            seconds={"total": seconds},
            started="2026-01-31T12:00:00+00:00",
            failure=failure,
        )

    return make


@pytest.fixture
def write_run(tmp_path: Path, make_record) -> Callable[..., Path]:
    """Write the record of a run to `outputs/NAME`; arguments as for `make_record`."""

    def write(name: str, *val_losses: float, **facts) -> Path:
        run_dir = tmp_path / "outputs" / name
        run_dir.mkdir(parents=True)
        record.write(make_record(name, *val_losses, **facts), run_dir)
        return run_dir

    return write
