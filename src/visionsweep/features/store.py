"""The feature store: what a frozen backbone made of an image, kept by the image's content.

Features lie in `CACHE/features/KEY/`, one folder for each backbone and transform, in shards:
immutable safetensors files of some hundred images, each naming its images' digests. Readers merge
the shards and map them into memory. There is no server and no database; by a lock file one process
extracts while the others wait for what it finds.
"""

import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from visionsweep.data.images import digest_of
from visionsweep.files import write_atomically

log = logging.getLogger(__name__)

FORMAT = "visionsweep-features-1"
SUFFIX = ".safetensors"
DAMAGED = ".damaged"  # takes the suffix's place where a shard cannot be used
SHARD_IMAGES = 512  # what a killed process loses at most

Extract = Callable[[list[str]], Iterator[tuple[list[str], torch.Tensor]]]


class DamagedShardError(Exception):
    """A shard that is not whole, or not ours."""


@dataclass(frozen=True)
class Shard:
    """A shard on disk, verified.

    Attributes:
        path: the file.
        digests: of the images, in the order of the rows.
        features: `float32[N, width]`, mapped from the file.
    """

    path: Path
    digests: list[str]
    features: torch.Tensor


def read_shard(path: Path, key: str | None = None) -> Shard:
    """Map a shard into memory and verify its checksum.

    Args:
        path: the file.
        key: the store key that it must have been written under, or None for any.

    Raises:
        DamagedShardError: if it is truncated, changed, of another format or of another key.
        FileNotFoundError: if it has gone, as another process made room.
    """
    try:
        with safe_open(path, framework="pt") as opened:
            facts = opened.metadata() or {}
            if facts.get("format") != FORMAT:
                raise DamagedShardError("not a file of this store")
            features = opened.get_tensor("features")
        digests = msgspec.json.decode(facts.get("digests", ""), type=list[str])
    except FileNotFoundError:
        raise
    except (SafetensorError, OSError, ValueError, msgspec.DecodeError) as error:
        raise DamagedShardError(f"not whole: {error}") from error
    if key is not None and facts.get("key") != key:
        raise DamagedShardError("written for another backbone or transform")
    if features.dtype != torch.float32 or features.ndim != 2 or not features.numel():
        raise DamagedShardError("holds no features")
    if len(digests) != len(features) or path.name != _file_name(digests):
        raise DamagedShardError("holds other images than its name says")
    if _checksum(features) != facts.get("checksum"):
        raise DamagedShardError("its content has changed since it was written")
    return Shard(path, digests, features)


def _file_name(digests: Sequence[str]) -> str:
    """Name a shard by its images: the name vouches for the list, the checksum for the features."""
    return f"{digest_of(''.join(digests).encode())}{SUFFIX}"


def _checksum(features: torch.Tensor) -> str:
    numbers: Any = features.numpy()
    return digest_of(memoryview(numbers).cast("B"))


@dataclass
class FeatureStore:
    """The features of one backbone under one transform.

    Attributes:
        folder: where the shards lie.
        key: names backbone, transform and versions; written into every shard.
        about: what the key stands for, for people.
        max_bytes: how large all features of the cache may be together.
    """

    folder: Path
    key: str
    about: dict[str, str]
    max_bytes: int
    _shards: dict[Path, Shard] = field(default_factory=dict, repr=False)
    _places: dict[str, tuple[Path, int]] = field(default_factory=dict, repr=False)

    def get(self, digests: Sequence[str], extract: Extract) -> torch.Tensor:
        """Return the features of images, extracting and keeping those that are not here yet.

        Args:
            digests: content digests; one may stand more than once.
            extract: gives the features of the digests it is asked for, part by part.

        Returns:
            `float32[N, width]` in the order of `digests`.

        Raises:
            UserError: whatever `extract` raises.
        """
        self._refresh()
        if self._missing(digests):
            with self._alone():
                self._refresh()
                if missing := self._missing(digests):
                    self.folder.mkdir(exist_ok=True)
                    write_atomically(
                        self.folder / "about.json", json.dumps(self.about, indent=2).encode()
                    )
                    self._fill(missing, extract)
                    make_room(self.folder.parent, self.max_bytes, keep=self._used_by(digests))
        return self._gather(digests)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the store's lock; that of a process that died is free by itself."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        lock = lock_of(self.folder)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.info("Waiting for another process that extracts the same features")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _missing(self, digests: Sequence[str]) -> list[str]:
        return [digest for digest in dict.fromkeys(digests) if digest not in self._places]

    def _refresh(self) -> None:
        """Take note of shards that came, and forget those that went."""
        there = set(self.folder.glob(f"*{SUFFIX}")) if self.folder.is_dir() else set()
        for gone in set(self._shards) - there:
            self._forget(gone)
        for path in sorted(there - set(self._shards)):
            try:
                shard = read_shard(path, self.key)
            except FileNotFoundError:
                continue
            except DamagedShardError as error:
                set_aside(path, str(error))
                continue
            self._add(shard)

    def _add(self, shard: Shard) -> None:
        self._shards[shard.path] = shard
        for row, digest in enumerate(shard.digests):
            self._places.setdefault(digest, (shard.path, row))

    def _forget(self, path: Path) -> None:
        del self._shards[path]
        self._places = {d: place for d, place in self._places.items() if place[0] != path}

    def _fill(self, missing: list[str], extract: Extract) -> None:
        digests: list[str] = []
        rows: list[torch.Tensor] = []
        for some, features in extract(missing):
            digests += some
            rows.append(features)
            if len(digests) >= SHARD_IMAGES:
                self._write(digests, torch.cat(rows))
                digests, rows = [], []
        if digests:
            self._write(digests, torch.cat(rows))

    def _write(self, digests: list[str], features: torch.Tensor) -> None:
        features = features.float().contiguous()
        facts = {
            "format": FORMAT,
            "key": self.key,
            "digests": json.dumps(digests),
            "checksum": _checksum(features),
        }
        path = self.folder / _file_name(digests)
        write_atomically(path, save({"features": features}, facts))
        try:
            shard = read_shard(path, self.key)
        except FileNotFoundError:  # another process made room at once
            shard = Shard(path, digests, features)
        self._add(shard)

    def _used_by(self, digests: Sequence[str]) -> set[Path]:
        return {self._places[digest][0] for digest in digests}

    def _gather(self, digests: Sequence[str]) -> torch.Tensor:
        places = [self._places[digest] for digest in digests]
        width = self._shards[places[0][0]].features.shape[1]
        out = torch.empty(len(digests), width)
        by_shard: dict[Path, tuple[list[int], list[int]]] = {}
        for position, (path, row) in enumerate(places):
            positions, rows = by_shard.setdefault(path, ([], []))
            positions.append(position)
            rows.append(row)
        for path, (positions, rows) in by_shard.items():
            # Selecting by an index tensor takes a tenth of the time that features[rows] takes.
            found = self._shards[path].features.index_select(0, torch.tensor(rows))
            out.index_copy_(0, torch.tensor(positions), found)
            with suppress(OSError):  # gone already, or in a cache that may only be read
                os.utime(path)  # used now: what was not is the first to make room
        return out


def lock_of(folder: Path) -> FileLock:
    """Return the lock that whoever extracts for a store, or deletes it, holds meanwhile."""
    return FileLock(folder.with_suffix(".lock"))


def set_aside(path: Path, reason: str) -> None:
    """Rename a shard that cannot be used, so that its images are extracted again."""
    aside = path.with_suffix(DAMAGED)
    log.warning("%s: %s; set aside as %s, its images are extracted again", path, reason, aside.name)
    with suppress(FileNotFoundError):  # another process was quicker
        path.replace(aside)


def make_room(features_dir: Path, max_bytes: int, keep: set[Path]) -> list[Path]:
    """Delete the least recently used shards until all together are small enough.

    Args:
        features_dir: the folder of all stores.
        max_bytes: how much may stay.
        keep: shards that are in use and stay in any case.

    Returns:
        The files that were deleted.
    """
    sizes: dict[Path, os.stat_result] = {}
    for path in features_dir.glob(f"*/*{SUFFIX}"):
        with suppress(FileNotFoundError):  # another process makes room, too
            sizes[path] = path.stat()
    total = sum(facts.st_size for facts in sizes.values())
    deleted = []
    for path in sorted(sizes.keys() - keep, key=lambda path: sizes[path].st_mtime_ns):
        if total <= max_bytes:
            break
        path.unlink(missing_ok=True)
        total -= sizes[path].st_size
        deleted.append(path)
    if deleted:
        log.info("The feature store is full: %d shards not used lately are deleted", len(deleted))
    return deleted
