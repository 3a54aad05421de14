"""What becomes of a run when memory runs out."""

import gc
import io
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from visionsweep import evaluation
from visionsweep.config import (
    Config,
    DataConfig,
    FeaturesConfig,
    ModelConfig,
    TrainingConfig,
)
from visionsweep.errors import UserError
from visionsweep.experiment import run_experiment
from visionsweep.features import cached, extraction
from visionsweep.models.classifier import Classifier
from visionsweep.models.heads import Heads
from visionsweep.report import leaderboard
from visionsweep.tracking import record
from visionsweep.tracking.record import Record
from visionsweep.tracking.runs import find_runs


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads that wait for one another spin, and other work takes ten times as long."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Cats are reddish, dogs bluish: 20 of each."""
    for name, colour in (("cat", 0), ("dog", 2)):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for number in range(20):
            pixel = [40 + 3 * number] * 3
            pixel[colour] = 200
            Image.new("RGB", (40, 40), tuple(pixel)).save(folder / f"{number:02}.png")
    return tmp_path / "photos"


@pytest.fixture
def config(tmp_path: Path, photos: Path, make_config) -> Config:
    """Heads on a random resnet18, in a cache of its own."""
    cached._store.cache_clear()
    extraction._pixels.clear()
    made = make_config()
    return replace(
        made,
        model=ModelConfig(label="resnet18", name="resnet18", weights=None),
        data=DataConfig(label="photos", source="folder", root=str(photos)),
        training=TrainingConfig("feature_extraction", freeze_backbone=True, replicates=2),
        features=FeaturesConfig(cache_dir=str(tmp_path / "cache")),
        optimizer=replace(made.optimizer, fine_tuning_lr=1e-4),
        batch_size=8,
        replicates=2,
        sweep_dir=str(tmp_path / "outputs"),
    )


@pytest.fixture
def run(tmp_path: Path) -> Callable[[Config], Record]:
    """Run an experiment in `tmp_path / "outputs" / "run"`."""
    return lambda config: run_experiment(config, tmp_path / "outputs" / "run", "run")


@pytest.fixture
def kept(tmp_path: Path) -> Callable[[], Record]:
    """Read its record."""
    return lambda: record.read(tmp_path / "outputs" / "run" / "result.json")


@pytest.fixture
def hold_only(monkeypatch) -> Callable[[type[torch.nn.Module], int], None]:
    """Let a kind of module run out of memory with more than some images at once."""

    def hold(kind: type[torch.nn.Module], room: int) -> None:
        forward = kind.forward

        def fails(self, inputs: torch.Tensor) -> torch.Tensor:
            if inputs.shape[-4 if inputs.ndim == 4 else -2] > room:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
            return forward(self, inputs)

        monkeypatch.setattr(kind, "forward", fails)

    return hold


# --------------------------------------------------------------------------------------- memory


def shown(folder: Path) -> str:
    """The leaderboard over a folder."""
    text, found = io.StringIO(), find_runs([folder])
    groups = leaderboard.groups_of(found.runs)
    leaderboard.show([folder], found, groups, console=Console(file=text, width=300))
    return text.getvalue()


def test_record_table_and_tensorboard_say_how_many_images_device_memory_held(
    tmp_path, config, run, kept, hold_only, caplog
):
    hold_only(Heads, 5)
    run(config)
    known = kept()
    assert known.status == "completed" and known.images_at_once == 4
    assert "OUT OF MEMORY WITH 8 IMAGES AT ONCE: FROM NOW ON 4 AT A TIME" in caplog.text
    assert (
        "run: device memory held 4 images at once; batches of 8 were trained on in parts."
        in shown(tmp_path / "outputs")
    )
    events = EventAccumulator(str(tmp_path / "outputs" / "run"))
    events.Reload()
    *_, facts = events.Tensors("run/text_summary")
    assert b"| images at once | 4 |" in facts.tensor_proto.string_val[0]
    (again,) = find_runs([tmp_path / "outputs"]).runs
    done = evaluation.evaluate(again, config.data, "val", torch.device("cpu"))
    assert done.as_recorded and done.measures == known.evaluation["val"]


def test_nothing_is_said_where_memory_sufficed(tmp_path, config, run, kept):
    run(config)
    assert kept().images_at_once is None
    assert "memory" not in shown(tmp_path / "outputs")


def test_a_network_with_batchnorm_is_trained_in_parts(config, run, kept, hold_only):
    hold_only(Classifier, 4)
    fine_tuning = TrainingConfig("fine_tuning", freeze_backbone=False, replicates=1)
    run(replace(config, training=fine_tuning, replicates=1))
    assert kept().images_at_once == 4 and len(kept().history) == 2


def test_a_run_that_failed_holds_no_memory_while_its_error_is_kept(config, run, kept, monkeypatch):
    models: list[weakref.ref[Heads]] = []

    forward = Heads.forward

    def fails(self: Heads, inputs: torch.Tensor) -> torch.Tensor:
        if len(self.weight) == 1:  # not the replicates that train
            return forward(self, inputs)
        models.append(weakref.ref(self))
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(Heads, "forward", fails)
    with pytest.raises(UserError, match="does not hold one image") as caught:
        run(config)
    gc.collect()
    assert models and all(model() is None for model in models)
    assert kept().status == "failed" and kept().failure.message == str(caught.value)
