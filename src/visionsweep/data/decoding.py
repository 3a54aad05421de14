"""Decode one image file into upright 8-bit RGB, within limits of memory."""

import hashlib
import os
import threading
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Annotated, NamedTuple, TypeVar

import msgspec
from PIL import Image, ImageFile

from visionsweep.data import gray, repair
from visionsweep.data.formats import UnreadableImageError, format_of, open_header
from visionsweep.data.gray import GrayFacts, GrayRange
from visionsweep.data.perceptual_hash import BITS, SIDE, perceptual_hash
from visionsweep.data.rgb import LARGE_PIXELS, orientation, tiles_of, to_rgb
from visionsweep.storage.files import open_regular

MAX_FILE_BYTES = 256_000_000
MAX_BYTES = 600_000_000  # of memory that decoding one image may take by estimate, file included
MAX_SCANS = 200  # of a JPEG; encoders write about ten, and each takes the time of all pixels
_LARGE_BYTES = 150_000_000  # images that take more are decoded one at a time

# Measured peaks of decoding, in bytes per pixel, the decoder's own buffers included; by the mode
# where the decoder works line by line.
_BYTES_PER_PIXEL = {"WebP": 12, "AVIF": 8, "HEIC": 8, "JPEG 2000": 16, "TIFF": 8}
_BYTES_PER_MODE = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2}
_COEFFICIENT_BYTES = 6  # per pixel of a JPEG that arrives in several scans

_NO_END_MARKER = "the end marker is missing"
_END_MARKERS = {"PNG": b"IEND", "GIF": b";"}  # which Pillow does not miss
_one_large_image = threading.Lock()
_Result = TypeVar("_Result")
_Use = Callable[[ImageFile.ImageFile, Image.Transpose | None], _Result]  # what turns it upright


class ImageFacts(msgspec.Struct, frozen=True, array_like=True):
    """What decoding an image showed, beside its pixels."""

    gray: GrayFacts | None = None  # its values, if it is gray with more than 8 bits per pixel
    repair: str | None = None  # what is broken in the file though all pixels are there
    # Perceptual hash; None in caches of earlier versions.
    phash: Annotated[int, msgspec.Meta(ge=0, le=2**BITS - 1)] | None = None


class Decoded(NamedTuple):
    """An upright RGB image, and what was found in its file."""

    image: Image.Image
    deep: bool  # whether it is a gray image of more than 8 bits per pixel
    repair: str | None  # what is broken in the file though all pixels are there


def read_file(path: Path) -> bytes:
    """Return the bytes of a regular file, or of one that links lead to.

    Raises:
        UnreadableImageError: if it cannot be read, is a device or a named pipe, or is too large.
    """
    try:
        with open_regular(path, follow_links=True) as file:
            size = os.fstat(file.fileno()).st_size
            if size <= MAX_FILE_BYTES:
                return file.read(MAX_FILE_BYTES)
            reason = f"the file has {size:,} bytes, the limit is {MAX_FILE_BYTES:,}"
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
    raise UnreadableImageError(f"cannot be read: {reason}", where=path)


def open_rgb(
    source: Path | bytes, gray_range: GrayRange | None = None, *, where: object = "the image"
) -> Image.Image:
    """Return the image of `decode` alone; the arguments and errors are the same."""
    return decode(source, gray_range, where=where).image


def decode(
    source: Path | bytes, gray_range: GrayRange | None = None, *, where: object = "the image"
) -> Decoded:
    """Decode an image as upright RGB, whatever its mode.

    The EXIF orientation is applied, transparent parts are laid on white, gray values of more than
    8 bits are scaled to 8, and of an animation the first frame is taken. Images of more than
    `LARGE_PIXELS` are reduced. A file with broken metadata or without an end marker is decoded if
    all its pixels are there.

    Args:
        source: a file, or a file's bytes.
        gray_range: gray values that become black and white in images of more than 8 bits per pixel;
            None for the whole bit depth of each image, 0 to 1 for floating-point values.
        where: what an error calls the image if `source` is its bytes.

    Raises:
        UnreadableImageError: if there is no such file or it is not an image that can be decoded.
    """
    if isinstance(source, Path):
        where, source = source, read_file(source)

    def convert(
        image: ImageFile.ImageFile, upright: Image.Transpose | None
    ) -> tuple[Image.Image, bool]:
        return to_rgb(image, gray_range, upright), gray.is_deep(image.mode)

    (image, deep), repaired = _read(source, where, convert)
    return Decoded(image, deep, repaired)


def examine(content: bytes, where: object) -> ImageFacts:
    """Return what decoding a file's bytes shows; raises as `decode`.

    A JPEG is decoded at up to an eighth of its size: all of its compressed data is read, and hardly
    a pixel computed.
    """

    def look(
        image: ImageFile.ImageFile, upright: Image.Transpose | None
    ) -> tuple[GrayFacts | None, int]:
        facts, limits = None, None
        if gray.is_deep(image.mode):
            facts = gray.facts_of(tile for _, tile in tiles_of(image, (1, 1)))
            limits = gray.range_of([facts])
        return facts, perceptual_hash(to_rgb(image, limits), upright)

    (facts, phash), repaired = _read(content, where, look, small=True)
    return ImageFacts(facts, repaired, phash)


def _read(
    content: bytes, where: object, use: _Use[_Result], small: bool = False
) -> tuple[_Result, str | None]:
    """Apply a function to a decoded image, and say what had to be repaired for that."""
    kind = format_of(content)
    if kind is None:
        reason = "the file is empty" if not content else "its content is in no known image format"
        raise UnreadableImageError(f"cannot be read as an image: {reason}", where=where)
    _ignore_pillow_warnings()
    try:
        result, problem = _decoded(content, kind, use, small)
        return result, problem if _END_MARKERS.get(kind, b"") in content else _NO_END_MARKER
    except UnreadableImageError as error:
        raise UnreadableImageError(
            f"cannot be read as an image: {error.what}", where=where, hint=error.hint
        ) from error
    except Exception as error:  # a broken file ends in nearly any exception, SyntaxError included
        reason = str(error).split("\n")[0] or type(error).__name__
        try:
            whole = repair.rebuild(content, kind, _pixel_digest)
            if whole is not None:
                cut = kind.startswith("JPEG") and not content.endswith(b"\xff\xd9")
                return _decoded(whole, kind, use)[0], _NO_END_MARKER if cut else reason
        except Exception:  # then the first error is the one to tell
            pass
        raise UnreadableImageError(
            f"cannot be read as an image: broken {kind} file: {reason}", where=where
        ) from error


@cache
def _ignore_pillow_warnings() -> None:
    """Keep Pillow's remarks on metadata off the terminal; what matters of them is in `repair`."""
    warnings.filterwarnings("ignore", module=r"PIL\.")


def _decoded(
    content: bytes, kind: str, use: _Use[_Result], small: bool = False
) -> tuple[_Result, str | None]:
    """Apply a function to an image that fits into memory, and say what its EXIF lacks.

    If `small`, a JPEG that would not be reduced anyway is decoded at as little as an eighth of its
    size, enough for its perceptual hash.
    """
    with open_header(content, kind) as image:
        if kind.startswith("JPEG") and (scans := content.count(b"\xff\xda")) > MAX_SCANS:
            raise UnreadableImageError(f"it has {scans:,} scans; the limit is {MAX_SCANS}")
        scale = _reduce_while_decoding(image) if kind == "JPEG" else 1
        pixels = image.width * image.height
        per_pixel = _BYTES_PER_PIXEL.get(kind, _BYTES_PER_MODE.get(image.mode, 4))
        # And the converted image.
        needed = len(content) + pixels * per_pixel + 4 * min(pixels, LARGE_PIXELS)
        if kind == "JPEG" and needed > _LARGE_BYTES // 4 and _in_several_scans(content):
            needed += pixels * _COEFFICIENT_BYTES * scale**2
        if needed > MAX_BYTES:
            raise UnreadableImageError(
                f"{image.width:,} x {image.height:,} pixels would take {needed / 1e6:,.0f} MB of "
                f"memory to decode; the limit is {MAX_BYTES / 1e6:,.0f} MB",
                hint="Reduce the image first.",
            )
        if small and kind == "JPEG" and scale == 1:
            image.draft(None, (SIDE, SIDE))
        with _one_large_image if needed > _LARGE_BYTES else nullcontext():
            image.load()
            upright, problem = orientation(image)
            return use(image, upright), problem


def _pixel_digest(jpeg: bytes) -> bytes:
    return _decoded(jpeg, "JPEG", lambda image, _: hashlib.blake2b(image.tobytes()).digest())[0]


def _reduce_while_decoding(image: ImageFile.ImageFile) -> int:
    """Let the decoder compute a large JPEG at 1/2, 1/4, or 1/8 of its size; return the divisor."""
    width, height = image.size
    scale = next((s for s in (1, 2, 4, 8) if width * height <= LARGE_PIXELS * s * s), 8)
    if scale > 1:
        image.draft(None, (max(1, width // scale), max(1, height // scale)))
    return int(image.decoderconfig[0]) if image.decoderconfig else 1


def _in_several_scans(content: bytes) -> bool:
    """Return whether a JPEG decoder has to keep all coefficients until the last scan."""
    layers = 0
    for segment in repair.jpeg_segments(content):
        if segment.marker in repair.PROGRESSIVE:
            return True
        if segment.marker in repair.FRAMES:
            layers = segment.payload[5] if len(segment.payload) > 5 else 0
        if segment.marker == repair.SCAN:
            return not segment.payload or segment.payload[0] != layers
    return False
