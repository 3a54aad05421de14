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
from visionsweep.errors import UserError, warn_loudly
from visionsweep.models import batchnorm_calibration, pretrained_weights
from visionsweep.models.pickled_weights import WeightsFile
from visionsweep.models.pretrained_weights import WeightsUnavailableError

log = logging.getLogger(__name__)

RANDOM_WEIGHTS_SEED = 0  # the same for all runs: random weights take the place of pretrained ones


@dataclass(frozen=True)
class BackboneSpec:
    """Everything about a backbone that is known without building it.

    Attributes:
        name, source: name of the model in `torchvision` or `package` (timm).
        weights: name of the weights, such as `IMAGENET1K_V1`, or `random`.
        fingerprint: digest of name and weights; equal specs compute the same features.
        preprocessing, file: those of the weights; None for random weights.
        entry: torchvision's entry for the weights, or None.
    """

    name: str
    source: str
    weights: str
    fingerprint: str
    preprocessing: Preprocessing | None
    file: WeightsFile | None
    entry: WeightsEnum | None = None


def resolve_backbone(config: ModelConfig, *, random_if_unavailable: bool) -> BackboneSpec:
    """Return the spec of a configured backbone, after downloading its weights if necessary.

    With `random_if_unavailable`, random weights replace unavailable ones, with a warning. Only the
    rendered sample does so.

    Raises:
        WeightsUnavailableError: if the weights are neither on this machine nor reachable.
        UserError: if there is no such model.
    """
    file, label, entry, preprocessing = None, "random", None, None
    if config.source == "package":
        preprocessing = _timm_preprocessing(config.name)
        if config.weights is not None:
            file, label = pretrained_weights.package_file(config.weights)
    elif config.weights is not None:
        available = torchvision.models.get_model_weights(config.name)
        entry = pretrained_weights.named(available, config.weights)
        preprocessing = torchvision_preprocessing(entry.transforms())
        try:
            file, label = pretrained_weights.ensure_cached(entry, config.weights_url), entry.name
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
    content = json.dumps([config.name, file.digest if file else construction]).encode()
    fingerprint = hashlib.blake2b(content, digest_size=16).hexdigest()
    return BackboneSpec(config.name, config.source, label, fingerprint, preprocessing, file, entry)


def import_timm(name: str) -> Any:
    """Import and return timm, for a model of this name.

    Raises:
        WeightsUnavailableError: if timm is not installed.
    """
    try:
        import timm
    except ImportError as error:
        raise WeightsUnavailableError(
            "this model comes from timm, which is not installed",
            where=f"model.name={name}",
            hint="Install it with: pip install -e '.[lite]'",
        ) from error
    return timm


def torchvision_preprocessing(transforms: Any) -> Preprocessing:
    """Convert torchvision's `ImageClassification` preset."""
    return Preprocessing(
        tuple(transforms.resize_size),
        transforms.crop_size[0],
        transforms.interpolation.value,
        tuple(transforms.mean),
        tuple(transforms.std),
    )


def _timm_preprocessing(name: str) -> Preprocessing:
    timm = import_timm(name)
    if not timm.is_model(name):
        raise UserError("timm has no such model", where=f"model.name={name}")
    pretrained = timm.get_pretrained_cfg(name)
    size = pretrained.input_size[-1]
    return Preprocessing(
        (round(size / pretrained.crop_pct),),
        size,
        pretrained.interpolation,
        tuple(pretrained.mean),
        tuple(pretrained.std),
    )
