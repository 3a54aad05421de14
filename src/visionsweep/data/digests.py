"""Content digests of image files, cached so that unchanged images are not opened again."""

import logging
import os
import stat
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import msgspec

from visionsweep.data.formats import UnreadableImageError
from visionsweep.data.image_facts import look_at
from visionsweep.errors import warn_loudly
from visionsweep.storage.cache import keep
from visionsweep.storage.untrusted import MB, decode_json, read_regular
from visionsweep.text.paths import as_text

log = logging.getLogger(__name__)

# Machines that share a cache may know one file system by different device numbers.
_STAMPS_PER_FILE = 4
_MOST_LISTED = 20


class Stamp(msgspec.Struct, frozen=True, array_like=True):
    """File status that changes with the content.

    Size and modification time are not enough: `mv`, `cp -p`, `rsync -a` and `unzip` replace a file
    and keep the time. They change the inode number or the time of the last status change.

    Attributes:
        size: in bytes.
        mtime, ctime: times of the last change of content and of status, in ns.
        inode: number of the file in its file system; 0 where a file system has none.
        device: number of the file system.
    """

    size: int
    mtime: int
    ctime: int
    inode: int
    device: int


_LARGEST = 1024 * MB  # of a memory; millions of images
_Digest = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{32}\Z")]
_Entries = list[tuple[Stamp, _Digest]]  # of one file, the newest first


class _Memory(msgspec.Struct, forbid_unknown_fields=True):
    """The content of a memory file; one of another version is not read."""

    stamped_files: dict[str, _Entries] = {}


_recalled: dict[Path, tuple[Stamp | None, _Memory]] = {}
_verified: set[tuple[str, Stamp]] = set()


def inspect(
    paths: Sequence[Path], memory: Path | None = None, *, verify: bool = False
) -> dict[Path, str | UnreadableImageError]:
    """Read and decode every image once, and return its digest or why it cannot be used.

    Decoding releases the interpreter lock, so threads use all cores.

    Args:
        paths: image files.
        memory: JSON file that caches digests by path and stamp; created and updated. A file changed
            so recently that a further change might keep its time is not cached.
        verify: whether to read cached images too, once per process, and to warn of files whose
            content changed unnoticed.
    """
    known = _recall(memory).stamped_files
    keys = {path: as_text(path.absolute()) for path in paths}
    stamps = {path: _stamp(path) for path in paths}
    remembered = {p: d for p in paths if (d := _remembered(known.get(keys[p], []), stamps[p]))}
    if verify:
        trusted = {p: d for p, d in remembered.items() if (keys[p], stamps[p]) in _verified}
    else:
        trusted = remembered
    start = time.time_ns()
    looked = _look_at([path for path in paths if path not in trusted])
    if verify:
        _verified.update((keys[p], s) for p in looked if (s := stamps[p]) is not None)
        _warn_of_changes({p: d for p, d in remembered.items() if looked.get(p, d) != d})
    _warn_of_missing_inodes(stamps)
    news = {
        keys[path]: [(stamp, content), *_others(known.get(keys[path], []), stamp)]
        for path, content in looked.items()
        if isinstance(content, str)
        and (stamp := stamps[path]) is not None
        and remembered.get(path) != content
        and stamp.ctime + _clock_tick(stamp) < start
    }
    if memory is not None and news:
        # Another process may have written in between; what is lost is only looked at again.
        everything = _Memory(known | news)
        if keep(memory, msgspec.json.encode(everything)):
            _recalled[memory] = (_stamp(memory), everything)
    return {path: looked.get(path) or trusted[path] for path in paths}


def _recall(memory: Path | None) -> _Memory:
    stamp = None if memory is None else _stamp(memory)
    if memory is None or stamp is None:
        return _Memory()
    if memory not in _recalled or _recalled[memory][0] != stamp:
        try:
            content = read_regular(memory, _LARGEST)
            _recalled[memory] = stamp, decode_json(content, _Memory)
        except (OSError, ValueError):  # also of an earlier version
            return _Memory()
    return _recalled[memory][1]


def _stamp(path: Path) -> Stamp | None:
    """Return a regular file's stamp; None for what is none, a named pipe for example."""
    try:
        facts = path.stat()
    except OSError:
        return None
    if not stat.S_ISREG(facts.st_mode):
        return None
    return Stamp(facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino, facts.st_dev)


def _remembered(entries: _Entries, stamp: Stamp | None) -> str | None:
    return next((digest for earlier, digest in entries if earlier == stamp), None)


def _others(entries: _Entries, stamp: Stamp) -> _Entries:
    """Return the entries to keep beside a new one."""
    return [entry for entry in entries if entry[0] != stamp][: _STAMPS_PER_FILE - 1]


def _clock_tick(stamp: Stamp) -> int:
    """Return within how many ns two changes may leave the same time on this file system."""
    return 2_000_000_000 if stamp.ctime % 1_000_000_000 == 0 else 100_000_000


def _look_at(paths: Sequence[Path]) -> dict[Path, str | UnreadableImageError]:
    def look(path: Path) -> str | UnreadableImageError:
        try:
            return look_at(path)
        except UnreadableImageError as error:
            return error

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return dict(zip(paths, threads.map(look, paths), strict=True))


def _warn_of_changes(changed: Mapping[Path, str]) -> None:
    if changed:
        listed = "\n  ".join(str(path) for path in list(changed)[:_MOST_LISTED])
        more = len(changed) - _MOST_LISTED
        log.warning(
            "%d images changed although their size, times and inode did not; earlier runs that "
            "remembered them used the old content:\n  %s%s",
            len(changed),
            listed,
            f"\n  and {more} more" if more > 0 else "",
        )


def _warn_of_missing_inodes(stamps: Mapping[Path, Stamp | None]) -> None:
    first = next((p for p, stamp in stamps.items() if stamp is not None and not stamp.inode), None)
    if first is not None:
        warn_loudly(
            log,
            f"{first.parent}: THIS FILE SYSTEM GIVES FILES NO INODE NUMBERS.",
            "An image replaced by another of the same size and times is not noticed there.",
            "data.verify=true reads every image again.",
        )
