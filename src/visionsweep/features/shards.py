"""Shards: immutable files with the features of up to 512 images, with checksums."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from visionsweep.data.images import digest_of
from visionsweep.storage.files import why
from visionsweep.storage.untrusted import check_regular, decode_json

log = logging.getLogger(__name__)

FORMAT = "visionsweep-features-1"
SUFFIX = ".safetensors"
DAMAGED = ".damaged"  # suffix of a quarantined shard


class DamagedShardError(Exception):
    """A shard that is incomplete, changed, or of another origin."""


@dataclass(frozen=True)
class Shard:
    """A verified shard."""

    path: Path
    digests: list[str]  # of the images, in the order of the rows
    features: torch.Tensor  # `float32[N, width]`, mapped from the file unless it is not writable


def read_shard(path: Path, key: str | None = None) -> Shard:
    """Map a shard of the store `key`, or of any store, into memory and verify its checksum.

    Raises:
        DamagedShardError: if it is truncated, changed, of another format or of another key, or if
            its features are not finite.
        OSError: if it cannot be read, for example because another process evicted it.
    """
    try:
        check_regular(path)
        with safe_open(path, framework="pt") as opened:
            facts = opened.metadata() or {}
            if facts.get("format") != FORMAT or set(opened.keys()) != {"features"}:
                raise DamagedShardError("not a file of the feature store")
            features = opened.get_tensor("features")
        digests = decode_json(facts.get("digests", ""), list[str])
    except (SafetensorError, ValueError) as error:
        raise DamagedShardError(f"incomplete: {error}") from error
    if key is not None and facts.get("key") != key:
        raise DamagedShardError("written for another backbone or transform")
    if features.dtype != torch.float32 or features.ndim != 2 or not features.numel():
        raise DamagedShardError("has no features")
    if len(digests) != len(features) or path.name != file_name(digests):
        raise DamagedShardError("its images do not match its name")
    if _checksum(features) != facts.get("checksum"):
        raise DamagedShardError("its content has changed since it was written")
    if not torch.isfinite(features).all():  # such features are never written
        raise DamagedShardError("has features that are not finite")
    return Shard(path, digests, features)


def file_name(digests: Sequence[str]) -> str:
    """Return a shard's file name, the digest of its list of images."""
    return f"{digest_of(''.join(digests).encode())}{SUFFIX}"


def encode(key: str, digests: Sequence[str], features: torch.Tensor) -> bytes:
    """Return the content of a shard of contiguous `float32[N, width]`, one digest per row."""
    facts = {"format": FORMAT, "key": key, "digests": json.dumps(digests)}
    return save({"features": features}, facts | {"checksum": _checksum(features)})


def _checksum(features: torch.Tensor) -> str:
    return digest_of(features.numpy().data.cast("B"))


def quarantine(path: Path, reason: str) -> None:
    """Rename a damaged shard, so that its images are extracted again."""
    renamed = path.with_suffix(DAMAGED)
    result = f"renamed to {renamed.name}"
    try:
        path.replace(renamed)
    except FileNotFoundError:  # another process renamed it
        pass
    except OSError as error:
        result = f"cannot be renamed ({why(error)})"
    log.warning("%s: %s; %s, and its images are extracted again", path, reason, result)
