"""The figure of training images shows what the network sees in training."""

from dataclasses import asdict, replace

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from visionsweep.config.schema import AugmentationConfig
from visionsweep.data.images import ImageFile, digest_of
from visionsweep.data.transforms import build_augmentation, resized
from visionsweep.data.views import views_of
from visionsweep.figures import training_images as figure
from visionsweep.report import training_images
from visionsweep.report.figures import draw_figures
from visionsweep.report.training_images import write_training_images
from visionsweep.runs import predictions_csv
from visionsweep.runs.discovery import Run
from visionsweep.runs.paths import TRAINING_IMAGES
from visionsweep.runs.record import TrainingImage

FLIP = "torchvision.transforms.v2.RandomHorizontalFlip"


@pytest.fixture
def drawn(monkeypatch):
    """The tiles, columns, and notes of the figures that are drawn."""
    seen = []

    def remember(tiles, columns, note):
        seen.append((tiles, columns, note))
        return figure.training_images_figure(tiles, columns, note)

    monkeypatch.setattr(training_images, "training_images_figure", remember)
    return seen


@pytest.fixture
def run_with(tmp_path, simulated_sweep, make_config):
    """Make a run whose record names 16 training images, with other settings."""
    run = simulated_sweep().rows[0].run
    folder = tmp_path / "training"
    folder.mkdir()
    named = []
    for number in range(16):
        file = folder / f"{number}.png"
        pixels = np.random.default_rng(number).integers(0, 256, (40, 50, 3), np.uint8)
        Image.fromarray(pixels).save(file)
        label = ("pizza", "steak", "sushi")[number * 3 // 16]
        named.append(TrainingImage(str(file), digest_of(file.read_bytes()), label))

    def make(augmentation=None, **training) -> Run:
        config = make_config()
        config = replace(
            config,
            augmentation=augmentation or config.augmentation,
            training=replace(config.training, **training),
        )
        record = msgspec.structs.replace(
            run.record,
            config=asdict(config),
            training_images=named,
            model=msgspec.structs.replace(run.record.model, preprocessing=resized(32).facts()),
        )
        return Run(run.directory, record)

    return make


def pixels_of(number: int, folder, augmentation=None, view: int = 0) -> np.ndarray:
    path = folder / "training" / f"{number}.png"
    if view:
        file = ImageFile(path, 0, digest_of(path.read_bytes()))
        pixels = views_of(file, augmentation, view + 1)[view - 1].pixels(resized(32))
    else:
        pixels = resized(32).pixels(Image.open(path).convert("RGB"))
    return pixels.permute(1, 2, 0).numpy()


def test_images_without_augmentation_are_shown_resized_each_once(run_with, drawn, tmp_path):
    small = write_training_images(run_with())
    ((tiles, columns, _),) = drawn
    assert columns == 4 and len(tiles) == 16
    for number, (image, caption) in enumerate(tiles):
        assert (image == pixels_of(number, tmp_path)).all()
        assert caption == ("pizza", "steak", "sushi")[number * 3 // 16]
    assert small.shape[1] == 350
    with Image.open(run_with().directory / TRAINING_IMAGES) as stored:
        assert stored.size == (700, 2 * small.shape[0])


@pytest.mark.parametrize(("views", "images", "draws"), [(2, 8, 2), (3, 4, 3), (4, 4, 4), (9, 4, 4)])
def test_views_are_those_that_are_trained_on(run_with, drawn, tmp_path, views, images, draws):
    settings = AugmentationConfig(name="crop", _target_=FLIP, crop_scale=0.4, views=views)
    write_training_images(run_with(settings))
    ((tiles, columns, note),) = drawn
    assert len(tiles) == images * draws and columns in (3, 4) and f"{draws} of {views}" in note
    augmentation = build_augmentation(settings)
    for place, (image, _) in enumerate(tiles):
        number, view = divmod(place, draws)
        assert (image == pixels_of(number * draws, tmp_path, augmentation, view)).all()


def test_random_augmentation_is_drawn_several_times(run_with, drawn):
    settings = AugmentationConfig(name="crop", crop_scale=0.4)
    before = torch.get_rng_state()
    write_training_images(run_with(settings))
    ((tiles, columns, _),) = drawn
    assert (len(tiles), columns) == (16, 4)
    assert len({image.tobytes() for image, _ in tiles}) == 16
    assert torch.get_rng_state().equal(before)


def test_mixed_images_are_shown_mixed_with_the_share_of_their_class(run_with, drawn, tmp_path):
    write_training_images(run_with(freeze_backbone=False, mixup=1.0))
    ((tiles, _, note),) = drawn
    plain = {pixels_of(number, tmp_path).tobytes() for number in range(16)}
    assert "mixed" in note and not plain & {image.tobytes() for image, _ in tiles}
    assert any(caption.endswith("%") for _, caption in tiles)


def test_changed_and_missing_images_are_left_out(run_with, drawn, tmp_path):
    (tmp_path / "training" / "0.png").unlink()
    Image.new("RGB", (9, 9)).save(tmp_path / "training" / "1.png")
    write_training_images(run_with())
    assert len(drawn[0][0]) == 14
    for file in (tmp_path / "training").iterdir():
        file.unlink()
    assert write_training_images(run_with()) is None


def test_complete_figure_is_cached_and_replaced_if_damaged(run_with, drawn, tmp_path):
    cache, hidden = tmp_path / "cache", tmp_path / "hidden"
    first = write_training_images(run_with(), str(cache))
    (tmp_path / "training").rename(hidden)
    assert (write_training_images(run_with(), str(cache)) == first).all() and len(drawn) == 1
    crop = AugmentationConfig(name="crop", crop_scale=0.4)
    assert write_training_images(run_with(crop), str(cache)) is None  # other settings

    (file,) = (cache / "training_images").iterdir()
    for content in (b"", file.read_bytes()[:5000], b"x" * 5000):
        file.write_bytes(content)
        assert write_training_images(run_with(), str(cache)) is None
    hidden.rename(tmp_path / "training")
    (tmp_path / "training" / "3.png").unlink()
    write_training_images(run_with(), str(cache))
    assert file.read_bytes() == content  # an incomplete figure is not kept
    write_training_images(run_with(crop), str(cache))
    assert len(list((cache / "training_images").iterdir())) == 2


def test_sheet_is_in_tensorboard_beside_the_other_figures(run_with):
    run = run_with()
    test = predictions_csv.read(run, "test")
    table = test.images, test.labels, test.probabilities
    predictions_csv.write(run.directory, test.classes, {"val": table, "test": table})
    draw_figures([run])
    (file,) = run.directory.glob("*.figures")
    events = EventAccumulator(str(file), {"images": 0}).Reload()
    (image,) = events.Images("training_images/train")
    assert image.width == 350 and image.step == run.record.metrics.final.epoch
