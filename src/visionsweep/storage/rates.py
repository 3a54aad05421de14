"""Rates of work that were measured on this machine, kept in the cache for plans of later sweeps."""

import hashlib
import os
import platform
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from visionsweep.storage.cache import keep
from visionsweep.storage.untrusted import MB, read_regular

FOLDER = "rates"


class Rate(msgspec.Struct, frozen=True):
    """A measured rate.

    Attributes:
        per_second: units of work per second.
        cost: work per unit, to scale the rate to a similar kind of work: multiply-adds per image.
        kind: machine, and kind of work.
    """

    per_second: Annotated[float, Meta(gt=0, le=1e12)]
    cost: Annotated[float, Meta(gt=0, le=1e18)]
    kind: str


def keep_rate(cache: Path, kind: str, name: str, rate: float, cost: float = 1.0) -> None:
    """Keep a rate in place of an earlier one of the same work.

    Args:
        cache: cache folder.
        kind: kind of work, as `extraction on cpu`; rates of a kind scale with their `cost`.
        name: what distinguishes work of this kind.
        rate: units per second.
        cost: work per unit.
    """
    here = _on_this_machine(kind)
    keep(_path(cache, here, name), msgspec.json.encode(Rate(rate, cost, here)))


def read_rate(cache: Path, kind: str, name: str, cost: float = 1.0) -> tuple[float, bool] | None:
    """Return units per second, and whether they were measured for this very work.

    Otherwise they are scaled by `cost` from the latest rate of the kind. None if there is none.
    """
    here = _on_this_machine(kind)
    if (own := _read(_path(cache, here, name))) is not None:
        return own.per_second, True
    files = (cache / FOLDER).glob("*.json")
    for path in sorted(files, key=lambda path: path.stat().st_mtime, reverse=True):
        if (other := _read(path)) is not None and other.kind == here:
            return other.per_second * other.cost / cost, False
    return None


def _on_this_machine(kind: str) -> str:
    return f"{platform.node()}, {os.cpu_count()} cores: {kind}"


def _path(cache: Path, kind: str, name: str) -> Path:
    key = hashlib.blake2b(f"{kind}\n{name}".encode(), digest_size=16).hexdigest()
    return cache / FOLDER / f"{key}.json"


def _read(path: Path) -> Rate | None:
    try:
        return msgspec.json.decode(read_regular(path, MB), type=Rate)
    except (OSError, ValueError):
        return None
