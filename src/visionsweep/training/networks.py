"""Networks that images pass through in every epoch: in training, and fused for scoring."""

import logging
from collections.abc import Sequence

import torch
from torch import nn

from visionsweep.config.schema import TrainingConfig
from visionsweep.data.transforms import Preprocessing
from visionsweep.features.device_backbone import CHECK_IMAGES, DeviceBackbone
from visionsweep.models import classifier
from visionsweep.models.batchnorm_calibration import calibration_images
from visionsweep.models.classifier import Classifier
from visionsweep.models.fusion import fuse_conv_bn, fuse_for_cpu
from visionsweep.models.heads import Heads
from visionsweep.models.lazy_model import LazyModel
from visionsweep.models.seeds import ReplicateSeeds

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
        log.info("Images pass through the backbone in every epoch, since they are augmented")
        heads = Heads(network.summary.width, network.classes, dropout, seeds)
        shared, name = network.backbone.module, network.spec.name
        return on_fused_backbone(shared, heads, preprocessing, device, name)
    log.info("Images pass through the whole network in every epoch, since it is trained")
    module = classifier.build(
        network.backbone,
        network.classes,
        dropout=dropout,
        frozen=False,
        seeds=seeds,
        freeze_batchnorm=recipe.freeze_batchnorm,
    )
    module.bf16 = recipe.precision == "bf16"
    return module.to(device).to(memory_format=torch.channels_last)


def on_fused_backbone(
    backbone: nn.Module, heads: Heads, preprocessing: Preprocessing, device: torch.device, name: str
) -> Classifier:
    """Return heads on a frozen backbone, fused as in extraction, on a device.

    Args:
        backbone: backbone on the CPU, not changed.
        heads: heads.
        preprocessing: transform from an image to the network's input.
        device: device that computes.
        name: name of the backbone, for messages.
    """
    fused = DeviceBackbone(backbone, preprocessing, device, name, torch.float32).network
    return Classifier(fused, heads, frozen=True).to(device)


@torch.no_grad()
def for_scoring(module: nn.Module, preprocessing: Preprocessing) -> nn.Module:
    """Return a copy of a trained network for scoring, with its Conv-BN layers fused.

    Heads, and networks whose backbone is frozen, are returned as they are. The head is not copied.

    Args:
        module: heads, or a classifier.
        preprocessing: transform from an image to the network's input.
    """
    if not isinstance(module, Classifier) or module.frozen:
        return module
    module.eval()
    device = next(module.parameters()).device
    example = preprocessing.normalize(calibration_images(CHECK_IMAGES, preprocessing.size))
    example = example.to(device, memory_format=torch.channels_last)
    backbone = fuse_conv_bn(module.backbone, example).to(memory_format=torch.channels_last)
    if device.type == "cpu":
        backbone = fuse_for_cpu(backbone, example)
    return Classifier(backbone, module.head, frozen=True).eval()
