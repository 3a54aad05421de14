"""The configuration of a run, read back from its record; imports no torch."""

from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from visionsweep.config import Config, leaf_keys
from visionsweep.tracking.record import Summary


@dataclass(frozen=True)
class Recorded:
    """The configuration in a record, as this version understands it.

    Attributes:
        config: every key of the schema; one that the record's version did not know has its default.
        unknown: keys that this version does not know, with their values; left out of `config`.
        absent: keys that the record lacks.
    """

    config: DictConfig
    unknown: dict[str, Any]
    absent: list[str]


def read_back(record: Summary) -> Recorded:
    """Read a record's configuration."""
    kept = OmegaConf.create(record.config)
    known = leaf_keys()
    merged = OmegaConf.structured(Config)
    absent = []
    for key in known:
        value = OmegaConf.select(kept, key, default=_NOWHERE)
        if value is _NOWHERE:
            absent.append(key)
        else:
            OmegaConf.update(merged, key, value, force_add=True)
    for key in ("replicates", "training.replicates"):  # an older version trained one head
        if OmegaConf.is_missing(merged, key) or OmegaConf.select(merged, key) is None:
            OmegaConf.update(merged, key, 1)
    return Recorded(merged, _unknown(record.config, known), absent)


def config_of(record: Summary) -> Config:
    """Return the configuration of a run; a key that its version did not know has its default."""
    config = OmegaConf.to_object(read_back(record).config)
    assert isinstance(config, Config)
    return config


_NOWHERE = object()


def _unknown(config: dict[str, Any], known: list[str], prefix: str = "") -> dict[str, Any]:
    """List what stands under keys that no schema has, by dotted key."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        key = f"{prefix}{name}"
        if key in known:
            continue
        if isinstance(value, dict) and any(other.startswith(f"{key}.") for other in known):
            found |= _unknown(value, known, f"{key}.")
        else:
            found[key] = value
    return found
