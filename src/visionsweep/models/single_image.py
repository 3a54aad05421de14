"""Determine whether a network can be trained on batches of one image.

BatchNorm computes the statistics of a channel over the images of a batch and their pixels. If one
pixel is left, as in the last layers of a ResNet at 32 pixels, one image has no variance, and torch
raises an error.
"""

from functools import cache

import torch
import torchvision

from visionsweep.config.own_weights import library_of
from visionsweep.config.schema import Config, ModelConfig, TransformConfig
from visionsweep.errors import UserError
from visionsweep.models.backbone_spec import own_preprocessing
from visionsweep.models.backbones import build_untrained
from visionsweep.models.meta import on_meta


@cache
@torch.no_grad()
def trains_on_one_image(name: str, source: str, size: int) -> bool:
    """Return whether a network can be trained on batches of one image, without its weights."""
    try:
        network = on_meta(lambda: build_untrained(name, source, size))
        network.train()(torch.zeros(1, 3, size, size, device="meta"))
    except (UserError, RuntimeError, ValueError, AssertionError) as error:
        # Other errors are raised when the network is built.
        return "more than 1 value per channel" not in str(error)
    return True


def image_size(model: ModelConfig, transform: TransformConfig) -> int | None:
    """Return the image size of a run in pixels, or None if its weights do not define one."""
    if transform.name == "resize":
        return transform.size
    if model.source == "local":
        own = own_preprocessing(model)
        return None if own is None else own.size
    if model.source != "torchvision":
        try:
            import timm
        except ImportError:
            return None
        pretrained = timm.get_pretrained_cfg(model.name)
        return None if pretrained is None else int(pretrained.input_size[-1])
    weights = torchvision.models.get_model_weights(model.name).__members__
    if model.weights not in weights:
        return None
    return int(weights[model.weights].transforms().crop_size[0])


def refuse_single_images(config: Config) -> None:
    """Refuse `batch_size=1` for a network whose BatchNorm layers cannot train on one image."""
    if config.batch_size > 1 or config.training.freeze_backbone:
        return
    model, size = config.model, image_size(config.model, config.transform)
    if size is not None and not trains_on_one_image(model.name, library_of(model), size):
        raise UserError(
            f"the BatchNorm layers of {model.name} cannot train on one image of {size}x{size} "
            "pixels",
            where="batch_size=1",
            hint="Use batch_size=2 or more, a larger transform.size, or "
            "training=feature_extraction",
        )
