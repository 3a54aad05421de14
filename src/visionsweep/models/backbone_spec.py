"""Resolve which backbone a configuration names, and with which weights, without building it."""

import hashlib
import json
import logging
from dataclasses import dataclass
from typing import Any

import torchvision
from torchvision.models import WeightsEnum

from visionsweep.config.schema import ModelConfig
from visionsweep.data.transforms import Preprocessing
from visionsweep.errors import warn_loudly
from visionsweep.models import batchnorm_calibration, pretrained_weights, timm_models
from visionsweep.models.pretrained_weights import WeightsUnavailableError
from visionsweep.models.weights_files import WeightsFile

log = logging.getLogger(__name__)

RANDOM_WEIGHTS_SEED = 0  # the same for all runs: random weights take the place of pretrained ones


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


def shape_spec(config: ModelConfig) -> BackboneSpec:
    """Return the spec of a configured backbone without weights, for its outline."""
    return BackboneSpec(config.name, config.source, "", "", None, None, pooling=config.pooling)


def resolve_backbone(config: ModelConfig, *, random_if_unavailable: bool) -> BackboneSpec:
    """Return the spec of a configured backbone, after downloading its weights if necessary.

    With `random_if_unavailable`, random weights replace unavailable ones, with a warning. Only the
    rendered sample does so.

    Raises:
        WeightsUnavailableError: if the weights are neither on this machine nor reachable.
        UserError: if there is no such model.
    """
    file, label, entry, preprocessing, license = None, "random", None, None, None
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
                file, label = timm_models.hub_file(config.name)
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
    construction = (
        f"random, seed {RANDOM_WEIGHTS_SEED}, calibration {batchnorm_calibration.VERSION}"
    )
    facts = [config.name, file.digest if file else construction]
    if config.pooling != "default":
        facts.append(config.pooling)
    fingerprint = hashlib.blake2b(json.dumps(facts).encode(), digest_size=16).hexdigest()
    return BackboneSpec(
        config.name, config.source, label, fingerprint, preprocessing, file, entry,
        config.pooling, license,
    )  # fmt: skip


def torchvision_preprocessing(transforms: Any) -> Preprocessing:
    """Convert torchvision's `ImageClassification` preset."""
    return Preprocessing(
        tuple(transforms.resize_size),
        transforms.crop_size[0],
        transforms.interpolation.value,
        tuple(transforms.mean),
        tuple(transforms.std),
    )
