"""Makes a network with random weights fit to train a head on."""

from functools import cache

import torch
from torch import nn

from visionsweep.data.decoding import open_rgb
from visionsweep.data.synthetic import sample
from visionsweep.data.transforms import resized
from visionsweep.runtime.threads import one_thread


@torch.no_grad()
def calibrate_batchnorm(network: nn.Module, size: int) -> None:
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
    with one_thread():  # a sum over several threads' parts has other last bits
        network(scenes_outside_the_sample(size))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


@cache
def scenes_outside_the_sample(size: int) -> torch.Tensor:
    """Draw scenes like the sample's that are not part of it, `float32[12, 3, size, size]`."""
    transform = resized(size).build()
    return torch.stack(
        [
            transform(open_rgb(sample.jpeg("train", label, index, sample.SHORT_SIDE)))
            for index in range(sample.COUNTS["train"], sample.COUNTS["train"] + 4)
            for label in sample.CLASSES
        ]
    )
