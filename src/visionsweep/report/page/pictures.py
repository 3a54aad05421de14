"""Pictures for the page: only the images whose digests the run recorded.

The page embeds what it opens, and the paths stand in a file that somebody else may have written. So
an image is shown only if its bytes have the digest that the run's `logits.safetensors` names in the
same place, which nobody can know who does not have the image.
"""

import base64
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from visionsweep.data.decoding import UnreadableImageError, open_rgb
from visionsweep.data.gray import GrayRange
from visionsweep.data.images import digest_of
from visionsweep.runs import logits
from visionsweep.runs.discovery import Run
from visionsweep.storage.untrusted import MB, read_regular

SIDE = 160  # pixels of a shrunk image, at most
_LARGEST = 256 * MB  # of an image file
_ESCAPE = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8})|([nrt]))")
_NAMED = {"n": "\n", "r": "\r", "t": "\t"}


@dataclass(frozen=True)
class Picture:
    """An image shrunk for the page, or why there is none.

    Attributes:
        uri: a `data:` URI, or None.
        size: width and height in pixels.
        missing: why there is no picture, or nothing.
    """

    uri: str | None
    size: tuple[int, int] = (SIDE, SIDE)
    missing: str = ""


def recorded_digests(run: Run, split: str, images: int) -> Sequence[str] | None:
    """Return the digests of a split's images as the run recorded them, in the order of its table.

    Args:
        run: the run.
        split: "val" or "test".
        images: how many rows the table has.

    Returns:
        None where it recorded none that can be read, or another number of them.
    """
    try:
        found = (logits.read(run.directory, run.record, {split}) or {}).get(split)
    except ValueError:
        return None
    return found.images if found is not None and len(found.images) == images else None


def picture(written: str, digest: str, gray_range: GrayRange | None = None) -> Picture:
    """Open an image, compare it with its digest, and shrink it.

    Args:
        written: its path, as the table of predictions writes it.
        digest: of its bytes.
        gray_range: gray values that become black and white in images of more than 8 bits per pixel.
    """
    missing = "not found"
    for path in _meant(written):
        try:
            # A link is followed, as it was by the run: the digest decides.
            content = read_regular(path.resolve(), _LARGEST)
        except (OSError, RuntimeError):  # RuntimeError: links that lead in a circle
            continue
        except ValueError:
            missing = "not a file of an image"
            continue
        if digest_of(content) != digest:
            missing = "not the image that the run used"
            continue
        return _shrunk(content, gray_range)
    return Picture(None, missing=missing)


def _meant(written: str) -> Iterator[Path]:
    """Yield the paths that a cell can stand for: itself, and what was escaped in it."""
    texts = [written]
    if written.startswith("'"):
        texts.append(written[1:])
    texts += [_ESCAPE.sub(_letter, text) for text in texts if "\\" in text]
    for text in texts:
        if "\0" not in text:
            yield Path(text)


def _letter(match: re.Match[str]) -> str:
    if match[4]:
        return _NAMED[match[4]]
    code = int(match[1] or match[2] or match[3], 16)
    return chr(code) if code < 0x110000 else match[0]


def _shrunk(content: bytes, gray_range: GrayRange | None) -> Picture:
    try:
        image = open_rgb(content, gray_range)
    except UnreadableImageError:
        return Picture(None, missing="cannot be read")
    image.thumbnail((SIDE, SIDE))
    stored = io.BytesIO()
    image.save(stored, "JPEG", quality=82, optimize=True)
    uri = f"data:image/jpeg;base64,{base64.b64encode(stored.getvalue()).decode()}"
    return Picture(uri, image.size)
