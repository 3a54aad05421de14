"""Backbones: classification networks without their last layer, whatever a family calls it."""

import hashlib
import json
import logging
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torchvision
from torch import nn

from visionsweep.config import ModelConfig
from visionsweep.data import sample
from visionsweep.data.images import open_rgb
from visionsweep.data.transforms import Preprocessing, resized
from visionsweep.errors import UserError, warn_loudly
from visionsweep.models import weights
from visionsweep.models.weights import WeightsUnavailableError

log = logging.getLogger(__name__)

RANDOM_WEIGHTS_SEED = 0  # one random backbone for all runs: it plays the part of pretrained weights


@dataclass(frozen=True)
class Backbone:
    """A network that turns images into features.

    Attributes:
        module: from `float32[N, 3, size, size]` to `float32[N, width]`.
        width: number of features.
        dropout: what the original network has before its last layer.
        weights: what it was trained on, `IMAGENET1K_V1`, or `random`.
        fingerprint: of name and weights; equal for backbones that compute the same.
        preprocessing: how its weights saw images, or None where they saw none.
    """

    module: nn.Module
    width: int
    dropout: float
    weights: str
    fingerprint: str
    preprocessing: Preprocessing | None


def load_backbone(config: ModelConfig, size: int, *, random_if_unavailable: bool) -> Backbone:
    """Build a backbone with its pretrained weights.

    Args:
        config: which model and weights.
        size: pixels a side of the images to come; some networks are built for one size.
        random_if_unavailable: whether weights that cannot be had are replaced by random ones, with
            a warning; for the rendered sample only.

    Raises:
        WeightsUnavailableError: if the weights cannot be had.
        UserError: if the model cannot be built.
    """
    if config.source == "package":
        backbone = _from_package(config, size)
    else:
        backbone = _from_torchvision(config, size, random_if_unavailable)
    _try_out(backbone, config.name, size)
    return backbone


@torch.inference_mode()
def _try_out(backbone: Backbone, name: str, size: int) -> None:
    """Refuse a network that cannot take images of this size, before any work is done."""
    seen = backbone.preprocessing.size if size == 0 and backbone.preprocessing else size
    try:
        features = backbone.module.eval()(torch.zeros(1, 3, seen, seen)).flatten(1)
    except (RuntimeError, ValueError, AssertionError) as error:
        raise UserError(
            f"model.name={name}: cannot take images of {seen}x{seen} pixels: {error}; "
            "set transform.size, or transform=pretrained for the size it was trained with"
        ) from error
    if features.shape != (1, backbone.width):
        raise UserError(
            f"model.name={name}: gives features of shape {tuple(features.shape)} where its last "
            f"layer takes {backbone.width}, so no head fits on it"
        )


def _from_torchvision(config: ModelConfig, size: int, random_if_unavailable: bool) -> Backbone:
    entry = None
    preprocessing = None
    if config.weights is not None:
        entry = weights.named(torchvision.models.get_model_weights(config.name), config.weights)
        preprocessing = _preset(entry.transforms())
        try:
            weights.read_safely(weights.ensure_cached(entry, config.weights_url))
        except WeightsUnavailableError as error:
            if not random_if_unavailable:
                raise
            _warn_of_random(str(error).splitlines()[0])
            entry = None
    network = _build(config.name, entry, size)
    label = entry.name if entry is not None else "random"
    module, width, dropout = split(network, config.name)
    if entry is None and config.weights is None:
        log.warning("model.weights=null: the backbone is random, as asked for")
    content = _digest_of(module) if entry is not None else f"seed {RANDOM_WEIGHTS_SEED}"
    return Backbone(
        module, width, dropout, label, _fingerprint(config.name, content), preprocessing
    )


def _build(name: str, entry: Any, size: int) -> nn.Module:
    options: dict[str, Any] = {}
    if entry is None and name.startswith("vit_"):
        options["image_size"] = size
    if entry is None and name.startswith("maxvit"):
        options["input_size"] = (size, size)
    if name in ("googlenet", "inception_v3") and entry is None:
        options |= {"aux_logits": False, "init_weights": True}
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(RANDOM_WEIGHTS_SEED)
            network: nn.Module = torchvision.models.get_model(name, weights=entry, **options)
            if entry is None:
                settle_batchnorm(network, size)
    except (RuntimeError, ValueError, AssertionError) as error:
        raise UserError(f"model.name={name}: cannot be built: {error}") from error
    if hasattr(network, "aux_logits"):  # only the main classifier is used
        setattr(network, "aux_logits", False)  # noqa: B010 (typed as a submodule)
        for part in ("aux1", "aux2", "AuxLogits"):
            if hasattr(network, part):
                setattr(network, part, None)
    return network


def _from_package(config: ModelConfig, size: int) -> Backbone:
    try:
        import timm
    except ImportError as error:
        raise WeightsUnavailableError(
            f"model.name={config.name}: this model comes from timm; pip install -e '.[lite]'"
        ) from error
    if not timm.is_model(config.name):
        raise UserError(f"model.name={config.name}: timm has no such model")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(RANDOM_WEIGHTS_SEED)
        network: nn.Module = timm.create_model(config.name, pretrained=False)
    label, content = "random", f"seed {RANDOM_WEIGHTS_SEED}"
    if config.weights is not None:
        path, label = weights.package_file(config.weights)
        stored = weights.by_order(weights.read_safely(path), network.state_dict(), path)
        network.load_state_dict(stored)
    module, width, dropout = split(network, config.name)
    if config.weights is not None:
        content = _digest_of(module)
    else:
        settle_batchnorm(module, size)
        log.warning("model.weights=null: the backbone is random, as asked for")
    made_for: dict[str, Any] = network.pretrained_cfg  # type: ignore[assignment]
    side = made_for["input_size"][-1]
    preprocessing = Preprocessing(
        (round(side / made_for["crop_pct"]),),
        side,
        made_for["interpolation"],
        tuple(made_for["mean"]),
        tuple(made_for["std"]),
    )
    return Backbone(
        module, width, dropout, label, _fingerprint(config.name, content), preprocessing
    )


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


@torch.no_grad()
def settle_batchnorm(network: nn.Module, size: int) -> None:
    """Give the BatchNorm layers of an untrained network statistics that keep signals alive.

    Fresh statistics (mean 0, variance 1) are far from what a random network computes: through the
    layers of an EfficientNet features shrink to nothing, and a head cannot be trained on them. So
    the statistics are measured once, on scenes that are drawn like the sample but not part of it.
    Noise will not do: measured on it, real images end in features a hundred times too large.

    Args:
        network: whole or without its last layer; changed in place.
        size: pixels a side of the images it will see.
    """
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    network.eval()
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # an average over what is seen, not a moving one
        norm.train()
    network(_scenes_outside_the_sample(size))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


@cache
def _scenes_outside_the_sample(size: int) -> torch.Tensor:
    transform = resized(size).build()
    return torch.stack(
        [
            transform(open_rgb(sample._jpeg("train", label, index, sample.SHORT_SIDE)))
            for index in range(sample.COUNTS["train"], sample.COUNTS["train"] + 4)
            for label in sample.CLASSES
        ]
    )


def _warn_of_random(reason: str) -> None:
    warn_loudly(
        log,
        "THE PRETRAINED WEIGHTS CANNOT BE REACHED: THIS RUN USES A RANDOM BACKBONE.",
        reason,
        "Good enough to try the program on the sample; the record says `weights: random`.",
    )


def _digest_of(module: nn.Module) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy())
    return digest.hexdigest()


def _fingerprint(name: str, content: str) -> str:
    return hashlib.blake2b(json.dumps([name, content]).encode(), digest_size=16).hexdigest()
