"""Synthetic images with the statistics of photographs, to calibrate and compare networks with."""

from functools import cache

import torch

VERSION = 1  # part of the fingerprint of random backbones: raise it when a pixel changes

_DISKS = 800
_SMALLEST, _LARGEST = 0.01, 0.5  # radii, relative to the side of an image
_SPREAD = 50.0  # standard deviation of a disk's gray value and of its color around the image's


@cache
def calibration_images(count: int, size: int) -> torch.Tensor:
    """Return images of overlapping disks, the same ones at every call.

    Disks of random color cover each other, with radii r of density 1/r^3: the dead leaves model
    (Lee, Mumford & Huang 2001), whose edges, flat areas, and power spectrum resemble photographs.
    Calibrated on noise instead, the features of a random network on photographs were a hundred
    times too large.

    Args:
        count: number of images; the first ones do not depend on it.
        size: pixels per side.

    Returns:
        `uint8[count, 3, size, size]`. Do not change it: calls with the same arguments share it.
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
