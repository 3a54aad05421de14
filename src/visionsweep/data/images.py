"""Image files: which there are, and what they hold."""

import hashlib
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import msgspec

from visionsweep.cache import keep
from visionsweep.data.decoding import UnreadableImageError, image_suffixes, open_rgb
from visionsweep.errors import UserError
from visionsweep.files import why


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A labelled image on disk.

    Attributes:
        path: where it lies.
        label: index of its class.
        digest: BLAKE2b of the file's bytes, 32 hexadecimal digits: the same for every copy.
    """

    path: Path
    label: int
    digest: str


def lost(path: Path, said: str) -> UserError:
    """Word the error of an image that was there when its data set was put together.

    Args:
        path: the image.
        said: why it cannot be read, beginning with its path.
    """
    gone = ""
    for folder in path.absolute().parents:
        if os.path.exists(folder):  # noqa: PTH110 - Path.exists raises where it may not look
            break
        gone = f", and the folder {folder} is gone"
    return UserError(
        f"{said}{gone}. It was there when this run began; bring it back, then give the same "
        "command again."
    )


def list_images(folder: Path) -> list[Path]:
    """List the image files below a folder, sorted; hidden files and other files are passed over.

    Raises:
        UserError: if a folder cannot be read: what it holds is not passed over.
    """
    return sorted(
        Path(parent) / name
        for parent, folders, names in os.walk(folder, followlinks=True, onerror=_refuse_unread)
        if not folders.sort()
        for name in names
        if not name.startswith(".") and Path(name).suffix.lower() in image_suffixes()
    )


def _refuse_unread(error: OSError) -> None:
    raise UserError(f"{error.filename}: this folder cannot be read: {why(error)}") from error


def digest_of(content: bytes | memoryview) -> str:
    """Return what names an image by its content: BLAKE2b, 32 hexadecimal digits."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def inspect(
    paths: Sequence[Path], memory: Path | None = None
) -> dict[Path, str | UnreadableImageError]:
    """Read and decode every image once: its digest, or why it cannot be used.

    Decoding releases Python's interpreter lock, so threads use every core.

    Args:
        paths: image files.
        memory: a JSON file that remembers digests by path, size and time of change, so that an
            image already looked at is not opened again; made and kept up to date. A file changed
            within the last two seconds is not remembered: it may change again unseen.
    """
    known = _recall(memory)
    stamps = {path: _stamp(path) for path in paths}
    fresh = [path for path in paths if known.get(str(path.absolute()), ("",))[:-1] != stamps[path]]
    looked = _look_at(fresh)
    settled = time.time_ns() - 2_000_000_000
    news = {
        str(path.absolute()): (*stamps[path], content)
        for path, content in looked.items()
        if isinstance(content, str) and stamps[path][1] < settled
    }
    if memory is not None and news:
        # Another process may have written in between; what is lost is only looked at again.
        everything = known | news
        if keep(memory, msgspec.json.encode(everything)):
            _recalled[memory] = (_stamp(memory)[1], everything)
    return {path: looked.get(path) or known[str(path.absolute())][-1] for path in paths}


# size in bytes, time of change in ns, digest
_Memory = dict[str, tuple[int, int, str]]
_recalled: dict[Path, tuple[int, _Memory]] = {}


def _recall(memory: Path | None) -> _Memory:
    if memory is None:
        return {}
    try:
        written = memory.stat().st_mtime_ns
        if memory not in _recalled or _recalled[memory][0] != written:
            _recalled[memory] = (written, msgspec.json.decode(memory.read_bytes(), type=_Memory))
    except (OSError, msgspec.DecodeError):
        return {}
    return _recalled[memory][1]


def _stamp(path: Path) -> tuple[int, int]:
    try:
        facts = path.stat()
    except OSError:
        return (-1, -1)
    return (facts.st_size, facts.st_mtime_ns)


def _look_at(paths: Sequence[Path]) -> dict[Path, str | UnreadableImageError]:
    def look(path: Path) -> str | UnreadableImageError:
        try:
            content = path.read_bytes()
            open_rgb(content)
        except UnreadableImageError as error:
            return UnreadableImageError(str(error).replace("the image", str(path), 1))
        except OSError as error:
            return UnreadableImageError(f"{path}: cannot be read: {error.strerror}")
        return digest_of(content)

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return dict(zip(paths, threads.map(look, paths), strict=True))
