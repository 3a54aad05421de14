"""Facts about decoded images (gray values, repairs), cached by content."""

import logging
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import msgspec

from visionsweep.data.decoding import ImageFacts, examine, read_file
from visionsweep.data.formats import UnreadableImageError
from visionsweep.data.gray import GrayRange, range_of
from visionsweep.data.images import ImageFile, digest_of, lost
from visionsweep.storage.cache import keep
from visionsweep.storage.untrusted import MB, decode_json, read_regular

log = logging.getLogger(__name__)

_Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]
_ORDINARY = ImageFacts()
_MOST_LISTED = 5
_by_digest: dict[str, ImageFacts] = {}
_warned: set[str] = set()


def look_at(path: Path) -> str:
    """Decode an image file, cache its facts, and return its content digest.

    Raises:
        UnreadableImageError: if the file cannot be used.
    """
    content = read_file(path)
    facts = examine(content, path)
    digest = digest_of(content)
    _by_digest[digest] = facts
    return digest


def facts_of(files: Sequence[ImageFile], memory: Path | None) -> list[ImageFacts]:
    """Return the facts of images; each is decoded at most once.

    Args:
        files: images.
        memory: JSON file that caches facts by digest; created and updated.
    """
    known = _recall(memory) | _by_digest
    lacking = {file.digest: file for file in files if file.digest not in known}
    if lacking:
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            for file, digest in zip(
                lacking.values(), threads.map(_look_again, lacking.values()), strict=True
            ):
                known[file.digest] = _by_digest[digest]
    found = {file.digest: known[file.digest] for file in files}
    if memory is not None and found.keys() - _recall(memory).keys():
        everything = _recall(memory) | found
        short = {d: None if f == _ORDINARY else f for d, f in everything.items()}
        keep(memory, msgspec.json.encode(short))
    return [found[file.digest] for file in files]


def _look_again(file: ImageFile) -> str:
    try:
        return look_at(file.path)
    except UnreadableImageError as error:
        raise lost(file.path, str(error)) from error


def _recall(memory: Path | None) -> dict[str, ImageFacts]:
    if memory is None:
        return {}
    try:
        content = read_regular(memory, 1024 * MB)
        kept = decode_json(content, dict[_Digest, ImageFacts | None])
    except (OSError, ValueError):
        return {}
    return {digest: facts or _ORDINARY for digest, facts in kept.items()}


def gray_range_of(
    train: Sequence[ImageFacts], others: Sequence[ImageFacts], setting: Sequence[float] | None
) -> GrayRange | None:
    """Return the gray values that become black and white, or None without deep gray images.

    Args:
        train: facts of the training images, which are measured.
        others: facts of all other images, measured only if no training image is a deep gray one.
        setting: configured range, or None.
    """
    measured = range_of(f.gray for f in train if f.gray) or range_of(
        f.gray for f in others if f.gray
    )
    if setting is None:
        return measured
    if measured is None:
        _warn_once("data.gray_range has no effect: no image has gray values of more than 8 bits")
        return None
    return setting[0], setting[1]


def warn_of_repairs(repaired: Mapping[Path, str]) -> None:
    """Warn once per process of images that are used although their files are broken.

    Args:
        repaired: what is broken in each file.
    """
    if repaired:
        listed = [f"\n  {path}: {why}" for path, why in list(repaired.items())[:_MOST_LISTED]]
        more = len(repaired) - len(listed)
        _warn_once(
            "Images with broken metadata or no end marker, used because all of their pixels are "
            f"there: {len(repaired)}{''.join(listed)}" + (f"\n  and {more} more" if more else "")
        )


def _warn_once(text: str) -> None:
    if text not in _warned:
        _warned.add(text)
        log.warning("%s", text)
