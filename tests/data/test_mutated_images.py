"""Images with random damage are decoded or refused by name, quickly and without a traceback."""

import io
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from visionsweep.data.decoding import decode, examine
from visionsweep.data.formats import UnreadableImageError

KINDS = {
    "JPEG": {},
    "progressive": {"format": "JPEG", "progressive": True},
    "PNG": {},
    "WEBP": {},
    "GIF": {},
    "TIFF": {"compression": "tiff_lzw"},
    "BMP": {},
    "PPM": {},
    "TGA": {},
    "ICO": {},
    "JPEG2000": {},
    "AVIF": {"speed": 10},
}
MUTANTS = 40
EXTREMES = [0, 1, 0x7FFFFFFF, 0xFFFFFFFF]


def original(kind: str, rng: np.random.Generator) -> bytes:
    noise = rng.integers(0, 256, (6, 8, 3), np.uint8)
    stored = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    image = Image.fromarray(noise).resize((64, 48), Image.Resampling.BICUBIC)
    image.save(stored, **({"format": kind, "exif": exif.tobytes()} | KINDS[kind]))
    return stored.getvalue()


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.integers(1, 8)):
        place = int(rng.integers(len(changed)) ** rng.choice([1, 1, 0.5]))
        match rng.integers(5):
            case 0:
                changed[place] = rng.integers(256)
            case 1:
                changed[place : place + 4] = rng.choice([0, 1, 0x7FFFFFFF, 0xFFFFFFFF]).tobytes()[
                    :4
                ]
            case 2:
                del changed[place : place + int(rng.integers(1, 40))]
            case 3:
                changed[place:place] = rng.bytes(int(rng.integers(1, 40)))
            case _:
                del changed[max(20, len(changed) - int(rng.integers(1, 300))) :]
        changed = changed or bytearray(b"\0")
    return bytes(changed)


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_file_gives_an_image_or_the_user_error_of_its_examination(kind: str) -> None:
    rng = np.random.default_rng(list(KINDS).index(kind))
    content = original(kind, rng)
    outcomes = set()
    for _ in range(MUTANTS):
        mutant = damaged(content, rng)
        start = time.perf_counter()
        examined = outcome(examine, mutant)
        decoded = outcome(decode, mutant)
        assert time.perf_counter() - start < 10
        if isinstance(decoded, UnreadableImageError):
            assert isinstance(examined, UnreadableImageError)
            assert examined.what == decoded.what and decoded.where == "mutant"
            assert "\n" not in decoded.what and len(decoded.what) < 300
            outcomes.add("sentence")
        else:
            assert decoded.image.mode == "RGB" and min(decoded.image.size) > 0
            assert examined.repair == decoded.repair
            outcomes.add("picture")
    assert "sentence" in outcomes


def outcome(read: Callable[..., Any], mutant: bytes) -> Any:
    try:
        return read(mutant, where="mutant")
    except UnreadableImageError as error:
        return error
