"""Some training images of a run as its network sees them: resized, augmented, mixed."""

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from visionsweep.config.schema import Config
from visionsweep.data.dataset import seeded
from visionsweep.data.images import digest_of
from visionsweep.data.transforms import Preprocessing, build_augmentation
from visionsweep.data.views import view_digest
from visionsweep.figures.style import CARD, Pixels
from visionsweep.figures.training_images import training_images_figure
from visionsweep.report.mistakes import open_recorded
from visionsweep.runs.discovery import Run
from visionsweep.runs.facts import MOST_TRAINING_IMAGES
from visionsweep.runs.paths import TRAINING_IMAGES
from visionsweep.runs.record import TrainingImage
from visionsweep.runs.recorded_config import config_of
from visionsweep.storage.cache import cache_folder, keep
from visionsweep.storage.files import write_atomically
from visionsweep.storage.untrusted import MB, read_regular
from visionsweep.training.objective import mixing_of

_MOST_DRAWS = 4  # of an image
_MIXED = 4  # batches that are mixed
_SEED = 0

_FORMAT = "two pixels per point, JPEG 85"
_LARGEST = 4 * MB  # of a cached figure


@dataclass(frozen=True)
class _Sheet:
    """What a figure shows: images, `uint8[H, W, 3]`, with their captions, row by row."""

    columns: int
    note: str
    tiles: list[tuple[NDArray[np.uint8], str]]
    complete: bool  # no image is missing


def write_training_images(run: Run, cache_dir: str | None = None) -> Pixels | None:
    """Write a figure of some training images, `training_images.jpg`; return it at half its size.

    An image is opened if its file has the digest that the record names; others are left out. A
    figure of all of them is kept in the cache, so that the next run with the same settings opens
    none.

    Returns:
        `uint8[H, W, 3]`; None without images, as for a record of an earlier version.
    """
    record = run.whole
    if record is None or record.model is None or record.data is None:
        return None
    images, config = record.training_images, config_of(record)
    preprocessing = msgspec.convert(record.model.preprocessing, Preprocessing)
    mixing = config.training.mixup, config.training.cutmix
    named = [(image.digest, image.label) for image in images]
    shown = (_FORMAT, preprocessing.facts(), asdict(config.augmentation), mixing, named)
    key = digest_of(repr((*shown, record.data.classes)).encode())
    cached = (
        None if cache_dir is None else cache_folder(cache_dir) / "training_images" / f"{key}.jpg"
    )
    content = None if cached is None else _read(cached)
    if content is None:
        sheet = _sheet_of(images, config, preprocessing, record.data.classes)
        if not sheet.tiles:
            return None
        stored = io.BytesIO()
        drawn = training_images_figure(sheet.tiles, sheet.columns, sheet.note)
        Image.fromarray(drawn).save(stored, "JPEG", quality=85)
        content = stored.getvalue()
        if cached is not None and sheet.complete:
            keep(cached, content)
    write_atomically(run.directory / TRAINING_IMAGES, content)
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB").reduce(2))


def _read(path: Path) -> bytes | None:
    """Return a cached figure; None if it is missing or damaged."""
    try:
        content = read_regular(path, _LARGEST)
        with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
            if image.width != 2 * CARD or image.height > 8 * CARD:
                return None
            image.load()
    except (OSError, ValueError, SyntaxError):
        return None
    return content


def _sheet_of(
    images: Sequence[TrainingImage],
    config: Config,
    preprocessing: Preprocessing,
    classes: list[str],
) -> _Sheet:
    augmentation = build_augmentation(config.augmentation)
    mixing = mixing_of(config.training, len(classes))
    views = config.augmentation.views
    draws = 1 if augmentation is None or mixing else min(views or _MOST_DRAWS, _MOST_DRAWS)
    spaced = images[::draws][: _MOST_DRAWS if draws > 2 else MOST_TRAINING_IMAGES // draws]
    pixels, labels = [], []
    for entry in spaced:
        image = open_recorded(entry.path, entry.digest, preprocessing.gray_range)
        if isinstance(image, str):
            continue
        for draw in range(draws):
            number = draw if views else draw + 1  # the first view is the image
            if augmentation is None or not number:
                pixels.append(preprocessing.pixels(image))
            else:
                digest = view_digest(entry.digest, augmentation, number)
                with seeded(int(digest[:15], 16)):  # as views are drawn
                    pixels.append(preprocessing.pixels(image, augmentation))
            labels.append(classes.index(entry.label) if entry.label in classes else 0)
    name = config.augmentation.name
    notes = {
        "none": "resized, not augmented",
        "draws": f"{name}: {draws} random draws per image",
        "views": f"{name}: {draws} of {views} views per image",
    }
    kind = "none" if augmentation is None else "views" if views else "draws"
    captions = [classes[label] for label in labels]
    if mixing is not None and len(pixels) >= _MIXED:
        pixels, captions = _mixed(mixing, pixels, labels, classes)
        notes["none"], notes["draws"] = "two images mixed", f"{name}, then two images mixed"
    arrays: list[Any] = [tile.permute(1, 2, 0).numpy() for tile in pixels]
    columns = draws if draws == 3 else _MOST_DRAWS
    complete = len(arrays) == draws * len(spaced)
    return _Sheet(columns, notes[kind], list(zip(arrays, captions, strict=True)), complete)


def _mixed(
    mixing: Any, pixels: Sequence[torch.Tensor], labels: Sequence[int], classes: Sequence[str]
) -> tuple[list[torch.Tensor], list[str]]:
    """Mix images as batches are, and return them with the share of their first class."""
    tiles: list[torch.Tensor] = []
    captions: list[str] = []
    with seeded(_SEED):
        for start in range(_MIXED):  # images are sorted by class, and those of a batch are not
            part = slice(start, None, _MIXED)
            mixed, shares = mixing(
                torch.stack(list(pixels[part])).float(), torch.tensor(labels[part])
            )
            tiles += mixed.round().to(torch.uint8)
            for share, label in zip(*shares.max(1), strict=True):
                captions.append(classes[label] + (f" {share:.0%}" if share < 1 else ""))
    return tiles, captions
