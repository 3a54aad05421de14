"""Fingerprint of a run: a hash of everything that determines its numbers.

These are the settings whose role is `result`, the images of each split in order, the weights of the
backbone, and the version of the record.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from visionsweep.config.derived import result_settings, settings
from visionsweep.config.schema import Config
from visionsweep.data.gray import recorded_range
from visionsweep.data.images import digest_of
from visionsweep.data.split_names import SPLITS
from visionsweep.data.splits import Splits
from visionsweep.models.backbone_spec import BackboneSpec
from visionsweep.runs.record import SCHEMA_VERSION, Record


def of(config: Config, splits: Splits, spec: BackboneSpec) -> str:
    """Return the fingerprint of a run, 32 hexadecimal digits; the order of images matters."""
    images = {
        split: [
            (splits.classes[image.label], image.digest, *[image.group] * bool(image.group))
            for image in splits[split]
        ]
        for split in SPLITS
    }
    facts: tuple[Any, ...] = (
        SCHEMA_VERSION,
        sorted(result_settings(asdict(config)).items()),
        images,
        spec.fingerprint,
    )
    if splits.gray_range is not None:
        facts += (splits.gray_range,)
    return digest_of(repr(facts).encode())


def changed_settings(earlier: Mapping[str, Any], config: Config) -> list[str]:
    """Return the settings that differ from a record's; those that it lacks have not changed."""
    was, now = result_settings(earlier), result_settings(asdict(config))
    # A setting that has the value implied by its absence is absent.
    lacking = {key for key in was.keys() ^ now.keys() if settings()[key].implied is not None}
    return [
        f"{key}: {was.get(key, 'default')} there, {now.get(key, 'default')} now"
        for key in sorted((was.keys() & now.keys()) | lacking)
        if was.get(key) != now.get(key)
    ]


def changed_facts(earlier: Record, splits: Splits, spec: BackboneSpec) -> list[str]:
    """Return the images and weights that differ from a run's record."""
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
