"""The built-in sample: photographs of the drawn scenes, rendered to disk.

For when the real photographs cannot be had: pizza, steak and sushi, told apart at a glance by a
person but not by colour alone. scenes.py sets each scene; here it is lit, photographed and stored.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from tqdm import tqdm

from visionsweep.data.scenes import TALLEST, TAU, Stage, set_scene

NAME = "sample"
CLASSES = ("pizza", "steak", "sushi")
COUNTS: Mapping[str, int] = {"train": 750, "val": 45, "test": 25}  # images a class at 100 %
SEED = 20
VERSION = 1  # raise it whenever the drawing changes: directories of another version are redrawn
SHORT_SIDE = 256  # pixels

Floats = NDArray[np.float32]


@cache
def _noise() -> tuple[Floats, Image.Image]:
    """Return one sheet of coarse-to-fine noise: float32[512, 512] of mean 0, and as a picture."""
    rng = np.random.default_rng(SEED)
    sheet = np.zeros((512, 512), np.float32)
    for cells, weight in ((16, 0.4), (48, 0.5), (120, 0.6), (256, 0.6), (512, 0.35)):
        field = Image.fromarray(rng.normal(0, weight, (cells, cells)).astype(np.float32))
        sheet += np.asarray(field.resize((512, 512), Image.Resampling.BICUBIC))
    return sheet, Image.fromarray((sheet * 40 + 128).clip(0, 255).astype(np.uint8))


def _soften(field: Floats, times: int) -> Floats:
    """Return a float32[H, W] field blurred `times` times by the 3-tap binomial."""
    for _ in range(times):
        wide = np.pad(field, 1, "edge")
        wide = wide[:, :-2] + wide[:, 2:] + (wide[:, 1:-1] + wide[:, 1:-1])
        field = (wide[:-2] + wide[2:] + (wide[1:-1] + wide[1:-1])) * np.float32(1 / 16)
    return field


def _enlarge(field: Floats, width: int, height: int) -> Floats:
    """Return a coarse field as float32[height, width]."""
    picture = Image.fromarray(field).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(picture, np.float32)


def _shade(tall: Floats, towards: tuple[float, float], low: float, soft: int) -> Floats:
    """Return how much of the key light is blocked, float32[H, W] in 0-1, by a march towards it.

    Args:
        tall: float32[H, W], heights in pixels.
        towards: unit vector in the picture that points to the light.
        low: how low the light stands (the length of a shadow for each pixel of height).
        soft: rounds of blur of the shadow's edge.
    """
    small, pad = np.ascontiguousarray(tall[::2, ::2]), 26
    wide = np.pad(small, pad, "edge")
    rows, columns = small.shape
    blocked = np.zeros_like(small)
    for step in (2, 4, 7, 11, 16, 24):
        right, down = pad + round(towards[0] * step), pad + round(towards[1] * step)
        rise = wide[down : down + rows, right : right + columns] - small
        rise -= np.float32(step * 2 / low)
        rise *= np.float32(1 / (1 + 0.35 * step))  # far edges throw a softer shadow
        np.maximum(blocked, rise, out=blocked)
    return _enlarge(_soften(np.minimum(blocked, 1), soft), tall.shape[1], tall.shape[0])


def _photograph(stage: Stage) -> Image.Image:
    """Return the stage as a photograph: lit from one side, with shadows, highlights and grain."""
    rng, width, height, one = stage.rng, stage.width, stage.height, np.float32
    heights, gloss, rough, wood = (
        np.asarray(channel, np.float32) * one(1 / 255) for channel in stage.surface.split()
    )
    top, left = rng.integers(0, 512 - height), rng.integers(0, 512 - width)
    grain = _noise()[0][top : top + height, left : left + width]
    ax, ay = stage.axis
    ax, ay, along = ax * 0.9, ay * 0.9, 0.08  # noise stretched twelvefold along the wood
    matrix = (ax * along, ay * along, 60.0, -ay, ax, 250.0)
    fibres = _noise()[1].transform(
        (width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
    )
    streak = (np.asarray(fibres, np.float32) - one(128)) * one(1 / 40) * wood
    rubbed = rough * grain
    tall = _soften(heights * one(TALLEST * stage.scale), 2) + rubbed * one(0.5) + streak * one(0.1)

    turn, low = rng.uniform(0, TAU), rng.uniform(0.5, 1.3)
    tx, ty, norm = math.cos(turn), math.sin(turn), 1 / math.sqrt(1 + low * low)
    gx, gy = np.zeros_like(tall), np.zeros_like(tall)
    np.subtract(tall[:, 2:], tall[:, :-2], out=gx[:, 1:-1])
    np.subtract(tall[2:], tall[:-2], out=gy[1:-1])
    slope = (gx * one(tx) + gy * one(ty)) * one(0.5)
    steep = one(1) / np.sqrt(one(1) + (gx * gx + gy * gy) * one(0.25))
    direct = np.maximum(one(1) - slope * one(low), 0) * steep * one(norm)
    middle = math.sqrt(2 + 2 * norm)  # of the half-way vector between light and viewer (Blinn 1977)
    shine = np.maximum(one((norm + 1) / middle) - slope * one(low * norm / middle), 0) * steep
    for _ in range(5):
        shine *= shine
    lit = one(1) - _shade(tall, (tx, ty), low, int(rng.integers(1, 4))) * one(rng.uniform(0.7, 1))
    ramp = np.linspace(-tx, tx, width) + np.linspace(-ty, ty, height)[:, None]
    direct *= lit * (1 + rng.uniform(0, 0.3) * ramp).astype(np.float32)
    shine *= lit * gloss * one(rng.uniform(0.3, 0.8))
    coarse = np.ascontiguousarray(tall[::4, ::4])
    hollow = np.maximum(_soften(coarse, 6) - coarse, 0) * one(0.035)
    ambient = one(1) - np.minimum(_enlarge(hollow, width, height), one(0.5))

    warm, exposure = rng.normal(0, 0.13), rng.uniform(0.8, 1.2)
    fill, contrast = rng.uniform(0.3, 0.55), rng.uniform(0.88, 1.12)
    bright = 0.5 * (1 - contrast) + rng.normal(0.02, 0.03)
    speckle = rng.integers(-128, 128, (height, width), np.int8) * one(rng.uniform(0, 0.00035))
    speckle += one(bright)
    stain = rubbed * one(0.2) + streak * one(0.16)
    planes = []
    for channel, brown, gain in zip(
        stage.colour.reduce(2).split(), (0.75, 1.05, 1.3), (1, 0, -1.2), strict=True
    ):
        plane = np.asarray(channel, np.float32) * (one(1 / 255) - stain * one(brown / 255))
        plane *= plane  # sRGB is close to a square root: light adds up on the squares
        key, sky = one(exposure * (1 + warm * gain)), one(fill * (1 - warm * gain / 2))
        plane *= direct * key + ambient * sky
        plane += shine
        plane /= one(0.86) + one(0.36) * plane  # film's shoulder: white plates keep their relief
        seen = np.sqrt(np.maximum(plane, 0)) * one(contrast) + speckle
        planes.append(Image.fromarray((seen * one(255)).clip(0, 255).astype(np.uint8)))
    photo = Image.merge("RGB", planes)
    if rng.random() < 0.3:
        photo = photo.filter(ImageFilter.BoxBlur(rng.uniform(0.4, 1.0)))
    return photo


def _jpeg(split: str, label: str, index: int, size: int) -> bytes:
    """Return the JPEG file of one image; only its place in the sample and its size decide it."""
    key = (SEED, tuple(COUNTS).index(split), CLASSES.index(label), index)
    rng = np.random.default_rng(np.random.SeedSequence(key))
    width = round(size * rng.uniform(1, 340 / 256))
    photo = _photograph(set_scene(rng, label, width, size))
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
    marker = folder / ".version"
    if marker.is_file() and marker.read_text() == version:
        return
    for split in COUNTS:
        for path in folder.glob(f"{split}/*/[0-9]*.jpg"):
            path.unlink()
    # The mark comes last: killed before it, the next call clears again and nothing gets mixed.
    _write(marker, version.encode())


def _write(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem.strip('.')}.part")
    partial.write_bytes(content)
    partial.replace(path)


def render_sample(root: Path, train_fraction: float, *, size: int | None = None) -> Path:
    """Render what is missing under root/"sample"/<split>/<class>/ and return root/"sample".

    Image i of a class and split is always the same file with the same bytes (for one Pillow
    version), so a small fraction is contained in a bigger one and nothing is drawn twice. Images of
    another drawing version or size are removed first: the two never mix. One process renders at a
    time, in a plain loop: workers started by spawn would import the caller's main script again.

    Args:
        root: the data directory; made when missing.
        train_fraction: share of the 750 training images a class, in (0, 1]; at least one is drawn.
        size: pixels on the short side, 32 to 380; None means 256.

    Raises:
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
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / ".sample.lock"):
        version = str(VERSION) if size == SHORT_SIDE else f"{VERSION} at {size} pixels"
        _clear_other_version(folder, version)
        missing = [item for item in wanted if not item[0].is_file()]
        for path, split, label in tqdm(
            missing, desc="drawing the sample", unit="img", disable=None
        ):
            _write(path, _jpeg(split, label, int(path.stem), size))
    return folder
