"""Digests, gray values, and repairs of image files, cached so that unchanged files stay closed."""

import logging
import os
import stat
import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import msgspec

from visionsweep.command_memory import remembered
from visionsweep.data.decoding import ImageFacts, examine, read_file
from visionsweep.data.formats import UnreadableImageError
from visionsweep.data.gray import GrayRange, range_of
from visionsweep.data.images import digest_of
from visionsweep.errors import warn_loudly
from visionsweep.storage.cache import keep
from visionsweep.storage.untrusted import MB, decode_json, read_regular
from visionsweep.text.escaping import listed
from visionsweep.text.paths import as_text

log = logging.getLogger(__name__)

_STAMPS_PER_FILE = 4  # machines that share a cache may number its file systems differently
_LARGEST = 1024 * MB  # bytes of a cache file, enough for millions of images


class Stamp(msgspec.Struct, frozen=True, array_like=True):
    """File status that changes with the content.

    Size and modification time do not suffice: `mv`, `cp -p`, `rsync -a`, and `unzip` replace a file
    and keep the time. They change the inode number or the time of the last status change.

    Attributes:
        size: number of bytes.
        mtime, ctime: times of the last change of content and of status, in ns.
        inode: number of the file in its file system; 0 if the file system has none.
        device: number of the file system.
    """

    size: int
    mtime: int
    ctime: int
    inode: int
    device: int


class Inspected(msgspec.Struct, frozen=True, array_like=True):
    """Content digest of an image file, and facts about the decoded image."""

    digest: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{32}\Z")]
    facts: ImageFacts


_Entries = list[tuple[Stamp, Inspected]]  # of one path, newest first


@remembered()
def _parsed() -> dict[Path, tuple[Stamp | None, dict[str, _Entries]]]:
    """Return the parsed cache files, with their stamps."""
    return {}


@remembered()
def _verified() -> set[tuple[str, Stamp]]:
    """Return the files that were read although they are cached."""
    return set()


def inspect(
    paths: Sequence[Path], cache_file: Path | None = None, *, verify: bool = False
) -> dict[Path, Inspected | UnreadableImageError]:
    """Read and decode image files, and return their facts, or why they cannot be used.

    Decoding releases the interpreter lock, so threads use all cores.

    Args:
        paths: image files.
        cache_file: JSON file of facts by path and stamp; created and updated. A file changed so
            recently that a further change might keep its time is not cached.
        verify: True to read cached images too, once per command, and to warn of files whose
            content changed unnoticed.
    """
    cached = _read_cache(cache_file)
    keys = {path: as_text(path.absolute()) for path in paths}
    stamps = {path: _stamp(path) for path in paths}
    hits = {p: hit for p in paths if (hit := _lookup(cached.get(keys[p], []), stamps[p]))}
    missing = [
        p for p in paths if p not in hits or (verify and (keys[p], stamps[p]) not in _verified())
    ]
    start = time.time_ns()
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        results = dict(zip(missing, threads.map(_inspect, missing), strict=True))
    if verify:
        _verified().update((keys[p], stamp) for p in missing if (stamp := stamps[p]) is not None)
        digests = {p: getattr(results[p], "digest", None) for p in missing}
        _warn_of_changes([p for p in missing if p in hits and hits[p].digest != digests[p]])
    _warn_of_missing_inodes(stamps)
    added = {
        keys[path]: [
            (stamp, result),
            *[e for e in cached.get(keys[path], []) if e[0] != stamp][: _STAMPS_PER_FILE - 1],
        ]
        for path, result in results.items()
        if isinstance(result, Inspected)
        and (stamp := stamps[path]) is not None
        and hits.get(path) != result
        and stamp.ctime + _clock_tick(stamp) < start
    }
    if cache_file is not None and added:
        # Entries written by another process in the meantime are lost, and computed again.
        entries = cached | added
        if keep(cache_file, msgspec.json.encode(entries)):
            _parsed()[cache_file] = (_stamp(cache_file), entries)
    return {path: results.get(path) or hits[path] for path in paths}


def _inspect(path: Path) -> Inspected | UnreadableImageError:
    try:
        content = read_file(path)
        return Inspected(digest_of(content), examine(content, path))
    except UnreadableImageError as error:
        return error


def _read_cache(cache_file: Path | None) -> dict[str, _Entries]:
    stamp = None if cache_file is None else _stamp(cache_file)
    if cache_file is None or stamp is None:
        return {}
    if cache_file not in _parsed() or _parsed()[cache_file][0] != stamp:
        try:
            content = read_regular(cache_file, _LARGEST)
            _parsed()[cache_file] = stamp, decode_json(content, dict[str, _Entries])
        except (OSError, ValueError):  # damaged, or of an earlier version
            return {}
    return _parsed()[cache_file][1]


def _stamp(path: Path) -> Stamp | None:
    """Return the stamp of a regular file; None for anything else, such as a named pipe."""
    try:
        status = path.stat()
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    times = status.st_mtime_ns, status.st_ctime_ns
    return Stamp(status.st_size, *times, status.st_ino, status.st_dev)


def _lookup(entries: _Entries, stamp: Stamp | None) -> Inspected | None:
    return next((result for earlier, result in entries if earlier == stamp), None)


def _clock_tick(stamp: Stamp) -> int:
    """Return within how many ns two changes may get the same time on this file system."""
    return 2_000_000_000 if stamp.ctime % 1_000_000_000 == 0 else 100_000_000


def _warn_of_changes(paths: Collection[Path]) -> None:
    if paths:
        log.warning(
            "%d images changed although their size, times, and inode did not; earlier runs used "
            "the cached digests of the old content:%s",
            len(paths),
            listed(paths),
        )


def _warn_of_missing_inodes(stamps: Mapping[Path, Stamp | None]) -> None:
    first = next((p for p, stamp in stamps.items() if stamp is not None and not stamp.inode), None)
    if first is not None:
        warn_loudly(
            log,
            f"{first.parent}: THIS FILE SYSTEM GIVES FILES NO INODE NUMBERS.",
            "An image replaced by another one of the same size and times goes unnoticed.",
            "data.verify=true reads every image again.",
        )


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


def warn_of_repairs(repairs: Mapping[Path, str]) -> None:
    """Warn once per command of images that are used although their files have these problems."""
    if repairs:
        files = listed((f"{path}: {problem}" for path, problem in repairs.items()), most=5)
        _warn_once(
            "Images with broken metadata or no end marker, used because all of their pixels are "
            f"there: {len(repairs)}{files}"
        )


@remembered()
def _warn_once(text: str) -> None:
    log.warning("%s", text)
