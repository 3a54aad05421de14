"""Shards: immutable files with the features of some hundred images, which vouch for themselves."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from visionsweep.data.images import digest_of
from visionsweep.storage.files import why
from visionsweep.storage.untrusted import check_regular, decode_json

log = logging.getLogger(__name__)

FORMAT = "visionsweep-features-1"
SUFFIX = ".safetensors"
DAMAGED = ".damaged"  # takes the suffix's place where a shard cannot be used


class DamagedShardError(Exception):
    """A shard that is not whole, or not ours."""


@dataclass(frozen=True)
class Shard:
    """A shard, verified.

    Attributes:
        path: the file.
        digests: of the images, in the order of the rows.
        features: `float32[N, width]`, mapped from the file; in memory if that could not be written.
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
        DamagedShardError: if it is truncated, changed, of another format or of another key, or if
            its features are not finite.
        OSError: if it cannot be read, often since it has gone: another process made room.
    """
    try:
        check_regular(path)
        with safe_open(path, framework="pt") as opened:
            facts = opened.metadata() or {}
            if facts.get("format") != FORMAT or set(opened.keys()) != {"features"}:
                raise DamagedShardError("not a file of this store")
            features = opened.get_tensor("features")
        digests = decode_json(facts.get("digests", ""), list[str])
    except (SafetensorError, ValueError) as error:
        raise DamagedShardError(f"not whole: {error}") from error
    if key is not None and facts.get("key") != key:
        raise DamagedShardError("written for another backbone or transform")
    if features.dtype != torch.float32 or features.ndim != 2 or not features.numel():
        raise DamagedShardError("holds no features")
    if len(digests) != len(features) or path.name != file_name(digests):
        raise DamagedShardError("holds other images than its name says")
    if _checksum(features) != facts.get("checksum"):
        raise DamagedShardError("its content has changed since it was written")
    if not torch.isfinite(features).all():  # none is written with such: another wrote this one
        raise DamagedShardError("holds features that are not finite numbers")
    return Shard(path, digests, features)


def file_name(digests: Sequence[str]) -> str:
    """Name a shard by its images: the name vouches for the list, the checksum for the features."""
    return f"{digest_of(''.join(digests).encode())}{SUFFIX}"


def encode(key: str, digests: Sequence[str], features: torch.Tensor) -> bytes:
    """Return the content of a shard.

    Args:
        key: the store key that it is written under.
        digests: of the images, in the order of the rows.
        features: `float32[N, width]`, contiguous.
    """
    facts = {
        "format": FORMAT,
        "key": key,
        "digests": json.dumps(digests),
        "checksum": _checksum(features),
    }
    return save({"features": features}, facts)


def _checksum(features: torch.Tensor) -> str:
    numbers: Any = features.numpy()
    return digest_of(memoryview(numbers).cast("B"))


def quarantine(path: Path, reason: str) -> None:
    """Rename a shard that cannot be used, so that its images are extracted again."""
    aside = path.with_suffix(DAMAGED)
    done = f"set aside as {aside.name}"
    try:
        path.replace(aside)
    except FileNotFoundError:  # another process was quicker
        pass
    except OSError as error:
        done = f"cannot be set aside ({why(error)})"
    log.warning("%s: %s; %s, its images are extracted again", path, reason, done)
