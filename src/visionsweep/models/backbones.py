"""Backbones: classification networks without their last layer, pretrained or random."""

import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torchvision
from torch import nn
from torchvision.models import WeightsEnum

from visionsweep.config.schema import ModelConfig
from visionsweep.data.transforms import Preprocessing
from visionsweep.errors import UserError, warn_loudly
from visionsweep.models import (
    calibration_images,
    pickled_weights,
    pretrained_weights,
    torchvision_builders,
)
from visionsweep.models.batchnorm_calibration import calibrate_batchnorm
from visionsweep.models.last_layer import remove_last_layer
from visionsweep.models.pickled_weights import WeightsFile
from visionsweep.models.pretrained_weights import WeightsUnavailableError

log = logging.getLogger(__name__)

RANDOM_WEIGHTS_SEED = 0  # the same random backbone for all runs, in place of pretrained weights


@dataclass(frozen=True)
class BackboneSpec:
    """Everything that identifies a backbone, known without building it.

    Attributes:
        name: name of the architecture in torchvision or timm.
        source: `torchvision` or `package`.
        weights: name of the pretrained weights, `IMAGENET1K_V1`, or `random`.
        fingerprint: hash of name and weights; equal for backbones with equal features.
        preprocessing: transform that the weights were trained with; None for random weights.
        file: weights file; None for random weights.
        entry: torchvision's entry of the weights; None for other weights.
    """

    name: str
    source: str
    weights: str
    fingerprint: str
    preprocessing: Preprocessing | None
    file: WeightsFile | None
    entry: WeightsEnum | None = None


@dataclass(frozen=True)
class Backbone:
    """A network that maps images to features.

    Attributes:
        module: network from `float32[N, 3, size, size]` to `float32[N, width]`, in evaluation mode.
        width: number of features.
        dropout: dropout probability before the last layer of the original network.
        spec: identity of the backbone.
    """

    module: nn.Module
    width: int
    dropout: float
    spec: BackboneSpec


def resolve_backbone(config: ModelConfig, *, random_if_unavailable: bool) -> BackboneSpec:
    """Return the backbone that a configuration names, after downloading its weights if necessary.

    Args:
        config: model and weights.
        random_if_unavailable: whether unavailable weights are replaced by random ones, with a
            warning; for the rendered sample only.

    Raises:
        WeightsUnavailableError: if the weights are unavailable.
        UserError: if there is no such model.
    """
    if config.source == "package":
        return _package_spec(config)
    if config.weights is None:
        return _random(config, None)
    entries = torchvision.models.get_model_weights(config.name)
    entry = pretrained_weights.named(entries, config.weights)
    preset = _preset(entry.transforms())
    try:
        file = pretrained_weights.ensure_cached(entry, config.weights_url)
    except WeightsUnavailableError as error:
        if not random_if_unavailable:
            raise
        warn_loudly(
            log,
            "PRETRAINED WEIGHTS ARE UNAVAILABLE: THIS RUN USES RANDOM WEIGHTS.",
            str(error).splitlines()[0],
            "This shows how the program works, not which model is better.",
        )
        return _random(config, preset)
    fingerprint = _fingerprint(config.name, file.digest)
    return BackboneSpec(config.name, "torchvision", entry.name, fingerprint, preset, file, entry)


def _package_spec(config: ModelConfig) -> BackboneSpec:
    timm = _timm(config.name)
    if not timm.is_model(config.name):
        raise UserError("timm has no such model", where=f"model.name={config.name}")
    pretrained = timm.get_pretrained_cfg(config.name)
    size = pretrained.input_size[-1]
    preset = Preprocessing(
        (round(size / pretrained.crop_pct),),
        size,
        pretrained.interpolation,
        tuple(pretrained.mean),
        tuple(pretrained.std),
    )
    if config.weights is None:
        return _random(config, preset)
    file, label = pretrained_weights.package_file(config.weights)
    fingerprint = _fingerprint(config.name, file.digest)
    return BackboneSpec(config.name, "package", label, fingerprint, preset, file)


def _random(config: ModelConfig, preset: Preprocessing | None) -> BackboneSpec:
    recipe = f"random, seed {RANDOM_WEIGHTS_SEED}, calibration {calibration_images.VERSION}"
    return BackboneSpec(
        config.name, config.source, "random", _fingerprint(config.name, recipe), preset, None
    )


def _timm(name: str) -> Any:
    try:
        import timm
    except ImportError as error:
        raise WeightsUnavailableError(
            "this model needs timm", where=f"model.name={name}", hint="pip install -e '.[lite]'"
        ) from error
    return timm


def build(spec: BackboneSpec, size: int) -> Backbone:
    """Build a backbone with its weights.

    Args:
        spec: identity of the backbone.
        size: pixels per side of its images; some networks are built for one size.

    Raises:
        UserError: if it cannot be built, or does not accept images of this size.
    """
    whole = _from_package(spec) if spec.source == "package" else None
    network = whole or _from_torchvision(spec, size)
    with _explained_size_errors(spec.name, size):
        if spec.weights == "random":
            calibrate_batchnorm(network, size)
        module, width, dropout = remove_last_layer(network.eval(), spec.name)
        with torch.inference_mode():
            features = module(torch.zeros(1, 3, size, size)).flatten(1)
    if features.shape != (1, width):
        raise UserError(
            f"its features have the shape {tuple(features.shape)} where its last layer expects "
            f"{width} numbers, so no head fits on it",
            where=f"model.name={spec.name}",
        )
    return Backbone(module, width, dropout, spec)


def untrained(name: str, source: str, size: int) -> nn.Module:
    """Build a network with random parameters, without its auxiliary heads.

    Args:
        name: name of the architecture in torchvision or timm.
        source: `torchvision` or `package`.
        size: pixels per side of its images.

    Raises:
        UserError: if it cannot be built.
    """
    spec = BackboneSpec(name, source, "random", "", None, None)
    return _from_package(spec) if source == "package" else _from_torchvision(spec, size)


@contextmanager
def _fixed_random_state() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(RANDOM_WEIGHTS_SEED)
        yield


def _from_torchvision(spec: BackboneSpec, size: int) -> nn.Module:
    name, entry = spec.name, spec.entry
    state = pickled_weights.read(spec.file) if spec.file is not None else None
    try:
        with _fixed_random_state():
            network = torchvision_builders.build(name, entry, size)
        if state is not None:
            torchvision_builders.load(network, name, state)
    except (RuntimeError, ValueError, AssertionError) as error:
        hint = f"Is {spec.file.path} of another model?" if spec.file is not None else ""
        of_size = ""
        if entry is None:
            of_size, hint = f" for images of {size}x{size} pixels", "Set another transform.size."
        raise UserError(
            f"cannot be built{of_size}: {error}", where=f"model.name={name}", hint=hint
        ) from error
    return torchvision_builders.without_auxiliary_heads(network)


def _from_package(spec: BackboneSpec) -> nn.Module:
    with _fixed_random_state():
        network: nn.Module = _timm(spec.name).create_model(spec.name, pretrained=False)
    if spec.file is not None:
        stored = pickled_weights.read(spec.file, follow_links=True)
        expected = network.state_dict()
        network.load_state_dict(pretrained_weights.by_order(stored, expected, spec.file.path))
    return network


@contextmanager
def _explained_size_errors(name: str, size: int) -> Iterator[None]:
    """Raise a network's error about the size of its images as a `UserError`."""
    try:
        yield
    except (RuntimeError, ValueError, AssertionError) as error:
        raise UserError(
            f"does not accept images of {size}x{size} pixels: {error}",
            where=f"model.name={name}",
            hint="Set transform.size, or use transform=pretrained for its own size.",
        ) from error


def _preset(transforms: Any) -> Preprocessing:
    """Convert torchvision's `ImageClassification` preset."""
    return Preprocessing(
        tuple(transforms.resize_size),
        transforms.crop_size[0],
        transforms.interpolation.value,
        tuple(transforms.mean),
        tuple(transforms.std),
    )


def _fingerprint(name: str, content: str) -> str:
    return hashlib.blake2b(json.dumps([name, content]).encode(), digest_size=16).hexdigest()
