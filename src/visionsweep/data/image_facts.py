"""Digests, perceptual hashes, gray values, and repairs of image files, cached."""

import logging
import os
import stat
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Annotated

import msgspec

from visionsweep.command_memory import remembered
from visionsweep.data.decoding import ImageFacts, examine, read_file
from visionsweep.data.formats import UnreadableImageError
from visionsweep.data.images import digest_of
from visionsweep.errors import warn_loudly, warn_once
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
    """

    size: int
    mtime: int  # time of the last change of the content, in ns
    ctime: int  # time of the last change of the status, in ns
    inode: int  # 0 if the file system has none
    device: int


class Inspected(msgspec.Struct, frozen=True, array_like=True):
    """Content digest of an image file, and facts about the decoded image."""

    digest: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{32}\Z")]
    facts: ImageFacts


_Entries = list[tuple[Stamp, Inspected]]  # of one path, newest first


@remembered()
def _verified() -> set[tuple[str, Stamp | None]]:
    """Return the files that were read although they are cached."""
    return set()


def inspect(
    paths: Sequence[Path], cache_file: Path | None = None, *, verify: bool = False
) -> dict[Path, Inspected | UnreadableImageError]:
    """Read and examine image files, and return their facts, or why they cannot be used.

    Of files with the same content, one is decoded. Decoding releases the interpreter lock, so
    threads use all cores.

    Args:
        paths: image files.
        cache_file: JSON file of facts by path and stamp; created and updated. A file changed so
            recently that a further change might keep its time is not cached.
        verify: True to read cached images too, once per command, and to warn of files whose
            content changed unnoticed.
    """
    cached = {} if cache_file is None else _read_cache(cache_file, _stamp(cache_file))
    keys = {path: as_text(path.absolute()) for path in paths}
    stamps = {path: _stamp(path) for path in paths}
    hits = {
        path: inspected
        for path in paths
        for stamp, inspected in cached.get(keys[path], [])
        if stamp == stamps[path] and inspected.facts.phash is not None
    }
    missing = [
        p for p in paths if p not in hits or (verify and (keys[p], stamps[p]) not in _verified())
    ]
    start = time.time_ns()
    facts: dict[str, ImageFacts] = {}  # by digest
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        examined = threads.map(partial(_inspect, facts=facts), missing)
        results = dict(zip(missing, examined, strict=True))
    if verify:
        _verified().update((keys[path], stamps[path]) for path in missing)
    if changed := [
        p for p, r in results.items() if p in hits and hits[p].digest != getattr(r, "digest", "")
    ]:
        log.warning(
            "%d images changed although their size, times, and inode did not; earlier runs used "
            "the cached digests of the old content:%s",
            len(changed),
            listed(changed),
        )
    if without_inode := [p for p, stamp in stamps.items() if stamp and not stamp.inode]:
        warn_loudly(
            log,
            f"{without_inode[0].parent}: THIS FILE SYSTEM GIVES FILES NO INODE NUMBERS.",
            "An image replaced by another one of the same size and times goes unnoticed.",
            "data.verify=true reads every image again.",
        )
    added: dict[str, _Entries] = {}
    for path, result in results.items():
        stamp, known = stamps[path], cached.get(keys[path], [])
        if stamp is None or isinstance(result, UnreadableImageError) or hits.get(path) == result:
            continue
        # Within a tick of the file system's clock, two changes may get the same time.
        tick = 2_000_000_000 if stamp.ctime % 1_000_000_000 == 0 else 100_000_000
        if stamp.ctime + tick < start:
            others = [entry for entry in known if entry[0] != stamp]
            added[keys[path]] = [(stamp, result), *others[: _STAMPS_PER_FILE - 1]]
    if cache_file is not None and added:
        # Entries written by another process in the meantime are lost, and computed again.
        keep(cache_file, msgspec.json.encode(cached | added))
    return {path: results.get(path) or hits[path] for path in paths}


def _inspect(path: Path, facts: dict[str, ImageFacts]) -> Inspected | UnreadableImageError:
    """Read a file, and examine it unless `facts` holds its digest, to which it is added."""
    try:
        content = read_file(path)
        digest = digest_of(content)
        if digest not in facts:
            facts[digest] = examine(content, path)
        return Inspected(digest, facts[digest])
    except UnreadableImageError as error:
        return error


@remembered(maxsize=1)
def _read_cache(cache_file: Path, stamp: Stamp | None) -> dict[str, _Entries]:
    try:
        return decode_json(read_regular(cache_file, _LARGEST), dict[str, _Entries])
    except (OSError, ValueError):  # missing, damaged, or of an earlier version
        return {}


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


def warn_of_repairs(repairs: Mapping[Path, str]) -> None:
    """Warn once per command of images that are used although their files have these problems."""
    if repairs:
        files = listed((f"{path}: {problem}" for path, problem in repairs.items()), most=5)
        warn_once(
            log,
            "Images with broken metadata or no end marker, used because all of their pixels are "
            f"there: {len(repairs)}{files}",
        )
