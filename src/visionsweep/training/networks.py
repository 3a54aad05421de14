"""Networks that images pass through in every epoch: in training, and fused for scoring."""

import importlib.util
import logging
import os
import shutil
from collections.abc import Sequence

import torch
from torch import nn

from visionsweep.config.schema import Config, TrainingConfig
from visionsweep.data.transforms import Preprocessing
from visionsweep.errors import UserError
from visionsweep.features.device_backbone import CHECK_IMAGES, DeviceBackbone, feature_dtype
from visionsweep.models import classifier
from visionsweep.models.backbones import Backbone
from visionsweep.models.batchnorm_calibration import calibration_images
from visionsweep.models.classifier import Classifier
from visionsweep.models.fusion import fuse_conv_bn, fuse_for_cpu
from visionsweep.models.heads import Heads
from visionsweep.models.lazy_model import LazyModel
from visionsweep.models.seeds import ReplicateSeeds
from visionsweep.runtime.devices import refuse_without_bfloat16

log = logging.getLogger(__name__)


def new_classifier(
    network: LazyModel,
    preprocessing: Preprocessing,
    device: torch.device,
    recipe: TrainingConfig,
    dropout: float,
    seeds: Sequence[ReplicateSeeds],
) -> Classifier:
    """Return a network with new heads on its device, in channels-last layout.

    A frozen backbone is fused, as it is in extraction.
    """
    if network.frozen:
        log.info(
            "Training images pass through the backbone in every epoch, since they are augmented"
        )
        heads = Heads(network.summary.width, network.classes, dropout, seeds)
        shared, name = network.backbone.module, network.spec.name
        fused = DeviceBackbone(shared, preprocessing, device, name, torch.float32).network
        return Classifier(fused, heads, frozen=True).to(device)
    log.info("Images pass through the whole network in every epoch, since it is trained")
    return trained_whole(network.backbone, network.classes, device, recipe, dropout, seeds)


def trained_whole(
    backbone: Backbone,
    classes: int,
    device: torch.device,
    recipe: TrainingConfig,
    dropout: float | None = None,
    seeds: Sequence[ReplicateSeeds] = classifier.ONE,
) -> Classifier:
    """Return a network that trains as a whole, with new heads, on its device in channels-last."""
    module = classifier.build(
        backbone,
        classes,
        dropout=dropout,
        frozen=False,
        seeds=seeds,
        freeze_batchnorm=recipe.freeze_batchnorm,
    )
    module.bf16 = recipe.precision == "bf16"
    module.to(device).to(memory_format=torch.channels_last)
    if recipe.compile:
        module.compile_for_training()
    return module


def refuse_recipe(config: Config, device: torch.device) -> None:
    """Refuse settings of training and extraction that a device cannot follow.

    Raises:
        UserError: if it computes no bfloat16, or if compilation does not pay or cannot work there.
    """
    feature_dtype(device, config.features.precision)
    recipe = config.training
    if recipe.precision == "bf16":
        refuse_without_bfloat16(device, "training.precision=bf16", "fp32")
    if not recipe.compile:
        return
    reason = ""
    if device.type != "cuda":
        reason = f"{device} trains compiled networks no faster: only CUDA's GPUs do"
    elif importlib.util.find_spec("triton") is None:
        reason = "torch compiles for a GPU by the package triton, which is not installed"
    elif not any(map(shutil.which, (os.environ.get("CC", "cc"), "gcc", "clang"))):
        reason = "torch compiles by a C compiler, and neither cc, gcc, nor clang is installed"
    if reason:
        hint = "Use training.compile=false."
        raise UserError(reason, where="training.compile=true", hint=hint)


@torch.no_grad()
def for_scoring(module: nn.Module, preprocessing: Preprocessing) -> nn.Module:
    """Return what is scored: a copy of a trained network with its Conv-BN layers fused, or heads.

    Heads score features, which scored images have once if the backbone is frozen. They are not
    copied.

    Args:
        module: heads, or a classifier.
        preprocessing: transform from an image to the network's input.
    """
    if not isinstance(module, Classifier):
        return module
    if module.frozen:
        return module.head
    module.eval()
    device = next(module.parameters()).device
    example = preprocessing.normalize(calibration_images(CHECK_IMAGES, preprocessing.size))
    example = example.to(device, memory_format=torch.channels_last)
    backbone = fuse_conv_bn(module.backbone, example).to(memory_format=torch.channels_last)
    if device.type == "cpu":
        backbone = fuse_for_cpu(backbone, example)
    return Classifier(backbone, module.head, frozen=True).eval()
