"""Calibrate the BatchNorm statistics of networks with random weights."""

import torch
from torch import nn

from visionsweep.data.transforms import resized
from visionsweep.models.calibration_images import calibration_images
from visionsweep.runtime.threads import one_thread

_IMAGES = 12


@torch.no_grad()
def calibrate_batchnorm(network: nn.Module, size: int) -> None:
    """Set the running statistics of each BatchNorm layer to those of calibration images.

    Initial statistics (mean 0, variance 1) are far from the activations of a random network: the
    features of an EfficientNet vanish, and no head can be trained on them. The network is changed
    in place, and in evaluation mode afterwards; `size` is the pixels per side of its images.
    """
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    network.eval()
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average instead of a moving one
        norm.train()
    with one_thread():  # a sum over the parts of several threads rounds differently
        network(resized(size).normalize(calibration_images(_IMAGES, size)))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
