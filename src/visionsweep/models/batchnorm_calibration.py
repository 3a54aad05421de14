"""Calibrate BatchNorm on synthetic images with the statistics of photographs."""

from functools import cache

import torch
from torch import nn

from visionsweep.data.transforms import resized
from visionsweep.runtime.threads import one_thread

VERSION = 1  # part of the fingerprint of random backbones: raise it when a pixel changes

_IMAGES = 12
_DISKS = 800  # per image
_SMALLEST, _LARGEST = 0.01, 0.5  # radii, relative to the side of an image
_SPREAD = 50.0  # standard deviation of a disk's gray value and of its color around the image's


@cache
def calibration_images(count: int, size: int) -> torch.Tensor:
    """Return images of overlapping disks, `uint8[count, 3, size, size]`, the same at every call.

    Disks of random color cover each other, with radii r of density 1/r^3: the dead leaves model
    (Lee, Mumford & Huang 2001), whose edges, flat areas, and power spectrum resemble photographs.
    Calibrated on noise instead, the features of a random network on photographs were a hundred
    times too large. The first images do not depend on `count`. Do not change them: calls with the
    same arguments share them.
    """
    return torch.stack([_dead_leaves(number, size) for number in range(count)])


def _dead_leaves(seed: int, size: int) -> torch.Tensor:
    """Return one image, `uint8[3, size, size]`."""
    random = torch.Generator().manual_seed(seed)
    mean_color = 28 + 200 * torch.rand(3, generator=random)
    colors = mean_color + _SPREAD * torch.randn(_DISKS, 3, generator=random)
    gray = _SPREAD * torch.randn(_DISKS, 1, generator=random)
    colors = (colors + gray).round().clamp(0, 255).to(torch.uint8)
    centers = torch.rand(_DISKS, 2, generator=random)
    # The inverse of the distribution function of 1/r^3 between the two radii.
    uniform = torch.rand(_DISKS, generator=random)
    radii = (_SMALLEST**-2 - uniform * (_SMALLEST**-2 - _LARGEST**-2)) ** -0.5
    order = radii.argsort(descending=True)  # or the largest disks would hide all others
    place = (torch.arange(size) + 0.5) / size
    image = mean_color.to(torch.uint8).reshape(3, 1, 1).repeat(1, size, size)
    for disk in order.tolist():
        (y, x), radius = centers[disk].tolist(), radii[disk]
        rows, columns = (
            slice(max(0, int((c - radius) * size) - 1), int((c + radius) * size) + 2)
            for c in (y, x)
        )
        inside = (place[rows, None] - y) ** 2 + (place[columns] - x) ** 2 <= radius**2
        image[:, rows, columns][:, inside] = colors[disk][:, None]
    return image


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
