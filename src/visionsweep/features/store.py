"""The feature store: features of frozen backbones, addressed by image content.

`CACHE/features/KEY/` holds the features of one backbone and transform in shards: immutable
safetensors files of up to 512 images with the images' digests. Readers map the shards into memory.
There is no server and no database. Processes that lack the same images lease them in parts.
"""

import json
import logging
import os
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch

from visionsweep.features import shards
from visionsweep.features.leases import Lease
from visionsweep.features.shards import SUFFIX, DamagedShardError, Shard, quarantine, read_shard
from visionsweep.runtime import terminal
from visionsweep.storage.cache import keep

log = logging.getLogger(__name__)

SHARD_IMAGES = 512  # per shard: the most that a killed process loses
_POLL_SECONDS = 0.1

Extract = Callable[[Iterator[str]], Iterator[tuple[list[str], torch.Tensor]]]


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
    _refused: set[Path] = field(default_factory=set, repr=False)  # damaged shards
    _lacking: dict[str, None] = field(default_factory=dict, repr=False)  # digests, in a request
    # The shards for which places were determined, and these: 8 ms for 20,000 images.
    _located: tuple[tuple[Path, ...], dict[str, tuple[Shard, int]]] = field(
        default=((), {}), repr=False
    )
    _width: int | None = None  # of features that this process has extracted

    def get(self, digests: Sequence[str], extract: Extract, part: int = 32) -> torch.Tensor:
        """Return the features of images, after extracting and storing missing ones.

        Processes that lack the same images share the work: each image is extracted by one of them.

        Args:
            digests: content digests; may repeat.
            extract: function that yields the features of digests, which it takes one by one.
            part: number of images that a process takes at a time.

        Returns:
            `float32[N, width]` in the order of `digests`.

        Raises:
            UserError: if `extract` does.
        """
        self._refresh()
        if self._missing(digests):
            lease, stored = Lease(self.folder), False
            with lease.held():
                while missing := self._missing(digests):  # again after shards of another width
                    stored = self._fill(missing, lease, extract, part)
            if stored:
                places = self._places()
                in_use = {places[digest][0].path for digest in digests}
                evict_lru(self.folder.parent, self.max_bytes, in_use)
        return self._gather(digests)

    def lacking(self, digests: Sequence[str]) -> set[str]:
        """Return the images that have no stored features."""
        self._refresh()
        return set(self._missing(digests))

    def _places(self) -> dict[str, tuple[Shard, int]]:
        """Return the shard and the row of each image; of copies, the first."""
        paths = tuple(self._shards)
        if self._located[0] != paths:
            shards = reversed(self._shards.values())
            places = {d: (shard, row) for shard in shards for row, d in enumerate(shard.digests)}
            self._located = paths, places
        return self._located[1]

    def _missing(self, digests: Sequence[str]) -> list[str]:
        places = self._places()
        return [digest for digest in dict.fromkeys(digests) if digest not in places]

    def _refresh(self) -> None:
        """Read new shards, and drop those that were deleted."""
        paths = self._paths()
        self._shards = {path: shard for path, shard in self._shards.items() if path in paths}
        self._refused &= paths
        self._read_new()

    def _paths(self) -> set[Path]:
        with suppress(OSError):  # an unreadable cache
            return set(self.folder.glob(f"*{SUFFIX}")) if self.folder.is_dir() else set()
        return set()

    def _read_new(self) -> None:
        for path in sorted(self._paths() - set(self._shards) - self._refused):
            try:
                self._add(read_shard(path, self.key))
            except OSError:
                continue
            except DamagedShardError as error:
                self._refuse(path, str(error))
        if len({shard.features.shape[1] for shard in self._shards.values()}) > 1:
            # If the width is unknown, the next extraction shows which one is right.
            self._refuse_other_widths(self._width)

    def _add(self, shard: Shard) -> None:
        self._shards[shard.path] = shard
        for digest in shard.digests:
            self._lacking.pop(digest, None)

    def _refuse(self, path: Path, reason: str) -> None:
        """Quarantine a shard, and ignore it if it cannot be renamed."""
        quarantine(path, reason)
        self._refused.add(path)

    def _refuse_other_widths(self, width: int | None) -> None:
        """Quarantine shards of another feature width; all shards if the width is None."""
        for path, shard in list(self._shards.items()):
            if shard.features.shape[1] != width:
                self._refuse(path, f"has features of another width: {shard.features.shape[1]}")
                del self._shards[path]

    def _fill(self, missing: list[str], lease: Lease, extract: Extract, part: int) -> bool:
        """Wait until missing features are there, and extract those that no other process does.

        Return True if those that this process extracted are on disk.
        """
        log.info("Extracting the features of %d images", len(missing))
        self._lacking = dict.fromkeys(missing)
        stored = keep(self.folder / "about.json", json.dumps(self.about, indent=2).encode())
        mine = 0
        with terminal.bar(total=len(missing), desc="Features", unit="image") as bar:

            def leased() -> Iterator[str]:
                while digests := lease.take(self._still_lacking, part):
                    yield from digests

            def show(unwritten: int) -> None:
                done = len(missing) - len(self._lacking) + unwritten + lease.elsewhere
                together = f", {1 + lease.others} processes" if lease.others else ""
                bar.set_description(f"Features{together}", refresh=False)
                bar.update(done - bar.n)

            while self._lacking:
                if lease.any_free(self._still_lacking):
                    for digests, features in _in_shards(extract(leased()), show):
                        stored = self._write(digests, features, stored)
                        mine += len(digests)
                else:  # others extract the rest
                    show(0)
                    time.sleep(_POLL_SECONDS)
        if mine < len(missing):
            log.info("Other processes extracted %d of them", len(missing) - mine)
        return stored

    def _still_lacking(self) -> Collection[str]:
        self._read_new()
        return self._lacking

    def _write(self, digests: list[str], features: torch.Tensor, writable: bool) -> bool:
        """Add a shard, on disk if possible; return True if it is on disk.

        Otherwise it stays in memory until the next request.
        """
        path = self.folder / shards.file_name(digests)
        features = features.float().contiguous()
        self._width = features.shape[1]
        self._refuse_other_widths(self._width)
        self._add(Shard(path, digests, features))
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


def _in_shards(
    parts: Iterator[tuple[list[str], torch.Tensor]], show: Callable[[int], None]
) -> Iterator[tuple[list[str], torch.Tensor]]:
    """Join features until they fill a shard; `show` gets the number of joined images."""
    digests: list[str] = []
    rows: list[torch.Tensor] = []
    for some, features in parts:
        digests += some
        rows.append(features)
        show(len(digests))
        if len(digests) >= SHARD_IMAGES:
            yield digests, torch.cat(rows)
            digests, rows = [], []
    if digests:
        yield digests, torch.cat(rows)


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
