"""Resolve which backbone a configuration names, and with which weights, without building it."""

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torchvision
from torchvision.models import WeightsEnum

from visionsweep.config.own_weights import facts_of, library_of
from visionsweep.config.schema import ModelConfig
from visionsweep.data.transforms import Preprocessing
from visionsweep.errors import UserError, warn_loudly
from visionsweep.models import (
    batchnorm_calibration,
    hub_files,
    local_weights,
    pretrained_weights,
    timm_models,
)
from visionsweep.models.pretrained_weights import WeightsUnavailableError
from visionsweep.models.weights_files import WeightsFile
from visionsweep.text.paths import as_path

log = logging.getLogger(__name__)

RANDOM_WEIGHTS_SEED = 0  # the same for all runs: random weights take the place of pretrained ones
_RANDOM = f"random, seed {RANDOM_WEIGHTS_SEED}, calibration {batchnorm_calibration.VERSION}"


@dataclass(frozen=True)
class BackboneSpec:
    """Everything about a backbone that is known without building it.

    Attributes:
        name, source: name of the model in `torchvision`, or in timm (`timm`, `package`).
        weights: name of the weights, such as `IMAGENET1K_V1`, or `random`.
        fingerprint: digest of name and weights; equal specs compute the same features.
        preprocessing, file: those of the weights; None for random weights.
        entry: torchvision's entry for the weights, or None.
        pooling: pooling of timm's features (`timm_models.build`).
        license: license of the weights as timm states it, or None.
        own: whether the weights are a file of one's own, which may have another head.
    """

    name: str
    source: str
    weights: str
    fingerprint: str
    preprocessing: Preprocessing | None
    file: WeightsFile | None
    entry: WeightsEnum | None = None
    pooling: str = "default"
    license: str | None = None
    own: bool = False


def shape_spec(config: ModelConfig) -> BackboneSpec:
    """Return the spec of a configured backbone without weights, for its outline."""
    library = library_of(config)
    return BackboneSpec(config.name, library, "", "", None, None, pooling=config.pooling)


def resolve_backbone(
    config: ModelConfig, *, random_if_unavailable: bool, cache: Path = Path()
) -> BackboneSpec:
    """Return the spec of a configured backbone, after downloading its weights if necessary.

    With `random_if_unavailable`, random weights replace unavailable ones, with a warning. Only the
    rendered sample does so. `cache` is the cache folder, where files of one's own are kept.

    Raises:
        WeightsUnavailableError: if the weights are neither on this machine nor reachable.
        UserError: if there is no such model.
    """
    file, label, entry, preprocessing, license = None, "random", None, None, None
    if config.source == "local":
        return _own(config, cache)
    if config.source == "package":
        preprocessing = timm_models.preprocessing_of(config.name)
        if config.weights is not None:
            file, label = pretrained_weights.package_file(config.weights)
    elif config.source == "timm":
        preprocessing = timm_models.preprocessing_of(config.name)
    elif config.weights is not None:
        available = torchvision.models.get_model_weights(config.name)
        entry = pretrained_weights.named(available, config.weights)
        preprocessing = torchvision_preprocessing(entry.transforms())
    if config.source != "package" and config.weights is not None:
        try:
            if entry is not None:
                file = pretrained_weights.ensure_cached(entry, config.weights_url)
                label = entry.name
            else:
                file, label = hub_files.hub_file(config.name)
                license = timm_models.pretrained_config(config.name).license
        except WeightsUnavailableError as error:
            if not random_if_unavailable:
                raise
            warn_loudly(
                log,
                "PRETRAINED WEIGHTS ARE UNAVAILABLE: THIS RUN USES RANDOM WEIGHTS.",
                str(error).splitlines()[0],
                "This shows how the program works, not which model is better.",
            )
            entry = None
    facts = [config.name, file.digest if file else _RANDOM]
    if config.pooling != "default":
        facts.append(config.pooling)
    return BackboneSpec(
        config.name, config.source, label, _hash(facts), preprocessing, file, entry,
        config.pooling, license,
    )  # fmt: skip


def _own(config: ModelConfig, cache: Path) -> BackboneSpec:
    """Return the spec of a backbone with a weights file of one's own."""
    library = library_of(config)
    if config.weights is None:  # of a run whose own weights follow
        facts, file, label, preprocessing = [config.name, library, _RANDOM], None, "random", None
    else:
        path = as_path(config.weights)
        file, digest = local_weights.find(path, cache)
        facts, label = [config.name, library, digest], local_weights.label(digest)
        preprocessing = own_preprocessing(config)
    return BackboneSpec(
        config.name, library, label, _hash([*facts, config.pooling]), preprocessing, file,
        pooling=config.pooling, own=True,
    )  # fmt: skip


def own_preprocessing(config: ModelConfig) -> Preprocessing | None:
    """Return the transform of weights of one's own: as the file of a run says, or the library.

    Raises:
        UserError: if the file says what no transform is.
    """
    facts = facts_of(as_path(str(config.weights)))
    if facts is not None and facts.name == config.name:
        try:
            return msgspec.convert(facts.preprocessing, Preprocessing)  # lists into tuples
        except msgspec.ValidationError as error:
            what = f"describes no transform of images: {error}"
            raise UserError(what, where=f"model.weights={config.weights}") from error
    if library_of(config) == "timm":
        return timm_models.preprocessing_of(config.name)
    entries = torchvision.models.get_model_weights(config.name).__members__
    return torchvision_preprocessing(entries["DEFAULT"].transforms()) if entries else None


def _hash(facts: list[str]) -> str:
    return hashlib.blake2b(json.dumps(facts).encode(), digest_size=16).hexdigest()


def torchvision_preprocessing(transforms: Any) -> Preprocessing:
    """Convert torchvision's `ImageClassification` preset."""
    return Preprocessing(
        tuple(transforms.resize_size),
        transforms.crop_size[0],
        transforms.interpolation.value,
        tuple(transforms.mean),
        tuple(transforms.std),
    )
