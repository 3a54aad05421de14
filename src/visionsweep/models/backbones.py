"""Backbones: classification networks without their last layer, whatever a family calls it."""

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
from visionsweep.data.synthetic import sample
from visionsweep.data.transforms import Preprocessing
from visionsweep.errors import UserError, warn_loudly
from visionsweep.models import pickled_weights, pretrained_weights, torchvision_builders
from visionsweep.models.batchnorm_calibration import calibrate_batchnorm
from visionsweep.models.pickled_weights import WeightsFile
from visionsweep.models.pretrained_weights import WeightsUnavailableError

log = logging.getLogger(__name__)

RANDOM_WEIGHTS_SEED = 0  # one random backbone for all runs: it plays the part of pretrained weights


@dataclass(frozen=True)
class BackboneSpec:
    """Which backbone it is: all that is known of one without building it.

    Attributes:
        name: its builder's name.
        source: `torchvision` or `package`.
        weights: what it was trained on, `IMAGENET1K_V1`, or `random`.
        fingerprint: of name and weights; equal for backbones that compute the same.
        preprocessing: how its weights saw images, or None where they saw none.
        file: the file of weights; None for random ones.
        entry: torchvision's entry for the weights, or None.
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
    """A network that turns images into features.

    Attributes:
        module: from `float32[N, 3, size, size]` to `float32[N, width]`, in evaluation mode.
        width: number of features.
        dropout: what the original network has before its last layer.
        spec: which backbone it is.
    """

    module: nn.Module
    width: int
    dropout: float
    spec: BackboneSpec


def resolve_backbone(config: ModelConfig, *, random_if_unavailable: bool) -> BackboneSpec:
    """Say which backbone a configuration means, fetching its weights if they are not here.

    Args:
        config: which model and weights.
        random_if_unavailable: whether weights that cannot be had are replaced by random ones, with
            a warning; for the rendered sample only.

    Raises:
        WeightsUnavailableError: if the weights cannot be had.
        UserError: if there is no such model.
    """
    if config.source == "package":
        return _resolve_package(config)
    if config.weights is None:
        return _random(config, None)
    entry = pretrained_weights.named(
        torchvision.models.get_model_weights(config.name), config.weights
    )
    preset = _preset(entry.transforms())
    try:
        file = pretrained_weights.ensure_cached(entry, config.weights_url)
    except WeightsUnavailableError as error:
        if not random_if_unavailable:
            raise
        warn_loudly(
            log,
            "THE PRETRAINED WEIGHTS CANNOT BE REACHED: THIS RUN USES A RANDOM BACKBONE.",
            str(error).splitlines()[0],
            "Good enough to try the program on the sample; the record says `weights: random`.",
        )
        return _random(config, preset)
    fingerprint = _fingerprint(config.name, file.digest)
    return BackboneSpec(config.name, "torchvision", entry.name, fingerprint, preset, file, entry)


def _resolve_package(config: ModelConfig) -> BackboneSpec:
    timm = _timm(config.name)
    if not timm.is_model(config.name):
        raise UserError(f"model.name={config.name}: timm has no such model")
    made_for = timm.get_pretrained_cfg(config.name)
    side = made_for.input_size[-1]
    preset = Preprocessing(
        (round(side / made_for.crop_pct),),
        side,
        made_for.interpolation,
        tuple(made_for.mean),
        tuple(made_for.std),
    )
    if config.weights is None:
        return _random(config, preset)
    file, label = pretrained_weights.package_file(config.weights)
    fingerprint = _fingerprint(config.name, file.digest)
    return BackboneSpec(config.name, "package", label, fingerprint, preset, file)


def _random(config: ModelConfig, preset: Preprocessing | None) -> BackboneSpec:
    recipe = f"random, seed {RANDOM_WEIGHTS_SEED}, scenes {sample.VERSION}, one thread"
    return BackboneSpec(
        config.name, config.source, "random", _fingerprint(config.name, recipe), preset, None
    )


def _timm(name: str) -> Any:
    try:
        import timm
    except ImportError as error:
        raise WeightsUnavailableError(
            f"model.name={name}: this model comes from timm; pip install -e '.[lite]'"
        ) from error
    return timm


def build(spec: BackboneSpec, size: int) -> Backbone:
    """Build a backbone with its weights.

    Args:
        spec: which one.
        size: pixels a side of the images to come; some networks are built for one size.

    Raises:
        UserError: if it cannot be built, or cannot take images of this size.
    """
    whole = _from_package(spec) if spec.source == "package" else None
    network = whole or _from_torchvision(spec, size)
    with _wrong_size_explained(spec.name, size):
        if spec.weights == "random":
            calibrate_batchnorm(network, size)
        module, width, dropout = split(network.eval(), spec.name)
        with torch.inference_mode():
            features = module(torch.zeros(1, 3, size, size)).flatten(1)
    if features.shape != (1, width):
        raise UserError(
            f"model.name={spec.name}: gives features of shape {tuple(features.shape)} where "
            f"its last layer takes {width}, so no head fits on it"
        )
    return Backbone(module, width, dropout, spec)


def untrained(name: str, source: str, size: int) -> nn.Module:
    """Build a whole network with random parameters, and without its auxiliary heads.

    Args:
        name: its builder's name.
        source: `torchvision` or `package`.
        size: pixels a side of the images to come.

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
        made_for = "" if entry is not None else f" for images of {size}x{size} pixels"
        remedy = "" if entry is not None else "; set another transform.size"
        if spec.file is not None:
            remedy = f"; is {spec.file.path} of another model?"
        raise UserError(f"model.name={name}: cannot be built{made_for}: {error}{remedy}") from error
    return torchvision_builders.without_auxiliary_heads(network)


def _from_package(spec: BackboneSpec) -> nn.Module:
    with _fixed_random_state():
        network: nn.Module = _timm(spec.name).create_model(spec.name, pretrained=False)
    if spec.file is not None:
        stored = pickled_weights.read(spec.file, follow_links=True)
        network.load_state_dict(
            pretrained_weights.by_order(stored, network.state_dict(), spec.file.path)
        )
    return network


@contextmanager
def _wrong_size_explained(name: str, size: int) -> Iterator[None]:
    """Turn what a network has against images of a size into a `UserError`, before any work."""
    try:
        yield
    except (RuntimeError, ValueError, AssertionError) as error:
        raise UserError(
            f"model.name={name}: cannot take images of {size}x{size} pixels: {error}; "
            "set transform.size, or transform=pretrained for the size it was trained with"
        ) from error


def _preset(transforms: Any) -> Preprocessing:
    """Read torchvision's `ImageClassification` preset."""
    return Preprocessing(
        tuple(transforms.resize_size),
        transforms.crop_size[0],
        transforms.interpolation.value,
        tuple(transforms.mean),
        tuple(transforms.std),
    )


def split(network: nn.Module, name: str) -> tuple[nn.Module, int, float]:
    """Take the last linear layer off a classification network, and the dropout right before it.

    Args:
        network: the whole network; it is changed in place.
        name: its name, for the message.

    Returns:
        The network that now ends in features, their number, and the dropout's probability.

    Raises:
        UserError: if the network ends in no linear layer.
    """
    leaves = [(path, m) for path, m in network.named_modules() if not list(m.children())]
    if name.startswith("squeezenet"):
        # Its last layer is a 1x1 convolution, followed by pooling: pool first, and it is linear.
        classifier = network.classifier
        assert isinstance(classifier, nn.Sequential)
        dropout, convolution = classifier[0], classifier[1]
        assert isinstance(dropout, nn.Dropout) and isinstance(convolution, nn.Conv2d)
        network.classifier = nn.AdaptiveAvgPool2d(1)
        return network, convolution.in_channels, dropout.p
    linear = [i for i, (_, m) in enumerate(leaves) if isinstance(m, nn.Linear)]
    if not linear:
        raise UserError(f"model.name={name}: ends in no linear layer, so no head fits on it")
    path, last = leaves[linear[-1]]
    assert isinstance(last, nn.Linear)
    network.set_submodule(path, nn.Identity())
    probability = 0.0
    before_path, before = leaves[linear[-1] - 1]
    if isinstance(before, nn.Dropout):
        network.set_submodule(before_path, nn.Identity())
        probability = before.p
    return network, last.in_features, probability


def _fingerprint(name: str, content: str) -> str:
    return hashlib.blake2b(json.dumps([name, content]).encode(), digest_size=16).hexdigest()
