"""The feature store: features of frozen backbones, addressed by image content.

`CACHE/features/KEY/` holds the features of one backbone and transform in shards: immutable
safetensors files of up to 512 images with the images' digests. Readers map the shards into memory.
There is no server and no database. A lock file lets one process extract while others wait for its
results.
"""

import json
import logging
import os
from collections import defaultdict
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

SHARD_IMAGES = 512  # per shard: the most that a killed process loses

Extract = Callable[[list[str]], Iterator[tuple[list[str], torch.Tensor]]]


@dataclass
class FeatureStore:
    """The features of one backbone under one transform.

    If the cache is not writable, features are extracted and returned, but not stored.
    """

    folder: Path
    key: str  # digest of backbone, transform, and versions; stored in every shard
    about: dict[str, str]  # meaning of the key, stored for humans
    max_bytes: int  # maximum size of all features of the cache together
    _shards: dict[Path, Shard] = field(default_factory=dict, repr=False)

    def get(self, digests: Sequence[str], extract: Extract) -> torch.Tensor:
        """Return the features of images, after extracting and storing missing ones.

        Args:
            digests: content digests; may repeat.
            extract: function that yields the features of a list of digests in parts.

        Returns:
            `float32[N, width]` in the order of `digests`.

        Raises:
            UserError: if `extract` does.
        """
        self._refresh()
        if self._missing(digests):
            with self._alone():
                self._refresh()
                stored = False
                for _ in range(2):  # a second time for shards that had another width
                    if missing := self._missing(digests):
                        stored = self._fill(missing, extract)
                if stored:
                    places = self._places()
                    in_use = {places[digest][0].path for digest in digests}
                    evict_lru(self.folder.parent, self.max_bytes, in_use)
        return self._gather(digests)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the store's lock, or warn if the file system has no locks."""
        path = lock_path(self.folder)
        with ExitStack() as stack:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(held(path, "extracting the same features"))
                remove_leftovers(self.folder, age=0)  # no other process is writing
            except OSError as error:
                log.warning("%s: no lock, others may do the same work now: %s", path, why(error))
            yield

    def _places(self) -> dict[str, tuple[Shard, int]]:
        """Return the shard and the row of each image; of copies, the first."""
        shards = reversed(self._shards.values())
        return {d: (shard, row) for shard in shards for row, d in enumerate(shard.digests)}

    def _missing(self, digests: Sequence[str]) -> list[str]:
        places = self._places()
        return [digest for digest in dict.fromkeys(digests) if digest not in places]

    def _refresh(self) -> None:
        """Read new shards, and drop those that were deleted."""
        paths: set[Path] = set()
        with suppress(OSError):  # an unreadable cache
            paths = set(self.folder.glob(f"*{SUFFIX}")) if self.folder.is_dir() else set()
        self._shards = {path: shard for path, shard in self._shards.items() if path in paths}
        for path in sorted(paths - set(self._shards)):
            try:
                self._shards[path] = read_shard(path, self.key)
            except OSError:
                continue
            except DamagedShardError as error:
                quarantine(path, str(error))
        if len({shard.features.shape[1] for shard in self._shards.values()}) > 1:
            self._quarantine_other_widths(None)  # the next extraction shows which one is right

    def _quarantine_other_widths(self, width: int | None) -> None:
        """Quarantine shards of another feature width; all shards if the width is None."""
        for path, shard in list(self._shards.items()):
            if shard.features.shape[1] != width:
                quarantine(path, f"has features of another width: {shard.features.shape[1]}")
                del self._shards[path]

    def _fill(self, missing: list[str], extract: Extract) -> bool:
        """Extract missing features; return True if all of them are on disk."""
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
        return self._write(digests, torch.cat(rows), writable) if digests else writable

    def _write(self, digests: list[str], features: torch.Tensor, writable: bool) -> bool:
        """Add a shard, on disk if possible; return True if it is on disk.

        Otherwise it stays in memory until the next request.
        """
        path = self.folder / shards.file_name(digests)
        features = features.float().contiguous()
        self._quarantine_other_widths(features.shape[1])
        self._shards[path] = Shard(path, digests, features)
        writable = writable and keep(path, shards.encode(self.key, digests, features))
        if writable:
            with suppress(FileNotFoundError):  # evicted by another process
                self._shards[path] = read_shard(path, self.key)
        return writable

    def _gather(self, digests: Sequence[str]) -> torch.Tensor:
        places = self._places()
        positions_and_rows: dict[Path, list[tuple[int, int]]] = defaultdict(list)
        for position, digest in enumerate(digests):
            shard, row = places[digest]
            positions_and_rows[shard.path].append((position, row))
        out = torch.empty(len(digests), places[digests[0]][0].features.shape[1])
        for path, pairs in positions_and_rows.items():
            positions, rows = torch.tensor(pairs).T
            # Ten times as fast as features[rows].
            out.index_copy_(0, positions, self._shards[path].features.index_select(0, rows))
            with suppress(OSError):  # deleted, or in a read-only cache
                os.utime(path)  # evict_lru deletes the oldest first
        return out


def lock_path(folder: Path) -> Path:
    """Return the lock file that a process holds while it extracts features for a store."""
    return folder.with_suffix(".lock")


def lock_of(folder: Path) -> FileLock:
    """Return the lock of a store."""
    return lock_at(lock_path(folder))


def evict_lru(features_dir: Path, max_bytes: int, in_use: set[Path]) -> list[Path]:
    """Delete the least recently used shards of all stores, none `in_use`; return their paths."""
    files: dict[Path, os.stat_result] = {}
    for path in features_dir.glob(f"*/*{SUFFIX}"):
        with suppress(OSError):  # deleted by another process
            files[path] = path.stat()
    excess = sum(file.st_size for file in files.values()) - max_bytes
    deleted: list[Path] = []
    for path in sorted(files.keys() - in_use, key=lambda path: files[path].st_mtime_ns):
        if excess <= 0:
            break
        with suppress(OSError):  # of another user
            path.unlink(missing_ok=True)
            excess -= files[path].st_size
            deleted.append(path)
    if deleted:
        log.info("The feature store is full: deleted %d least recently used shards", len(deleted))
    return deleted
