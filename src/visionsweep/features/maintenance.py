"""What a person does with the feature store now and then: look at it, verify it, delete it."""

import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import Timeout
from safetensors import SafetensorError, safe_open

from visionsweep.features.shards import DAMAGED, SUFFIX, DamagedShardError, quarantine, read_shard
from visionsweep.features.store import lock_of
from visionsweep.storage.files import A_DAY, remove_leftovers
from visionsweep.storage.locks import NOTE
from visionsweep.storage.untrusted import MB, check_regular, decode_json, read_regular
from visionsweep.text.escaping import visible

_KEY = "[0-9a-f]" * 32  # so that nothing else is taken for ours, whatever folder is named
_MEMORIES = {
    "networks": f"{_KEY}.msgpack",
    "images": f"{_KEY}.json",
    "images/facts": f"{_KEY}.json",
    "thumbnails": f"{_KEY}.zip",
}


@dataclass(frozen=True)
class Stored:
    """One store: the features of a backbone under a transform.

    Attributes:
        folder: where it lies.
        about: what its key stands for: `model`, `weights`, `transform`, `device`, ...
        images: number of rows in its shards.
        bytes: size of its shards.
        used: when one of its shards was last used, in seconds since 1970; 0 without shards.
        unreadable: number of shards whose head cannot be read.
    """

    folder: Path
    about: dict[str, str]
    images: int
    bytes: int
    used: float
    unreadable: int

    @property
    def model(self) -> str:
        """The backbone's name; `?` where the store does not tell."""
        return self.about.get("model", "?")


def stores(cache: Path) -> list[Stored]:
    """Describe every store of a cache, last used first; only the heads of shards are read."""
    found = [_describe(folder) for folder in (cache / "features").glob(_KEY) if folder.is_dir()]
    return sorted(found, key=lambda stored: -stored.used)


def _describe(folder: Path) -> Stored:
    try:
        found = decode_json(read_regular(folder / "about.json", MB), dict[str, str])
        about = {visible(key): visible(value) for key, value in found.items()}  # a line each
    except (OSError, ValueError):
        about = {}
    images = size = unreadable = 0
    used = 0.0
    for path in folder.glob(f"*{SUFFIX}"):
        with suppress(OSError):  # made room meanwhile
            try:
                facts = check_regular(path)
                size, used = size + facts.st_size, max(used, facts.st_mtime)
                with safe_open(path, framework="pt") as opened:
                    images += opened.get_slice("features").get_shape()[0]
            except (SafetensorError, IndexError, ValueError):
                unreadable += 1
    return Stored(folder, about, images, size, used, unreadable)


def memories(cache: Path) -> dict[str, list[Path]]:
    """List what is remembered of networks and images, by the name of its folder."""
    return {name: sorted((cache / name).glob(pattern)) for name, pattern in _MEMORIES.items()}


def shards(cache: Path) -> list[Path]:
    """List the shards of all stores."""
    return sorted((cache / "features").glob(f"{_KEY}/*{SUFFIX}"))


def verify(shard: Path) -> str | None:
    """Read a shard whole; set it aside if it is damaged.

    Returns:
        What is wrong with it, or None: it is sound, has gone meanwhile or may not be read.
    """
    try:
        read_shard(shard, key=shard.parent.name)
    except OSError:
        return None
    except DamagedShardError as error:
        quarantine(shard, str(error))
        return str(error)
    return None


def tidy(cache: Path) -> list[Path]:
    """Remove what killed processes left, and damaged shards after a day.

    A temporary file goes if nobody can be writing it: its store's lock is free, or, where there is
    no lock, it is a day old.

    Returns:
        The files that were removed.
    """
    removed = []
    for folder in (cache / "features").glob(_KEY):
        with suppress(Timeout, OSError), lock_of(folder).acquire(timeout=0):
            removed += remove_leftovers(folder, age=0)
        for path in folder.glob(f"*{DAMAGED}"):
            with suppress(OSError):
                if time.time() - path.stat().st_mtime >= A_DAY:
                    path.unlink()
                    removed.append(path)
    for name in _MEMORIES:
        removed += remove_leftovers(cache / name)
    return removed


def delete(stored: Stored) -> bool:
    """Delete a store, unless a process holds its lock; return whether it is gone."""
    try:
        with lock_of(stored.folder).acquire(timeout=0):
            shutil.rmtree(stored.folder)
            stored.folder.with_suffix(NOTE).unlink(missing_ok=True)
    except Timeout:
        return False
    return True
