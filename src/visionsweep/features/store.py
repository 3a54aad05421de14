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
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch
from filelock import FileLock

from visionsweep.features import shards
from visionsweep.features.shards import SUFFIX, DamagedShardError, Shard, quarantine, read_shard
from visionsweep.storage.cache import keep
from visionsweep.storage.files import remove_leftovers, why
from visionsweep.storage.locks import held, lock_at

log = logging.getLogger(__name__)

SHARD_IMAGES = 512  # what a killed process loses at most

Extract = Callable[[list[str]], Iterator[tuple[list[str], torch.Tensor]]]


@dataclass
class FeatureStore:
    """The features of one backbone under one transform.

    Where the cache cannot be written, features are extracted and returned all the same, and kept
    for nobody.

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
                kept = False
                for _ in range(2):  # again for what stood in shards of another width
                    if missing := self._missing(digests):
                        kept = self._fill(missing, extract)
                if kept:
                    evict_lru(self.folder.parent, self.max_bytes, spare=self._used_by(digests))
        return self._gather(digests)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the store's lock; where there can be none, others may extract the same features."""
        path = lock_path(self.folder)
        with ExitStack() as stack:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(held(path, "extracting the same features"))
                remove_leftovers(self.folder, age=0)  # nobody else writes now
            except OSError as error:
                log.warning("%s: no lock, others may do the same work now: %s", path, why(error))
            yield

    def _missing(self, digests: Sequence[str]) -> list[str]:
        return [digest for digest in dict.fromkeys(digests) if digest not in self._places]

    def _refresh(self) -> None:
        """Take note of shards that came, and forget those that went."""
        there: set[Path] = set()
        with suppress(OSError):  # a cache that may not be read
            there = set(self.folder.glob(f"*{SUFFIX}")) if self.folder.is_dir() else set()
        for gone in set(self._shards) - there:
            self._forget(gone)
        for path in sorted(there - set(self._shards)):
            try:
                shard = read_shard(path, self.key)
            except OSError:
                continue
            except DamagedShardError as error:
                quarantine(path, str(error))
                continue
            self._add(shard)
        if len({shard.features.shape[1] for shard in self._shards.values()}) > 1:
            self._quarantine_other_widths(None)  # which of them is right is found out

    def _quarantine_other_widths(self, width: int | None) -> None:
        """Set shards aside whose features have not the backbone's width, or all for None."""
        for path, shard in list(self._shards.items()):
            if shard.features.shape[1] != width:
                quarantine(path, f"holds features of width {shard.features.shape[1]} among others")
                self._forget(path)

    def _add(self, shard: Shard) -> None:
        self._shards[shard.path] = shard
        for row, digest in enumerate(shard.digests):
            self._places.setdefault(digest, (shard.path, row))

    def _forget(self, path: Path) -> None:
        del self._shards[path]
        self._places = {d: place for d, place in self._places.items() if place[0] != path}

    def _fill(self, missing: list[str], extract: Extract) -> bool:
        """Extract what is missing; return whether all of it is on disk."""
        log.info("Extracting the features of %d images", len(missing))
        writable = keep(self.folder / "about.json", json.dumps(self.about, indent=2).encode())
        digests: list[str] = []
        rows: list[torch.Tensor] = []
        for some, features in extract(missing):
            digests += some
            rows.append(features)
            if len(digests) >= SHARD_IMAGES:
                writable = self._write(digests, torch.cat(rows), writable)
                digests, rows = [], []
        if digests:
            writable = self._write(digests, torch.cat(rows), writable)
        return writable

    def _write(self, digests: list[str], features: torch.Tensor, writable: bool) -> bool:
        """Add a shard, on disk if that is possible; return whether it was.

        What is not on disk stays in memory until the next request finds no file of it.
        """
        path = self.folder / shards.file_name(digests)
        features = features.float().contiguous()
        self._quarantine_other_widths(features.shape[1])
        shard = Shard(path, digests, features)
        writable = writable and keep(path, shards.encode(self.key, digests, features))
        if writable:
            with suppress(FileNotFoundError):  # another process made room at once
                shard = read_shard(path, self.key)
        self._add(shard)
        return writable

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


def lock_path(folder: Path) -> Path:
    """Return the file of the lock that whoever extracts for a store holds meanwhile."""
    return folder.with_suffix(".lock")


def lock_of(folder: Path) -> FileLock:
    """Return that lock, for whoever looks after a store."""
    return lock_at(lock_path(folder))


def evict_lru(features_dir: Path, max_bytes: int, spare: set[Path]) -> list[Path]:
    """Delete the least recently used shards until all together are small enough.

    Args:
        features_dir: the folder of all stores.
        max_bytes: how much may stay.
        spare: shards that are in use and stay in any case.

    Returns:
        The files that were deleted.
    """
    sizes: dict[Path, os.stat_result] = {}
    for path in features_dir.glob(f"*/*{SUFFIX}"):
        with suppress(OSError):  # another process makes room, too
            sizes[path] = path.stat()
    total = sum(facts.st_size for facts in sizes.values())
    deleted = []
    for path in sorted(sizes.keys() - spare, key=lambda path: sizes[path].st_mtime_ns):
        if total <= max_bytes:
            break
        with suppress(OSError):  # not ours to delete
            path.unlink(missing_ok=True)
            total -= sizes[path].st_size
            deleted.append(path)
    if deleted:
        log.info("The feature store is full: %d shards not used lately are deleted", len(deleted))
    return deleted
