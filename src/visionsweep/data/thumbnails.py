"""Thumbnails of images: squares and one sheet of them, kept so that no image is opened again."""

import io
import logging
import math
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from PIL import Image, ImageOps

from visionsweep.data.decoding import open_rgb
from visionsweep.data.gray import GrayRange
from visionsweep.data.images import ImageFile, digest_of, read_content
from visionsweep.errors import UserError
from visionsweep.storage.cache import keep
from visionsweep.storage.untrusted import MB, read_regular

log = logging.getLogger(__name__)

SIDE = 128  # pixels of a thumbnail by itself
SHEET_SIDE = 64  # pixels on the sheet; a multiple of the 8 of a JPEG's blocks, so that none bleeds
MOST = 1000  # with them the sheet has 2048 x 2048 pixels: 17 MB while it is made
_MADE = f"{SIDE} and {SHEET_SIDE} pixels, cropped to the centre, a power of two to a row, JPEG 80"
_DIGEST_BYTES = 32  # before the archive, where no reader of archives looks
_SHEET = "sheet.jpg"
_LARGEST = 256 * MB  # of an archive


@dataclass(frozen=True)
class Thumbnails:
    """Small squares cut from the centre of images.

    They stay encoded: decoded, a thousand of them take 50 MB.

    Attributes:
        archive: a zip file that holds a JPEG file for each thumbnail and one for the sheet.
        indices: which of the images asked for they are of, ascending: all, or 1,000 of them.
        names: the files' names, `M`.
    """

    archive: bytes
    indices: tuple[int, ...]
    names: tuple[str, ...]

    @property
    def sheet(self) -> bytes:
        """All thumbnails row by row, 64 pixels a side, as many rows as columns: a JPEG file.

        Their number is a power of two. Only of such a sheet does TensorBoard's Projector show the
        right squares: its shader divides by the number of rows where that of columns is meant, and
        any other division is inexact.
        """
        with self._open() as archive:
            return archive.read(_SHEET)

    def squares(self, places: Iterable[int]) -> list[Image.Image]:
        """Decode the thumbnails at some places of `indices`: RGB, 128 pixels a side."""
        with self._open() as archive:
            return [Image.open(archive.open(_name(place))).convert("RGB") for place in places]

    def _open(self) -> ZipFile:
        return ZipFile(io.BytesIO(self.archive))


def thumbnails(
    files: Sequence[ImageFile], cache: Path, gray_range: GrayRange | None = None
) -> Thumbnails:
    """Return the thumbnails of images; they are opened only the first time.

    Of more than 1,000 images 1,000 are chosen, evenly spaced, so that files sorted by class keep
    the shares of the classes. An image that can no longer be read leaves a grey square and a
    warning.

    Args:
        files: the images, at least one.
        cache: the folder that outlives runs; they are `thumbnails/KEY.zip` in it, the key a
            digest of the images' contents. What is damaged is made again.
        gray_range: gray values that become black and white in images of more than 8 bits per pixel.
    """
    return _thumbnails(tuple(files), cache, gray_range)


@lru_cache(maxsize=2)
def _thumbnails(
    files: tuple[ImageFile, ...], cache: Path, gray_range: GrayRange | None = None
) -> Thumbnails:
    count = min(len(files), MOST)
    indices = [round(place * (len(files) - 1) / max(count - 1, 1)) for place in range(count)]
    chosen = [files[index] for index in indices]
    made = _MADE if gray_range is None else f"{_MADE}, gray {gray_range}"
    key = digest_of("\n".join([made, *(file.digest for file in chosen)]).encode())
    path = cache / "thumbnails" / f"{key}.zip"
    archive = _kept(path, count) or _make(chosen, path, gray_range)
    return Thumbnails(archive, tuple(indices), tuple(file.path.name for file in chosen))


def _kept(path: Path, count: int) -> bytes | None:
    """Return an archive from the cache, or None where there is none or it is no such archive.

    Args:
        path: the file.
        count: how many thumbnails it should hold.
    """
    try:
        content = read_regular(path, _LARGEST)
        digest, archive = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        if digest_of(archive).encode() != digest:
            return None
        with ZipFile(io.BytesIO(archive)) as opened:
            entries = opened.infolist()
            if [e.filename for e in entries] != [*map(_name, range(count)), _SHEET]:
                return None
            across = _squares_across(count) * SHEET_SIDE
            for entry in entries:
                if entry.compress_type != ZIP_STORED or entry.file_size > len(archive):
                    return None
                stored = Image.open(io.BytesIO(opened.read(entry)), formats=("JPEG",))
                if stored.size != ((across,) * 2 if entry.filename == _SHEET else (SIDE, SIDE)):
                    return None
                stored.load()  # a broken one would end the run where it is shown
    except (OSError, ValueError, BadZipFile, Image.DecompressionBombError):
        return None
    except (RuntimeError, EOFError, SyntaxError):  # encrypted, or shorter than it says
        return None
    return archive


def _squares_across(count: int) -> int:
    """Return how many squares a row of the sheet has: a power of two."""
    return 1 << math.ceil(math.log2(math.ceil(math.sqrt(count))))


def _make(files: Sequence[ImageFile], path: Path, gray_range: GrayRange | None) -> bytes:
    """Open the images, and keep their thumbnails unless one of them could not be read."""
    across = _squares_across(len(files))
    sheet = Image.new("RGB", (across * SHEET_SIDE, across * SHEET_SIDE), "white")
    lacking: list[UserError] = []
    square_of = partial(_square, gray_range=gray_range)
    stored = io.BytesIO()
    with ZipFile(stored, "w") as archive, ThreadPoolExecutor(os.cpu_count()) as threads:
        for place, square in enumerate(threads.map(square_of, files)):
            if isinstance(square, UserError):
                lacking.append(square)
                square = Image.new("RGB", (SIDE, SIDE), "grey")
            row, column = divmod(place, across)
            small = square.resize((SHEET_SIDE, SHEET_SIDE), Image.Resampling.LANCZOS)
            sheet.paste(small, (column * SHEET_SIDE, row * SHEET_SIDE))
            archive.writestr(ZipInfo(_name(place)), _jpeg(square))
        archive.writestr(ZipInfo(_SHEET), _jpeg(sheet))
    if lacking:
        log.warning("%d of %d images: no thumbnail; first %s", len(lacking), len(files), lacking[0])
    content = stored.getvalue()
    if not lacking:
        keep(path, digest_of(content).encode() + content)
    return content


def _square(file: ImageFile, gray_range: GrayRange | None) -> Image.Image | UserError:
    try:
        content = read_content(file)  # thumbnails are stored by digest
        image = open_rgb(content, gray_range, where=file.path)
        return ImageOps.fit(image, (SIDE, SIDE), Image.Resampling.LANCZOS)
    except UserError as error:
        return error


def _jpeg(image: Image.Image) -> bytes:
    stored = io.BytesIO()
    image.save(stored, "JPEG", quality=80, subsampling=0)
    return stored.getvalue()


def _name(place: int) -> str:
    return f"{place}.jpg"
