"""The built-in sample: pictures of drawn scenes, rendered to disk.

For when the real photographs cannot be had: pizza, steak and sushi, told apart at a glance by a
person but not by colour alone. The package scenes draws them; here they become files.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from visionsweep.config.schema import SAMPLE
from visionsweep.data.archive import ELSEWHERE
from visionsweep.data.synthetic.scenes import draw_scene
from visionsweep.runtime import terminal
from visionsweep.storage.files import explained
from visionsweep.storage.locks import held

NAME = SAMPLE
CLASSES = ("pizza", "steak", "sushi")
COUNTS: Mapping[str, int] = {"train": 750, "val": 45, "test": 25}  # images a class at 100%
SEED = 20
VERSION = 1  # raise it whenever the drawing changes: directories of another version are redrawn
SHORT_SIDE = 256  # pixels
_MARKER = ".version"


def jpeg(split: str, label: str, index: int, size: int) -> bytes:
    """Return the JPEG file of one image; only its place in the sample and its size decide it."""
    key = (SEED, tuple(COUNTS).index(split), CLASSES.index(label), index)
    rng = np.random.default_rng(np.random.SeedSequence(key))
    width = round(size * rng.uniform(1, 340 / 256))
    photo = draw_scene(rng, label, width, size)
    stored = io.BytesIO()
    photo.save(stored, "JPEG", quality=int(rng.integers(70, 96)))
    return stored.getvalue()


def sample_files(folder: Path, split: str, train_fraction: float) -> list[tuple[Path, str]]:
    """Return the (path, class) pairs that make up a split, in order of class and index.

    Files are named, not looked for: a directory rendered for a bigger fraction holds more.

    Args:
        folder: what render_sample returned.
        split: "train", "val" or "test".
        train_fraction: in (0, 1]; "val" and "test" are always whole.

    Raises:
        ValueError: for an unknown split or a fraction outside (0, 1].
    """
    if split not in COUNTS:
        raise ValueError(f"the sample has no split {split!r}; it has {', '.join(COUNTS)}")
    if not 0 < train_fraction <= 1:
        raise ValueError(
            f"the fraction of the training set must lie in (0, 1], not {train_fraction}"
        )
    count = max(1, round(COUNTS[split] * train_fraction)) if split == "train" else COUNTS[split]
    return [
        (folder / split / label / f"{index:04d}.jpg", label)
        for label in CLASSES
        for index in range(count)
    ]


def _clear_other_version(folder: Path, version: str) -> None:
    """Remove the images of another version of the drawing, then mark the folder as this one's."""
    if _is_of(folder, version):
        return
    for split in COUNTS:
        for path in folder.glob(f"{split}/*/[0-9]*.jpg"):
            path.unlink()
    # The mark comes last: killed before it, the next call clears again and nothing gets mixed.
    _write(folder / _MARKER, version.encode())


def _is_of(folder: Path, version: str) -> bool:
    marker = folder / _MARKER
    return marker.is_file() and marker.read_text() == version


def _write(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # One process writes, so the name may be the same each time; a killed one's is written over.
    partial = path.with_name(f".{path.stem.strip('.')}.part")
    try:
        partial.unlink(missing_ok=True)
        with partial.open("xb") as file:  # a link that lies there is not followed
            file.write(content)
        partial.replace(path)
    except OSError:
        with suppress(OSError):
            partial.unlink()
        raise


def render_sample(root: Path, train_fraction: float, *, size: int | None = None) -> Path:
    """Render what is missing under root/"sample"/<split>/<class>/ and return root/"sample".

    Image i of a class and split is always the same file with the same bytes (for one Pillow
    version), so a small fraction is contained in a bigger one and nothing is drawn twice. Images of
    another drawing version or size are removed first: the two never mix. One process renders at a
    time, in a plain loop: workers started by spawn would import the caller's main script again.
    Where all is there, nothing is written.

    Args:
        root: the data directory; made when missing.
        train_fraction: share of the 750 training images a class, in (0, 1]; at least one is drawn.
        size: pixels on the short side, 32 to 380; None means 256.

    Raises:
        UserError: if `root` is full or cannot be written; what is drawn stays for the next call.
        ValueError: for a fraction or a size out of range.
    """
    size = SHORT_SIDE if size is None else size
    if not 32 <= size <= 380:
        raise ValueError(f"the sample is drawn with 32 to 380 pixels on the short side, not {size}")
    folder = root / NAME
    wanted = [
        (path, split, label)
        for split in COUNTS
        for path, label in sample_files(folder, split, train_fraction)
    ]
    version = str(VERSION) if size == SHORT_SIDE else f"{VERSION} at {size} pixels"
    if _is_of(folder, version) and all(path.is_file() for path, _, _ in wanted):
        return folder
    with explained(root, ELSEWHERE):
        root.mkdir(parents=True, exist_ok=True)
        with held(root / ".sample.lock", "drawing the sample"):
            _clear_other_version(folder, version)
            missing = [item for item in wanted if not item[0].is_file()]
            for path, split, label in terminal.bar(
                iterable=missing, desc="Drawing the sample", unit="image"
            ):
                _write(path, jpeg(split, label, int(path.stem), size))
    return folder
