"""Simulate finished runs on disk: complete records and logits, as `train.py` writes them.

Used by `compare_ten_thousand.py`. Each sweep, `outputs/DATE/TIME/`, has one model. Better models,
more data, and more epochs lower the loss; the other settings hardly matter, which leaves many
runs statistically tied with the best one.
"""

import itertools
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from visionsweep.config.schema import (
    AugmentationConfig,
    Config,
    DataConfig,
    ModelConfig,
    OptimizerConfig,
    TrainingConfig,
    TransformConfig,
)
from visionsweep.data.images import digest_of
from visionsweep.runs import logits as predictions
from visionsweep.runs.paths import RECORD
from visionsweep.runs.record import DataFacts, ModelFacts, Record
from visionsweep.runs.scores import Epoch, Measure, Scores, SplitScores, summarize

CLASSES = ("pizza", "steak", "sushi")
IMAGES = {"val": 136, "test": 75}
REPLICATES = 5
DATA = {"5pct": 112, "10pct": 225, "20pct": 450, "40pct": 900}  # training images
EPOCHS = (5, 10)
RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
DECAYS = (0.0, 1e-5, 1e-4, 1e-3, 1e-2)
SEEDS = (42, 43)
RUNS_PER_SWEEP = len(DATA) * len(EPOCHS) * len(RATES) * len(DECAYS) * len(SEEDS)  # runs
# Files beside the record and the logits, which the comparison has to skip.
OTHER_FILES = (
    ".hydra/config.yaml",
    ".hydra/hydra.yaml",
    ".hydra/overrides.yaml",
    "events.out.tfevents.1769860800.host.1.0",
    "head.safetensors",
    "model.txt",
    "predictions.csv",
    "train.log",
)


@dataclass(frozen=True)
class Choice:
    """The settings of one run."""

    model: int
    data: str
    epochs: int
    rate: float
    decay: float
    seed: int

    @property
    def ease(self) -> float:
        """Mean margin of the true class in the logits."""
        return (
            1.2
            + 0.6 * (1 - math.exp(-self.model / 8))
            + 0.3 * math.log2(DATA[self.data] / 112)
            + 0.02 * self.epochs
            - 0.1 * abs(math.log10(self.rate) + 3)
        )


def simulate(outputs: Path, count: int, *, seed: int = 0) -> None:
    """Write simulated runs.

    Args:
        outputs: directory of the sweeps; created if missing.
        count: number of runs; the last sweep may be shorter.
        seed: seed of the random generator.
    """
    images = {split: _Images(split, count) for split, count in IMAGES.items()}
    source = np.random.default_rng(seed)
    for number, choice in enumerate(itertools.islice(_choices(), count)):
        sweep = outputs / "2026-01-31" / f"12-{choice.model:02}-00-000000"
        name = (
            f"model{choice.model:02}_{choice.data}_{choice.epochs}-epochs_lr-{choice.rate:g}"
            f"_weight_decay-{choice.decay:g}_seed-{choice.seed}"
        )
        logits = {split: each.logits(choice.ease, source) for split, each in images.items()}
        directory = sweep / name
        (directory / ".hydra").mkdir(parents=True)
        for other in OTHER_FILES:
            (directory / other).touch()
        made = _record(name, sweep, choice, number, images, logits)
        content = msgspec.json.format(msgspec.json.encode(made), indent=2)
        (directory / RECORD).write_bytes(content)
        (directory / predictions.FILE_NAME).write_bytes(_kept(images, logits))


class _Images:
    """The images of a split, whose difficulty all runs share."""

    def __init__(self, split: str, count: int) -> None:
        source = np.random.default_rng(len(split))
        self.labels = np.arange(count) % len(CLASSES)
        self.names = [source.bytes(16).hex() for _ in range(count)]
        pairs = zip(self.labels, self.names, strict=True)
        lines = sorted(f"{CLASSES[label]}\t{name}" for label, name in pairs)
        self.digest = digest_of("\n".join(lines).encode())
        self.hardness = 0.9 * source.standard_normal((count, len(CLASSES)))

    def logits(self, ease: float, source: np.random.Generator) -> NDArray[np.float32]:
        shape = (REPLICATES, *self.hardness.shape)
        logits = self.hardness + 0.1 * source.standard_normal(self.hardness.shape)
        logits = logits + 0.2 * source.standard_normal(shape)
        logits[:, np.arange(len(self.labels)), self.labels] += ease
        return (1.5 * logits).astype(np.float32)


def _choices() -> Iterator[Choice]:
    for model in itertools.count():
        for rest in itertools.product(DATA, EPOCHS, RATES, DECAYS, SEEDS):
            yield Choice(model, *rest)


def _kept(images: dict[str, _Images], logits: dict[str, NDArray[np.float32]]) -> bytes:
    """Return what `visionsweep.runs.logits.write` writes."""
    tensors: dict[str, NDArray[Any]] = {f"{split}.logits": each for split, each in logits.items()}
    tensors |= {f"{split}.labels": images[split].labels for split in logits}
    return save(tensors, {split: json.dumps(images[split].names) for split in logits})


def _record(
    name: str,
    sweep: Path,
    choice: Choice,
    number: int,
    images: dict[str, _Images],
    logits: dict[str, NDArray[np.float32]],
) -> Record:
    scores = {split: _scores(logits[split], images[split].labels) for split in logits}
    history = [_epoch(epoch, choice, scores) for epoch in range(1, choice.epochs + 1)]
    return Record(
        status="completed",
        name=name,
        dataset="pizza_steak_sushi",
        weights="IMAGENET1K_V1",
        config=_config(choice, sweep),
        history=history,
        metrics=summarize(history),
        evaluation={split: _measures(*scores[split], IMAGES[split]) for split in scores},
        model=ModelFacts(
            label=f"model{choice.model:02}",
            name=f"model_{choice.model}",
            fingerprint=f"{choice.model:032x}",
            width=1280,
            dropout=0.2,
            trainable=3_843,
            parameters=4_000_000 + 500_000 * choice.model,
            preprocessing={
                "resize": [256], "crop": 224, "interpolation": "bicubic",
                "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
            },
            checkpoint="head.safetensors",
            milliseconds=20.0 + choice.model,
        ),
        data=DataFacts(
            label=choice.data,
            classes=list(CLASSES),
            counts={"train": DATA[choice.data]} | IMAGES,
            digests={"train": "0" * 32} | {split: each.digest for split, each in images.items()},
            skipped=[],
        ),
        seconds={"data": 0.1, "model": 0.2, "features": 0.01, "training": 0.3, "total": 0.61},
        started=f"2026-01-31T12:{number % 60:02}:00+00:00",
        device={"type": "cpu", "name": "x86_64", "threads": 2},
        versions={
            "python": "3.11.7", "visionsweep": "0.1.0", "torch": "2.14.1", "torchvision": "0.29.1",
            "timm": "1.0.31", "pillow": "13.0.0", "numpy": "2.4.6", "hydra-core": "1.3.8",
        },
        git={"commit": "0" * 40, "dirty": False},
        command=[
            "src/train.py", "-m", f"model=model{choice.model:02}", f"data={','.join(DATA)}",
            "epochs=5,10", f"optimizer.lr={','.join(map(str, RATES))}",
            f"optimizer.weight_decay={','.join(map(str, DECAYS))}", "seed=42,43",
        ],
    )  # fmt: skip


def _config(choice: Choice, sweep: Path) -> dict[str, object]:
    label = f"model{choice.model:02}"
    return asdict(
        Config(
            model=ModelConfig(label=label, name=f"model_{choice.model}"),
            data=DataConfig(
                label=choice.data, source="archives", name="pizza_steak_sushi", root="data"
            ),
            transform=TransformConfig(name="own"),
            augmentation=AugmentationConfig(name="none"),
            optimizer=OptimizerConfig(
                name="Adam", lr=choice.rate, fine_tuning_lr=1e-4, weight_decay=choice.decay
            ),
            training=TrainingConfig(
                name="feature_extraction", freeze_backbone=True, replicates=REPLICATES
            ),
            epochs=choice.epochs,
            seed=choice.seed,
            replicates=REPLICATES,
            sweep_dir=str(sweep),
        )
    )


def _scores(
    logits: NDArray[np.float32], labels: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return loss and accuracy of each replicate, two arrays `float64[R]`."""
    wide = logits.astype(np.float64)
    own = wide[:, np.arange(len(labels)), labels]
    losses = np.log(np.exp(wide).sum(2)) - own
    return losses.mean(1), (wide.max(2) == own).mean(1)


def _epoch(
    epoch: int,
    choice: Choice,
    scores: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]],
) -> Epoch:
    """Return the scores of an epoch, which converge to those of the last one."""
    more = 0.6 * (1 - epoch / choice.epochs)

    def of(each: Sequence[float]) -> Scores:
        return Scores(each[0] + more, max(0.0, each[1] - more / 2))

    def all_of(pick: int | None) -> SplitScores:
        numbers = {
            split: [float(x.mean() if pick is None else x[pick]) for x in both]
            for split, both in scores.items()
        }
        return SplitScores(of(numbers["val"]), of(numbers["val"]), of(numbers["test"]))

    mean = all_of(None)
    return Epoch(
        epoch, mean.train, mean.val, mean.test, choice.rate, 0.03 + 1e-5 * epoch,
        tuple(all_of(replicate) for replicate in range(REPLICATES)),
    )  # fmt: skip


def _measures(
    losses: NDArray[np.float64], accuracies: NDArray[np.float64], images: int
) -> dict[str, Measure]:
    """Return metrics with intervals of plausible width; a bootstrap would take half an hour."""
    metrics = {
        "loss": losses, "accuracy": accuracies, "macro_f1": accuracies - 0.004,
        "ece": np.abs(1 - accuracies - losses / 3),
    }  # fmt: skip
    half = 1 / math.sqrt(images)
    return {
        name: Measure(
            float(x.mean()),
            max(0.0, float(x.mean()) - half),
            min(math.inf if name == "loss" else 1.0, float(x.mean()) + half),
            x.tolist(),
        )
        for name, x in metrics.items()
    }
