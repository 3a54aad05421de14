"""Thumbnails of images: one sprite sheet for a list of them, kept so that none is opened again."""

import io
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from visionsweep.cache import keep
from visionsweep.data.images import ImageFile, UnreadableImageError, digest_of, open_rgb

log = logging.getLogger(__name__)

SIDE = 128  # pixels; a multiple of the 8 of a JPEG's blocks, so that none bleeds into its neighbour
MOST = 1000  # with them the sheet has 4096 x 4096 pixels, which any graphics card can hold
_MADE = f"{SIDE} pixels, cropped to the centre, a power of two to a row, JPEG 80"
_DIGEST_BYTES = 32  # after the end of the JPEG, where no reader of images looks

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Thumbnails:
    """Small squares cut from the centre of images, on one sheet.

    Attributes:
        sheet: a JPEG file, the squares row by row, as many rows as columns, a power of two. Only of
            such a sheet does TensorBoard's Projector show the right squares: its shader divides by
            the number of rows where that of columns is meant, and any other division is inexact.
        indices: which of the images asked for they are of, ascending: all, or 1,000 of them.
        names: the files' names, `M`.
    """

    sheet: bytes
    indices: tuple[int, ...]
    names: tuple[str, ...]

    @cached_property
    def pixels(self) -> Pixels:
        """The thumbnails, `uint8[M, 128, 128, 3]`."""
        with Image.open(io.BytesIO(self.sheet)) as image:
            sheet = np.asarray(image.convert("RGB"))
        across = len(sheet) // SIDE
        squares = sheet.reshape(across, SIDE, across, SIDE, 3).swapaxes(1, 2)
        return squares.reshape(-1, SIDE, SIDE, 3)[: len(self.indices)]


def thumbnails(files: Sequence[ImageFile], cache: Path) -> Thumbnails:
    """Return the thumbnails of images; they are opened only the first time.

    Of more than 1,000 images 1,000 are chosen, evenly spaced, so that files sorted by class keep
    the shares of the classes. An image that can no longer be read leaves a grey square and a
    warning.

    Args:
        files: the images, at least one.
        cache: the folder that outlives runs; the sheet is `thumbnails/KEY.jpg` in it, the key a
            digest of the images' contents. A damaged sheet is made again.
    """
    return _thumbnails(tuple(files), cache)


@lru_cache(maxsize=2)
def _thumbnails(files: tuple[ImageFile, ...], cache: Path) -> Thumbnails:
    indices = np.linspace(0, len(files) - 1, min(len(files), MOST)).round().astype(int).tolist()
    chosen = [files[index] for index in indices]
    key = digest_of("\n".join([_MADE, *(file.digest for file in chosen)]).encode())
    path = cache / "thumbnails" / f"{key}.jpg"
    sheet = _kept(path) or _make(chosen, path)
    return Thumbnails(sheet, tuple(indices), tuple(file.path.name for file in chosen))


def _kept(path: Path) -> bytes | None:
    """Return a sheet from the cache, or None where there is none or it is damaged."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    sheet, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
    return sheet if sheet and digest_of(sheet).encode() == digest else None


def _make(files: Sequence[ImageFile], path: Path) -> bytes:
    """Open the images, and keep their sheet unless one of them could not be read."""
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        squares = list(threads.map(_square, files))
    lacking = [square for square in squares if isinstance(square, UnreadableImageError)]
    if lacking:
        log.warning("%d of %d images: no thumbnail; first %s", len(lacking), len(files), lacking[0])
    across = 1
    while across**2 < len(files):
        across *= 2
    image = Image.new("RGB", (across * SIDE, across * SIDE), "white")
    for place, square in enumerate(squares):
        row, column = divmod(place, across)
        if isinstance(square, UnreadableImageError):
            square = Image.new("RGB", (SIDE, SIDE), "grey")
        image.paste(square, (column * SIDE, row * SIDE))
    stored = io.BytesIO()
    image.save(stored, "JPEG", quality=80, subsampling=0)
    sheet = stored.getvalue()
    if not lacking:
        keep(path, sheet + digest_of(sheet).encode())
    return sheet


def _square(file: ImageFile) -> Image.Image | UnreadableImageError:
    try:
        return ImageOps.fit(open_rgb(file.path), (SIDE, SIDE), Image.Resampling.LANCZOS)
    except UnreadableImageError as error:
        return error
