"""Whether a network can be trained on a batch of one image.

BatchNorm takes the statistics of a channel over the images of a batch and their pixels. Where an
image has one pixel left, as in the last layers of a ResNet at 32 pixels, one image has no variance,
and torch refuses.
"""

from functools import cache

import torch
import torchvision

from visionsweep.config.schema import ModelConfig, TransformConfig
from visionsweep.errors import UserError
from visionsweep.models.backbones import build_untrained


@cache
@torch.no_grad()
def trains_on_one_image(name: str, source: str, size: int) -> bool:
    """Say whether a network can be trained on one image; nothing is downloaded for it.

    Args:
        name: its builder's name.
        source: `torchvision` or `package`.
        size: pixels a side of the image.
    """
    for device in ("meta", "cpu"):  # the first knows shapes alone: no memory, no arithmetic
        try:
            with torch.random.fork_rng(devices=[]), torch.device(device):
                build_untrained(name, source, size).train()(torch.zeros(1, 3, size, size))
        except (UserError, RuntimeError, ValueError, AssertionError) as error:
            if device == "meta" and isinstance(error.__cause__ or error, NotImplementedError):
                continue  # RegNets look at numbers while they are built
            # Whatever else is wrong with the network is said where it is built.
            return "more than 1 value per channel" not in str(error)
        return True
    return True


def image_size(model: ModelConfig, transform: TransformConfig) -> int | None:
    """Return the pixels a side of the images of a run, or None where its weights do not say.

    Args:
        model: which network and weights.
        transform: how an image becomes a tensor.
    """
    if transform.name == "resize":
        return transform.size
    if model.source == "package":
        try:
            import timm
        except ImportError:
            return None
        made_for = timm.get_pretrained_cfg(model.name)
        return None if made_for is None else int(made_for.input_size[-1])
    weights = torchvision.models.get_model_weights(model.name).__members__
    if model.weights not in weights:
        return None
    return int(weights[model.weights].transforms().crop_size[0])


def why_not_alone(model: ModelConfig, transform: TransformConfig) -> str | None:
    """Say why a network cannot be trained with `batch_size=1`, or return None if it can.

    Args:
        model: which network and weights.
        transform: how an image becomes a tensor.
    """
    size = image_size(model, transform)
    if size is None or trains_on_one_image(model.name, model.source, size):
        return None
    return (
        f"batch_size=1: the BatchNorm layers of {model.name} cannot train on one image of "
        f"{size}x{size} pixels. Use batch_size=2 or more, a larger transform.size, or "
        "training=feature_extraction"
    )
