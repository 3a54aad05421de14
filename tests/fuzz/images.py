"""Mutated images for the decoder: each is RGB in the end, or an error for the user."""

import io
import random
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np
from mutations import mutated
from PIL import Image

from visionsweep.data.decoding import open_rgb
from visionsweep.errors import UserError

_WRITTEN: tuple[tuple[str, str, dict[str, object]], ...] = (
    ("RGB", "JPEG", {"exif": Image.Exif()}),
    ("RGB", "JPEG", {"progressive": True, "quality": 95}),
    ("L", "JPEG", {}),
    ("CMYK", "JPEG", {}),
    ("RGB", "PNG", {}),
    ("P", "PNG", {"transparency": 1}),
    ("RGBA", "PNG", {}),
    ("LA", "PNG", {}),
    ("I;16", "PNG", {}),
    ("1", "PNG", {}),
    ("P", "GIF", {"save_all": True}),
    ("RGB", "WEBP", {}),
    ("RGBA", "WEBP", {"lossless": True}),
    ("RGB", "TIFF", {}),
    ("RGB", "TIFF", {"compression": "tiff_lzw"}),
    ("RGB", "TIFF", {"compression": "jpeg"}),
    ("F", "TIFF", {}),
    ("I;16B", "TIFF", {}),
    ("I", "TIFF", {"compression": "tiff_deflate"}),
    ("LAB", "TIFF", {}),
    ("RGB", "BMP", {}),
    ("P", "BMP", {}),
    ("RGB", "PPM", {}),
    ("L", "PPM", {}),
    ("RGBA", "ICO", {}),
    ("RGB", "TGA", {"compression": "tga_rle"}),
    ("RGB", "JPEG2000", {}),
    ("RGB", "PCX", {}),
    ("RGB", "SGI", {}),
    ("RGBA", "DDS", {}),
    ("RGB", "AVIF", {}),
    ("RGB", "EPS", {}),
    ("RGB", "PDF", {}),
)


@cache
def seeds() -> list[bytes]:
    """Write an image in each format and mode that this Pillow writes."""
    written = []
    for mode, kind, options in _WRITTEN:
        stored = io.BytesIO()
        with suppress(OSError, ValueError, KeyError):  # not every Pillow writes every format
            _image(mode).save(stored, kind, **options)
            written.append(stored.getvalue())
    assert len(written) > 20
    return written


def _image(mode: str) -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 4), np.uint8)
    whole = Image.fromarray(noise, "RGBA").resize((90, 60), Image.Resampling.BICUBIC)
    if mode == "I;16B":
        return Image.frombytes(mode, (60, 80), noise.tobytes())
    if mode == "LAB":
        return Image.new(mode, whole.size)
    if mode.startswith("I") or mode == "F":
        return whole.convert("L").convert(mode)
    return (whole.convert("RGB") if mode in ("CMYK", "P") else whole).convert(mode)


def make(number: int) -> bytes:
    """Return mutated image number so-and-so."""
    chance = random.Random(f"image {number}")
    return mutated(chance.choice(seeds()), seeds(), chance)


def target(content: bytes, folder: Path) -> str:
    """Decode an image; return what came of it.

    Raises:
        AssertionError: if the result is no RGB image.
    """
    try:
        image = open_rgb(content)
    except UserError as error:
        assert str(error)
        return "refused"
    assert image.mode == "RGB" and len(image.tobytes()) == 3 * image.width * image.height
    return "decoded"
