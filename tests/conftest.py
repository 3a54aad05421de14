"""Records of runs that were never made, for tests of what reads records."""

import csv
import itertools
import math
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from PIL import Image

from visionsweep.analysis.predictions import Predictions
from visionsweep.command_memory import fresh_memory
from visionsweep.config.schema import (
    AugmentationConfig,
    Config,
    DataConfig,
    ModelConfig,
    OptimizerConfig,
    TrainingConfig,
    TransformConfig,
)
from visionsweep.data.images import ImageFile, digest_of
from visionsweep.data.splits import Splits
from visionsweep.data.transforms import resized
from visionsweep.report.evidence import Evidence, gather
from visionsweep.runs import logits as kept
from visionsweep.runs.discovery import Run
from visionsweep.runs.measures import estimate_metrics
from visionsweep.runs.record import INTERVALS_VERSION, DataFacts, Failure, ModelFacts, Record
from visionsweep.runs.record_file import read_record, write_record
from visionsweep.runs.scores import Epoch, Scores, SplitScores, summarize

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start what takes longest first, each file in one process.

    All tests that need the sweep of eight run in one process, too. For pytest-xdist to keep the
    order, it takes `--no-loadscope-reorder`.
    """
    items.sort(
        key=lambda item: (
            "sweep_of_eight" not in getattr(item, "fixturenames", ()),
            "end_to_end" not in item.path.parts,
            item.get_closest_marker("exhaustive") is None,
        )
    )
    for item in items:
        shared = "sweep_of_eight" in getattr(item, "fixturenames", ())
        item.add_marker(pytest.mark.xdist_group("sweep_of_eight" if shared else str(item.path)))


@pytest.fixture(autouse=True)
def _fresh_memory() -> Iterator[None]:
    """Remember nothing of other tests, as a new command does."""
    with fresh_memory():
        yield


@pytest.fixture(scope="session")
def make_config() -> Callable[..., Config]:
    """Make a configuration as the command line would."""

    def make(model: str = "effnetb0", data: str = "10pct", epochs: int = 2, lr: float = 1e-3):
        return Config(
            model=ModelConfig(label=model, name="efficientnet_b0"),
            data=DataConfig(label=data, source="sample"),
            transform=TransformConfig(name="resize", size=32),
            augmentation=AugmentationConfig(name="none"),
            optimizer=OptimizerConfig(name="Adam", lr=lr, fine_tuning_lr=1e-4),
            training=TrainingConfig(name="feature_extraction", freeze_backbone=True, replicates=1),
            epochs=epochs,
            replicates=1,
            sweep_dir="outputs/now",
        )

    return make


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
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
        parameters: int = 4_011_391,
        images: int = 225,
        val_images: str = "val",
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
            metrics=summarize(history) if history else None,
            model=ModelFacts(
                label=model,
                name="efficientnet_b0",
                fingerprint="abc".rjust(32, "0"),
                width=1280,
                dropout=0.2,
                trainable=trainable,
                parameters=parameters,
                preprocessing=msgspec.json.decode(msgspec.json.encode(resized(32))),
                checkpoint="head.safetensors",
            ),
            data=DataFacts(
                label=data,
                classes=["pizza", "steak", "sushi"],
                counts={"train": images, "val": 135, "test": 75},
                digests={
                    "train": digest_of(b"train"),
                    "val": digest_of(val_images.encode()),
                    "test": digest_of(b"test"),
                },
                skipped=[],
            ),
            seconds={"total": seconds},
            started="2026-01-31T12:00:00+00:00",
            failure=failure,
            intervals_version=INTERVALS_VERSION,
        )

    return make


@pytest.fixture
def write_run(tmp_path: Path, make_record) -> Callable[..., Path]:
    """Write the record of a run to `outputs/NAME`; arguments as for `make_record`."""

    def write(name: str, *val_losses: float, **facts) -> Path:
        run_dir = tmp_path / "outputs" / name
        run_dir.mkdir(parents=True)
        write_record(make_record(name, *val_losses, **facts), run_dir)
        return run_dir

    return write


@pytest.fixture(scope="session")
def keep_outcomes() -> Callable[..., None]:
    """Write predictions beside a record, and tell the record of their images."""

    def keep(run_dir: Path, found: dict[str, Predictions]) -> None:
        made = read_record(run_dir / "result.json")
        made.data = msgspec.structs.replace(
            made.data,
            counts=made.data.counts | {split: len(each.labels) for split, each in found.items()},
            digests=made.data.digests
            | {split: split_digest(each, made.data.classes) for split, each in found.items()},
        )
        write_record(made, run_dir)
        kept.write(run_dir, found, 1.0)

    return keep


@pytest.fixture
def simulated_sweep(tmp_path: Path, simulate_sweep) -> Callable[..., Evidence]:
    """Write simulated runs under `outputs/sweep`; arguments as for `simulate_sweep`."""
    return partial(simulate_sweep, tmp_path)


@pytest.fixture(scope="session")
def simulate_sweep(make_record) -> Callable[..., Evidence]:
    """Write runs with simulated predictions to `outputs/sweep` of a folder; return the evidence.

    With another model, more data and more epochs images become easier, so that some runs can be
    told apart and some cannot. Images are small drawings of one colour a class.
    """

    def make(
        place: Path,
        models: Sequence[str] = ("effnetb0", "effnetb2"),
        data: Sequence[str] = ("10pct", "20pct"),
        epochs: Sequence[int] = (5, 10),
        *,
        classes: Sequence[str] = ("pizza", "steak", "sushi"),
        replicates: int = 3,
        val_images: str = "val",
        dataset: str = "pizza_steak_sushi",
        weights: str = "IMAGENET1K_V1",
        folder: str = "sweep",
    ) -> Evidence:
        images = _coloured_images(place / "images", classes)
        runs = []
        grid = list(itertools.product(enumerate(models), enumerate(data), epochs))
        for seed, ((m, model), (d, amount), length) in enumerate(grid):
            ease = 1.4 + 0.05 * m + 0.9 * d + 0.02 * length
            found = {
                split: _simulated_outcomes(named, count, len(classes), replicates, ease, seed)
                for split, named, count in (("val", val_images, 120), ("test", "test", 60))
            }
            contents = [digest_of(image.read_bytes()) for image in images]
            digests = tuple(contents[label] for label in found["test"].labels)
            found["test"] = replace(found["test"], images=digests)
            directory = place / "outputs" / folder / f"{model}_{amount}_{length}-epochs"
            directory.mkdir(parents=True)
            made = make_record(
                directory.name, *np.linspace(1.0, found["val"].losses.mean(), length).tolist(),
                model=model, data=amount, weights=weights, dataset=dataset, val_images=val_images,
            )  # fmt: skip
            made.history = [_replicated(epoch, replicates) for epoch in made.history]
            made.evaluation = {split: estimate_metrics(each) for split, each in found.items()}
            made.model = msgspec.structs.replace(
                made.model, parameters=4_000_000 * (m + 1), milliseconds=9.5 + m
            )
            made.data = msgspec.structs.replace(
                made.data, classes=list(classes),
                counts={"train": 225 * (d + 1), "val": 120, "test": 60},
                digests=made.data.digests
                | {split: split_digest(each, classes) for split, each in found.items()},
            )  # fmt: skip
            made.config["replicates"] = made.config["training"]["replicates"] = replicates
            made.command = ["src/train.py", "-m", f"model={','.join(models)}"]
            write_record(made, directory)
            kept.write(directory, found, 1.0)
            _write_predictions(directory, found["test"], images, classes)
            runs.append(Run(directory, made))
        return gather(runs)

    return make


def _coloured_images(folder: Path, classes: Sequence[str]) -> list[Path]:
    folder.mkdir(exist_ok=True)
    files = []
    for index in range(len(classes)):
        files.append(folder / f"{index}.png")
        colour = ((80 * index) % 256, (120 + 50 * index) % 256, 90)
        Image.new("RGB", (200, 150), colour).save(files[-1])
    return files


def _simulated_outcomes(
    name: str, images: int, classes: int, replicates: int, ease: float, seed: int
) -> Predictions:
    test = 4 if name == "test" else 3
    shared = np.random.default_rng(test)
    own = np.random.default_rng([seed, test])
    labels = np.arange(images) % classes
    logits = 0.9 * shared.standard_normal((1, images, classes)).repeat(replicates, 0)
    logits += 0.25 * own.standard_normal(logits.shape)
    logits[:, np.arange(images), labels] += ease
    names = tuple(digest_of(f"{name}-{i}".encode()) for i in range(images))
    return Predictions((1.5 * logits).astype(np.float32), labels, names)


def split_digest(predictions: Predictions, classes: Sequence[str]) -> str:
    """Name a split as `Splits.digest` does."""
    files = tuple(
        ImageFile(Path(), int(label), image)
        for image, label in zip(predictions.images, predictions.labels, strict=True)
    )
    return Splits("", tuple(classes), files, files, files).digest("val")


def _replicated(epoch: Epoch, replicates: int) -> Epoch:
    def shifted(scores: Scores, by: float) -> Scores:
        return Scores(scores.loss + by, scores.accuracy)

    shifts = np.linspace(-0.02, 0.02, replicates).tolist()
    each = [
        SplitScores(*(shifted(s, by) for s in (epoch.train, epoch.val, epoch.test)))
        for by in shifts
    ]
    return msgspec.structs.replace(epoch, replicates=tuple(each))


def _write_predictions(
    directory: Path, predictions: Predictions, images: Sequence[Path], classes: Sequence[str]
) -> None:
    with (directory / "predictions.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["image", "split", "true", *classes])
        probabilities = np.exp(predictions.log_probabilities).mean(0)
        for label, row in zip(predictions.labels, probabilities, strict=True):
            table.writerow([images[label], "test", classes[label], *row])


class SmallDisk:
    """A file system of two megabytes: full or read-only it refuses root, too."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fill(self, but: int = 0) -> None:
        """Leave no more than some bytes free, in whole pages of 4,096."""
        free = shutil.disk_usage(self.path).free
        (self.path / "somebody's film").write_bytes(bytes(max(0, free - but)))

    def empty(self) -> None:
        """Take away what filled it."""
        (self.path / "somebody's film").unlink()

    def remount(self, how: str) -> None:
        """Mount it again, `ro` or `rw`."""
        subprocess.run(["mount", "-o", f"remount,{how}", self.path], check=True)


@pytest.fixture
def remember_figures(monkeypatch) -> Callable[..., list["Figure"]]:
    """Return a function that lists the figures which some modules render from then on."""
    from visionsweep.figures import style  # imports matplotlib, which few tests need

    def remember(*modules: ModuleType) -> list["Figure"]:
        figures: list[Figure] = []

        def render(draw: Callable[["Figure"], None], width: float, height: float) -> np.ndarray:
            def drawing(figure: "Figure") -> None:
                draw(figure)
                figures.append(figure)

            return style.render(drawing, width, height)

        for module in modules:
            monkeypatch.setattr(module, "render", render)
        return figures

    return remember


@pytest.fixture
def builds(monkeypatch) -> list[str]:
    """Names of the networks that are built from now on."""
    from visionsweep.models import backbones, lazy_model

    names: list[str] = []

    def build(spec: backbones.BackboneSpec, size: int) -> backbones.Backbone:
        names.append(spec.name)
        return backbones.build(spec, size)

    counting = SimpleNamespace(build=build, outline=backbones.outline)
    monkeypatch.setattr(lazy_model, "backbones", counting)
    return names


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A tmpfs of two megabytes, where one can be mounted: as root, outside most containers."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", path]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    yield SmallDisk(path)
    subprocess.run(["umount", "-l", path], check=True)


@pytest.fixture
def as_somebody_else() -> Callable[[], AbstractContextManager[None]]:
    """Do something as a user who may neither read nor write what the tests write."""

    @contextmanager
    def somebody_else() -> Iterator[None]:
        if os.geteuid() != 0:
            pytest.skip("only root can become somebody else")
        os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(0)

    return somebody_else


@pytest.fixture
def make_outcomes() -> Callable[..., Predictions]:
    """Make predictions from the probabilities each replicate gives each image, and the classes."""

    def make(probabilities, labels) -> Predictions:
        logits = np.log(np.asarray(probabilities, np.float32))
        names = tuple(f"image-{number}" for number in range(len(labels)))
        return Predictions(logits, np.asarray(labels), names)

    return make
