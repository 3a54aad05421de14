"""Maintain the feature store: list, verify, and delete stored features."""

import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import Timeout
from safetensors import SafetensorError, safe_open

from visionsweep.features.leases import nobody_extracting
from visionsweep.features.shards import DAMAGED, SUFFIX, DamagedShardError, quarantine, read_shard
from visionsweep.storage import rates
from visionsweep.storage.files import A_DAY, remove_leftovers
from visionsweep.storage.untrusted import MB, check_regular, decode_json, read_regular
from visionsweep.text.escaping import visible

_KEY = "[0-9a-f]" * 32  # matches no files of others in the folder
_CACHES = {
    "networks": f"{_KEY}.msgpack",
    "images": f"{_KEY}.json",
    "images/facts": f"{_KEY}.json",  # of earlier versions
    "thumbnails": f"{_KEY}.zip",
    "training_images": f"{_KEY}.jpg",
    "linear_probes": f"{_KEY}.json",
    "weights": "*.safetensors",
    rates.FOLDER: f"{_KEY}.json",
}


@dataclass(frozen=True)
class StoreInfo:
    """Facts about one store: the features of a backbone under a transform."""

    folder: Path
    about: dict[str, str]  # meaning of its key: `model`, `weights`, `transform`, `device`, ...
    images: int  # number of rows in its shards
    bytes: int  # size of its shards
    used: float  # time of last use, in seconds since 1970; 0 without shards
    unreadable: int  # number of shards whose header cannot be read

    @property
    def model(self) -> str:
        """Name of the backbone; `?` if unknown."""
        return self.about.get("model", "?")


def stores(cache: Path) -> list[StoreInfo]:
    """Return facts about every store of a cache, last used first, reading only shard headers."""
    infos = [_describe(folder) for folder in (cache / "features").glob(_KEY) if folder.is_dir()]
    return sorted(infos, key=lambda info: -info.used)


def _describe(folder: Path) -> StoreInfo:
    try:
        content = decode_json(read_regular(folder / "about.json", MB), dict[str, str])
        about = {visible(key): visible(value) for key, value in content.items()}  # no line breaks
    except (OSError, ValueError):
        about = {}
    images = size = unreadable = 0
    used = 0.0
    for path in folder.glob(f"*{SUFFIX}"):
        with suppress(OSError):  # evicted meanwhile
            try:
                facts = check_regular(path)
                size, used = size + facts.st_size, max(used, facts.st_mtime)
                with safe_open(path, framework="pt") as opened:
                    images += opened.get_slice("features").get_shape()[0]
            except (SafetensorError, IndexError, ValueError):
                unreadable += 1
    return StoreInfo(folder, about, images, size, used, unreadable)


def caches(cache: Path) -> dict[str, list[Path]]:
    """Return the cached files about models and images by the name of their folder."""
    return {name: sorted((cache / name).glob(pattern)) for name, pattern in _CACHES.items()}


def shards(cache: Path) -> list[Path]:
    """Return the shards of all stores."""
    return sorted((cache / "features").glob(f"{_KEY}/*{SUFFIX}"))


def verify(shard: Path) -> str | None:
    """Read a whole shard, quarantine it if it is damaged, and return the damage, or None."""
    with suppress(OSError):
        try:
            read_shard(shard, key=shard.parent.name)
        except DamagedShardError as error:
            quarantine(shard, str(error))
            return str(error)
    return None


def tidy(cache: Path) -> list[Path]:
    """Remove temporary files of killed processes, and quarantined shards after a day.

    A temporary file is removed if no process can be writing it: none extracts for its store, or,
    outside a store, it is a day old. Returns the removed files.
    """
    removed = []
    for folder in (cache / "features").glob(_KEY):
        with suppress(Timeout, OSError), nobody_extracting(folder):
            removed += remove_leftovers(folder, age=0)
        for path in folder.glob(f"*{DAMAGED}"):
            with suppress(OSError):
                if time.time() - path.stat().st_mtime >= A_DAY:
                    path.unlink()
                    removed.append(path)
    for name in _CACHES:
        removed += remove_leftovers(cache / name)
    return removed


def delete(stored: StoreInfo) -> bool:
    """Delete a store; return False if a process extracts for it."""
    try:
        with nobody_extracting(stored.folder):
            shutil.rmtree(stored.folder)
    except Timeout:
        return False
    return True
