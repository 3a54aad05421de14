"""What makes two runs the same experiment: a hash of all that decides the numbers.

That is the configuration without paths, device, workers, labels and logging; the images of each
split in their order; the weights of the backbone; and the version of the record.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from visionsweep.config.schema import Config
from visionsweep.data.gray import recorded_range
from visionsweep.data.images import digest_of
from visionsweep.data.splits import SPLITS, Splits
from visionsweep.models.backbone_spec import BackboneSpec
from visionsweep.runs.names import WHERE
from visionsweep.runs.record import SCHEMA_VERSION, Record

# What is called so, what images decide by what they hold, and what only other keys refer to.
_SAID_ELSEWHERE = {
    "model.label",
    "data.label",
    "data.name",
    "data.root",
    "data.splits",
    "data.gray_range",
    "optimizer.fine_tuning_lr",
    "training.name",
    "training.replicates",
}

_MAPPINGS = {
    "data.archives",
    "data.checksums",
    "data.splits",
}  # settings that are mappings themselves


def settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that decide a run's numbers, by dotted key.

    Args:
        config: the whole configuration, as in a record.
    """
    return {k: v for k, v in _leaves(config) if k not in WHERE | _SAID_ELSEWHERE}


def _leaves(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and key not in _MAPPINGS:
            yield from _leaves(value, f"{key}.")
        else:
            yield key, value


def of(config: Config, splits: Splits, spec: BackboneSpec) -> str:
    """Return 32 hexadecimal digits, the same for the same experiment.

    Args:
        config: of the run.
        splits: its images; their order counts, for it decides what comes in which batch.
        spec: its backbone.
    """
    images = {
        split: [(splits.classes[image.label], image.digest) for image in splits[split]]
        for split in SPLITS
    }
    facts: tuple[Any, ...] = (
        SCHEMA_VERSION,
        sorted(settings(asdict(config)).items()),
        images,
        spec.fingerprint,
    )
    if splits.gray_range is not None:
        facts += (splits.gray_range,)
    return digest_of(repr(facts).encode())


def changed_settings(earlier: Mapping[str, Any], config: Config) -> list[str]:
    """List the settings that an earlier configuration and this one differ in.

    Args:
        earlier: as in a record. What it does not know yet cannot have changed.
        config: of now.
    """
    was, now = settings(earlier), settings(asdict(config))
    return [
        f"{key}: {was[key]} there, {now[key]} now"
        for key in sorted(was.keys() & now.keys())
        if was[key] != now[key]
    ]


def changed_facts(earlier: Record, splits: Splits, spec: BackboneSpec) -> list[str]:
    """List the images and weights that a run's record and what is here now differ in."""
    assert earlier.data is not None and earlier.model is not None
    changes = [
        f"{split} images: {earlier.data.counts[split]} there ({earlier.data.digests[split][:8]}), "
        f"{len(splits[split])} now ({splits.digest(split)[:8]})"
        for split in SPLITS
        if earlier.data.digests[split] != splits.digest(split)
    ]
    if earlier.model.fingerprint != spec.fingerprint:
        changes.append(f"weights: {earlier.weights} there, {spec.weights} now")
    was = recorded_range(earlier.model.preprocessing)
    if was != splits.gray_range:
        changes.append(f"gray range: {was} there, {splits.gray_range} now")
    return changes
