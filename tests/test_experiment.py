"""A run when memory runs out or its images disappear, and the record that it leaves."""

import gc
import io
import shutil
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from visionsweep import experiment
from visionsweep.config.schema import (
    AugmentationConfig,
    Config,
    DataConfig,
    FeaturesConfig,
    ModelConfig,
    TrainingConfig,
)
from visionsweep.errors import UserError
from visionsweep.experiment import run_experiment
from visionsweep.inference import evaluation
from visionsweep.models.classifier import Classifier
from visionsweep.models.heads import Heads
from visionsweep.report import leaderboard
from visionsweep.runs.discovery import find_runs
from visionsweep.runs.record import Record
from visionsweep.runs.record_file import read_record
from visionsweep.tensorboard.writer import RunWriter


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Use one thread: waiting threads spin, which slows other tests down tenfold."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twenty reddish cats and twenty bluish dogs."""
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
    """A configuration of heads on a random ShuffleNet, with its own cache."""
    made = make_config()
    return replace(
        made,
        model=ModelConfig(label="shufflenet", name="shufflenet_v2_x0_5", weights=None),
        data=DataConfig(label="photos", source="folder", root=str(photos)),
        training=TrainingConfig("feature_extraction", freeze_backbone=True, replicates=2),
        features=FeaturesConfig(cache_dir=str(tmp_path / "cache")),
        optimizer=replace(made.optimizer, fine_tuning_lr=1e-4),
        batch_size=8,
        replicates=2,
        sweep_dir=str(tmp_path / "outputs"),
    )


@pytest.fixture
def on_images(config: Config) -> Config:
    """The same configuration with augmentation, which trains on images."""
    return replace(config, augmentation=AugmentationConfig(name="trivial_augment"))


@pytest.fixture
def run(tmp_path: Path) -> Callable[[Config], Record]:
    """A function that runs an experiment in `tmp_path / "outputs" / "run"`."""
    return lambda config: run_experiment(config, tmp_path / "outputs" / "run", "run")


@pytest.fixture
def kept(tmp_path: Path) -> Callable[[], Record]:
    """A function that reads the record of that run."""
    return lambda: read_record(tmp_path / "outputs" / "run" / "result.json")


@pytest.fixture
def hold_only(monkeypatch) -> Callable[[type[torch.nn.Module], int], None]:
    """A function that makes a module type run out of memory above a number of images."""

    def hold(kind: type[torch.nn.Module], room: int) -> None:
        forward = kind.forward

        def fails(self, inputs: torch.Tensor) -> torch.Tensor:
            if inputs.shape[-4 if inputs.ndim == 4 else -2] > room:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
            return forward(self, inputs)

        monkeypatch.setattr(kind, "forward", fails)

    return hold


@pytest.fixture
def afterwards(monkeypatch) -> Callable[[Any, str, Callable[[], object]], None]:
    """A function that calls `harm` right after a step: a function of a module, or a method."""

    def after(owner: Any, name: str, harm: Callable[[], object]) -> None:
        step = getattr(owner, name)

        def then(*arguments: Any, **options: Any) -> Any:
            done = step(*arguments, **options)
            harm()
            return done

        monkeypatch.setattr(owner, name, then)

    return after


# --------------------------------------------------------------------------------------- memory


def shown(folder: Path) -> str:
    """Return the leaderboard of a folder."""
    text, listing = io.StringIO(), find_runs([folder])
    groups = leaderboard.groups_of(listing.runs)
    leaderboard.show([folder], listing, groups, console=Console(file=text, width=300))
    return text.getvalue()


def test_tensorboard_ends_with_the_scores_of_the_deployed_predictor(tmp_path, config, run):
    deployed = run(config).deployed
    events = EventAccumulator(str(tmp_path / "outputs" / "run"))
    events.Reload()
    for split in ("val", "test"):
        for name in ("loss", "accuracy"):
            written = events.Scalars(f"replicates_averaged/{split}_{name}")
            assert [event.step for event in written] == [0, 1, 2]
            expected = deployed[split][name].value
            assert written[-1].value == pytest.approx(expected, rel=1e-4, abs=1e-7)


def test_record_leaderboard_and_tensorboard_report_the_micro_batch_size(
    tmp_path, config, run, kept, hold_only, caplog
):
    hold_only(Heads, 5)
    run(config)
    known = kept()
    assert known.status == "completed" and known.images_at_once == 4
    assert "OUT OF MEMORY WITH 8 IMAGES AT ONCE: FROM NOW ON 4 AT A TIME" in caplog.text
    said = "run: device memory held 4 images at once; larger batches (8) were computed in parts."
    assert said in shown(tmp_path / "outputs")
    events = EventAccumulator(str(tmp_path / "outputs" / "run"))
    events.Reload()
    *_, facts = events.Tensors("run/text_summary")
    assert b"| images at once | 4 |" in facts.tensor_proto.string_val[0]
    (again,) = find_runs([tmp_path / "outputs"]).runs
    caplog.clear()
    done = evaluation.evaluate(again, config.data, "val", torch.device("cpu"))
    assert done.as_recorded and done.measures == known.evaluation["val"]
    assert "OUT OF MEMORY" not in caplog.text  # it begins with what memory held


def test_record_reports_a_micro_batch_size_needed_for_predictions_only(
    config, run, kept, afterwards, hold_only
):
    afterwards(experiment, "train", lambda: hold_only(Heads, 5))
    run(config)
    assert kept().images_at_once == 3  # of six validation images


def test_no_micro_batch_size_is_reported_if_memory_sufficed(tmp_path, config, run, kept):
    run(config)
    assert kept().images_at_once is None
    assert "memory" not in shown(tmp_path / "outputs")


def test_network_with_batchnorm_is_trained_in_micro_batches(config, run, kept, hold_only):
    hold_only(Classifier, 4)
    fine_tuning = TrainingConfig("fine_tuning", freeze_backbone=False, replicates=1)
    run(replace(config, training=fine_tuning, replicates=1))
    assert kept().images_at_once == 4 and len(kept().history) == 2


@pytest.mark.parametrize(("room", "expected"), [(28, {13, 14}), (3, {2, 3})])
def test_single_last_image_joins_the_batch_before_it_for_batchnorm(
    photos, config, run, kept, monkeypatch, room, expected
):
    sizes: set[int] = set()
    forward = Classifier.forward

    def count(self: Classifier, images: torch.Tensor) -> torch.Tensor:
        if self.training and len(images) > room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        if self.training:
            sizes.add(len(images))
        return forward(self, images)

    monkeypatch.setattr(Classifier, "forward", count)
    fine_tuning = TrainingConfig("fine_tuning", freeze_backbone=False, replicates=1)
    (photos / "cat" / "00.png").unlink()
    run(replace(config, training=fine_tuning, replicates=1, batch_size=13, epochs=1))
    assert kept().data.counts["train"] == 27  # two batches, and one image
    assert sizes == expected


def test_failed_run_frees_its_memory_while_its_error_is_kept(config, run, kept, monkeypatch):
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


def test_out_of_memory_in_the_optimizer_is_a_user_error(config, run, kept, monkeypatch):
    def fails(self: torch.optim.Adam) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(torch.optim.Adam, "step", fails)
    with pytest.raises(UserError, match=r"does not hold the model.*2\.00 GiB.*device=cpu"):
        run(config)
    assert kept().status == "failed" and kept().failure.type == "UserError"


# ----------------------------------------------------------------------------------- lost images


def assert_names_lost_file(error: UserError, known: Record, *words: str) -> None:
    text = str(error)
    for word in (*words, "It existed when this run started", "give the same command again"):
        assert word in text
    assert "Traceback" not in text and len(text) < 1000
    assert known.status == "failed" and known.failure.message == text
    assert known.failure.type == "UserError"


def test_folder_removed_before_extraction_is_named(config, photos, run, kept, afterwards):
    afterwards(experiment, "resolve", lambda: shutil.rmtree(photos))
    with pytest.raises(UserError) as caught:
        run(config)
    gone = ("No such file or directory", f"the folder {photos} is missing", ".png")
    assert_names_lost_file(caught.value, kept(), *gone)


@pytest.mark.parametrize("workers", [0, 2])
def test_folder_removed_between_epochs_is_named_and_the_history_kept(
    on_images, photos, run, kept, afterwards, workers: int
):
    afterwards(RunWriter, "epoch", lambda: shutil.rmtree(photos / "cat", ignore_errors=True))
    cropped = AugmentationConfig(name="crop", crop_scale=0.5)  # of the whole image in each epoch
    with pytest.raises(UserError) as caught:
        run(replace(on_images, augmentation=cropped, num_workers=workers, epochs=50))
    gone = ("No such file or directory", f"the folder {photos / 'cat'} is missing", ".png")
    assert_names_lost_file(caught.value, kept(), *gone)
    assert len(kept().history) in (1, 2)  # workers are ahead by some batches


@pytest.mark.parametrize("workers", [0, 2])
def test_file_changed_during_a_run_is_named(on_images, photos, run, kept, afterwards, workers: int):
    def break_one() -> None:
        for path in photos.rglob("*.png"):
            path.write_bytes(path.read_bytes()[:60])

    afterwards(experiment, "resolve", break_one)
    with pytest.raises(UserError) as caught:
        run(replace(on_images, num_workers=workers))
    assert str(caught.value.where).endswith(".png") and "changed" in caught.value.what
    assert "data.verify=true" in str(caught.value.hint)
    assert kept().status == "failed" and kept().failure.message == str(caught.value)


def test_folder_missing_before_the_run_is_recorded(config, photos, run, kept):
    shutil.rmtree(photos)
    with pytest.raises(UserError, match="no such folder") as caught:
        run(config)
    assert str(photos) in str(caught.value) and kept().status == "failed"


@pytest.mark.parametrize("made", ["config", "on_images"])
def test_evaluation_names_a_removed_file(
    tmp_path, request, photos, run, afterwards, monkeypatch, made: str
):
    config = request.getfixturevalue(made)
    run(replace(config, features=FeaturesConfig(str(tmp_path / "first"))))
    (done,) = find_runs([tmp_path / "outputs"]).runs
    monkeypatch.setenv("VISIONSWEEP_CACHE", str(tmp_path / "other"))  # holds no feature
    afterwards(evaluation, "resolve_splits", lambda: shutil.rmtree(photos))
    with pytest.raises(UserError, match=r"\.png: .*No such file.*restore it"):
        evaluation.evaluate(done, config.data, "test", torch.device("cpu"))


def test_later_run_in_the_same_folder_completes(
    config, photos, tmp_path, run, afterwards, monkeypatch
):
    away = tmp_path / "away"
    with monkeypatch.context():
        afterwards(experiment, "resolve", lambda: photos.rename(away))
        with pytest.raises(UserError):
            run(config)
    monkeypatch.undo()
    away.rename(photos)
    assert run_experiment(config, tmp_path / "outputs" / "later", "later").status == "completed"
