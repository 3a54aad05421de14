"""Render the built-in sample, images of pizza, steak, and sushi, where photographs are missing."""

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from visionsweep.config.schema import SAMPLE
from visionsweep.data.archive import ELSEWHERE
from visionsweep.data.synthetic.dishes import draw_scene
from visionsweep.runtime import terminal
from visionsweep.storage.files import explained, remove_leftovers, write_atomically
from visionsweep.storage.locks import held

NAME = SAMPLE
CLASSES = ("pizza", "steak", "sushi")
COUNTS: Mapping[str, int] = {"train": 750, "val": 45, "test": 25}  # images per class at 100%
SEED = 20
VERSION = 2  # raise it if pixels change: images of other versions are deleted and rendered again
SHORT_SIDE = 256  # pixels


def jpeg(split: str, label: str, index: int, size: int) -> bytes:
    """Return the JPEG file of one image, which is determined by these arguments alone."""
    rng = np.random.default_rng((SEED, [*COUNTS].index(split), CLASSES.index(label), index))
    photo, stored = draw_scene(rng, label, round(size * rng.uniform(1, 4 / 3)), size), io.BytesIO()
    photo.save(stored, "JPEG", quality=int(rng.integers(70, 96)))
    return stored.getvalue()


def sample_files(folder: Path, split: str, train_fraction: float) -> list[tuple[Path, str]]:
    """Return path and class of the images of a split, ordered by class and index.

    The folder is not listed, since it may hold the images of a larger fraction.

    Raises:
        ValueError: if the fraction is out of range.
    """
    if not 0 < train_fraction <= 1:
        raise ValueError(f"train_fraction must be in (0, 1], got {train_fraction}")
    count = max(1, round(COUNTS[split] * (train_fraction if split == "train" else 1)))
    numbered = [(label, f"{index:04d}.jpg") for label in CLASSES for index in range(count)]
    return [(folder / split / label / name, label) for label, name in numbered]


def render_sample(root: Path, train_fraction: float, *, size: int = SHORT_SIDE) -> Path:
    """Render the missing images of `ROOT/sample/SPLIT/CLASS/`, and return `ROOT/sample`.

    An image has the same bytes in every fraction (for one Pillow version). Images of another
    version or size are deleted first. One process renders at a time, without worker processes:
    those started by spawn would import the caller's main script again.

    Raises:
        UserError: if the disk is full or read-only; rendered images are kept.
        ValueError: if the fraction is out of range.
    """
    folder = root / NAME
    paths = [path for split in COUNTS for path, _ in sample_files(folder, split, train_fraction)]
    version = str(VERSION) if size == SHORT_SIDE else f"{VERSION} at {size} pixels"
    marker = folder / ".version"

    def is_current() -> bool:
        return marker.is_file() and marker.read_text() == version

    if is_current() and all(path.is_file() for path in paths):
        return folder
    with explained(root, ELSEWHERE):
        root.mkdir(parents=True, exist_ok=True)
        with held(root / ".sample.lock", "drawing the sample"):
            for parent in {path.parent for path in paths}:
                parent.mkdir(parents=True, exist_ok=True)
                remove_leftovers(parent, age=0)
            if not is_current():
                for path in folder.glob("*/*/[0-9]*.jpg"):
                    path.unlink()
                # Last, so that a killed process leaves no mixture.
                write_atomically(marker, version.encode(), durable=False)
            missing = [path for path in paths if not path.is_file()]
            for path in terminal.bar(iterable=missing, desc="Drawing the sample", unit="image"):
                split, label = path.parts[-3:-1]
                content = jpeg(split, label, int(path.stem), size)
                write_atomically(path, content, durable=False)
    return folder
