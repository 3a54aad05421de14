"""Thumbnails of images and a sprite sheet, cached so that no image is opened again."""

import io
import logging
import math
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from PIL import Image, ImageOps

from visionsweep.command_memory import remembered
from visionsweep.data.decoding import open_rgb
from visionsweep.data.gray import GrayRange
from visionsweep.data.images import ImageFile, digest_of, read_content
from visionsweep.errors import UserError
from visionsweep.storage.cache import keep
from visionsweep.storage.untrusted import MB, read_regular

log = logging.getLogger(__name__)

SIDE = 128  # pixels of a thumbnail by itself
SHEET_SIDE = 64  # pixels on the sheet, a multiple of JPEG's blocks of 8, so that none bleeds
MOST = 1000  # the sheet then has 2048 x 2048 pixels, 17 MB decoded
_FORMAT = f"{SIDE} and {SHEET_SIDE} pixels, center crop, rows of a power of two, JPEG 80, zip"
_SHEET = "sheet.jpg"
_LARGEST = 256 * MB  # bytes of an archive


@dataclass(frozen=True)
class Thumbnails:
    """Center crops of images, encoded: decoded, a thousand of them take 50 MB."""

    archive: bytes  # zip file with a JPEG file per thumbnail and one of the sheet
    indices: tuple[int, ...]  # of the images, ascending: all, or 1,000 of them
    names: tuple[str, ...]  # file names of the images

    @property
    def sheet(self) -> bytes:
        """All thumbnails row by row, 64 pixels per side, as a JPEG file.

        Rows and columns are the same power of two. With other sheets, TensorBoard's Projector shows
        wrong thumbnails: its shader divides by the number of rows instead of columns, inexactly.
        """
        with ZipFile(io.BytesIO(self.archive)) as archive:
            return archive.read(_SHEET)

    def squares(self, places: Iterable[int]) -> list[Image.Image]:
        """Return the thumbnails at some positions of `indices`, RGB, 128 pixels per side."""
        with ZipFile(io.BytesIO(self.archive)) as archive:
            return [Image.open(archive.open(_name(place))).convert("RGB") for place in places]


def thumbnails(
    files: Sequence[ImageFile], cache: Path, gray_range: GrayRange | None = None
) -> Thumbnails:
    """Return the thumbnails of images, which are opened only the first time.

    Of more than 1,000 images, 1,000 evenly spaced ones are used, so that files sorted by class keep
    the shares of the classes. An image that can no longer be read becomes a gray square, with a
    warning.

    Args:
        files: images, at least one.
        cache: cache folder, for `thumbnails/KEY.zip`; the key is a digest of the images' contents.
            A damaged file is replaced.
        gray_range: as in `decoding.decode`.
    """
    return _thumbnails(tuple(files), cache, gray_range)


@remembered(maxsize=2)
def _thumbnails(
    files: tuple[ImageFile, ...], cache: Path, gray_range: GrayRange | None = None
) -> Thumbnails:
    count = min(len(files), MOST)
    indices = [round(place * (len(files) - 1) / max(count - 1, 1)) for place in range(count)]
    chosen = [files[index] for index in indices]
    form = _FORMAT if gray_range is None else f"{_FORMAT}, gray {gray_range}"
    key = digest_of("\n".join([form, *(file.digest for file in chosen)]).encode())
    path = cache / "thumbnails" / f"{key}.zip"
    archive = _cached(path, count) or _make(chosen, path, gray_range)
    return Thumbnails(archive, tuple(indices), tuple(file.path.name for file in chosen))


def _cached(path: Path, count: int) -> bytes | None:
    """Return a cached archive of `count` thumbnails; None if it is missing or damaged."""
    try:
        archive = read_regular(path, _LARGEST)
        with ZipFile(io.BytesIO(archive)) as opened:
            sides = dict.fromkeys(map(_name, range(count)), SIDE)
            sides[_SHEET] = _squares_across(count) * SHEET_SIDE
            if opened.namelist() != list(sides):
                return None
            for entry, side in zip(opened.infolist(), sides.values(), strict=True):
                if entry.compress_type != ZIP_STORED or entry.file_size > len(archive):
                    return None
                stored = Image.open(io.BytesIO(opened.read(entry)), formats=("JPEG",))
                if stored.size != (side, side):
                    return None
                stored.load()  # a broken one would fail where it is shown
    except Exception:  # damaged zip and JPEG files raise nearly any type
        return None
    return archive


def _squares_across(count: int) -> int:
    """Return the number of thumbnails per row of the sheet, a power of two."""
    return 1 << math.ceil(math.log2(math.ceil(math.sqrt(count))))


def _make(files: Sequence[ImageFile], path: Path, gray_range: GrayRange | None) -> bytes:
    """Open the images, and cache their thumbnails unless one of them cannot be read."""
    across = _squares_across(len(files))
    sheet = Image.new("RGB", (across * SHEET_SIDE, across * SHEET_SIDE), "white")
    errors: list[UserError] = []

    def square_of(file: ImageFile) -> Image.Image | UserError:
        try:
            content = read_content(file)  # thumbnails are stored by digest
            image = open_rgb(content, gray_range, where=file.path)
            return ImageOps.fit(image, (SIDE, SIDE), Image.Resampling.LANCZOS)
        except UserError as error:
            return error

    stored = io.BytesIO()
    with ZipFile(stored, "w") as archive, ThreadPoolExecutor(os.cpu_count()) as threads:
        for place, square in enumerate(threads.map(square_of, files)):
            if isinstance(square, UserError):
                errors.append(square)
                square = Image.new("RGB", (SIDE, SIDE), "gray")
            row, column = divmod(place, across)
            small = square.resize((SHEET_SIDE, SHEET_SIDE), Image.Resampling.LANCZOS)
            sheet.paste(small, (column * SHEET_SIDE, row * SHEET_SIDE))
            archive.writestr(ZipInfo(_name(place)), _jpeg(square))
        archive.writestr(ZipInfo(_SHEET), _jpeg(sheet))
    content = stored.getvalue()
    if errors:
        log.warning("%d of %d images: no thumbnail; first %s", len(errors), len(files), errors[0])
    else:
        keep(path, content)
    return content


def _jpeg(image: Image.Image) -> bytes:
    stored = io.BytesIO()
    image.save(stored, "JPEG", quality=80, subsampling=0)
    return stored.getvalue()


def _name(place: int) -> str:
    return f"{place}.jpg"
