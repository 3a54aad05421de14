"""A frozen backbone on the device that computes, checked against the CPU before it is used."""

import copy
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from visionsweep.data.transforms import Preprocessing
from visionsweep.errors import UserError
from visionsweep.models.calibration_images import calibration_images
from visionsweep.models.fusion import fuse_conv_bn

log = logging.getLogger(__name__)

# Largest difference from the CPU's float32 features, relative to the largest feature.
# Measured on an H200: docs/results.md, "On a GPU".
TOLERANCE = 0.05


def feature_dtype(device: torch.device) -> torch.dtype:
    """Return the precision of convolutions and matrix products in extraction on a device."""
    return torch.float16 if device.type == "cuda" else torch.float32


class DeviceBackbone:
    """A backbone with fused BatchNorm in channels-last layout, on its device.

    Where the device computes in float16, a row that is not finite is computed again in float32, so
    a network whose activations exceed 65,504 has the features that a CPU gives it.

    Args:
        backbone: on the CPU in evaluation mode, from `float32[N, 3, size, size]` to
            `float32[N, width]`; not changed.
        preprocessing: mean and standard deviation of the images.
        device: where to compute.
        name: the backbone's name in messages.
        dtype: precision of convolutions and matrix products; the device's own by default.
    """

    def __init__(
        self,
        backbone: nn.Module,
        preprocessing: Preprocessing,
        device: torch.device,
        name: str = "the backbone",
        dtype: torch.dtype | None = None,
    ) -> None:
        self._backbone = backbone.eval()
        self._preprocessing = preprocessing
        self._device = device
        self._name = name
        self._dtype = dtype or feature_dtype(device)

    @torch.inference_mode()
    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return features, `float32[N, width]` on the CPU, of `uint8[N, 3, size, size]`."""
        pixels = pixels.to(self._device, non_blocking=True)  # asynchronous if the source is pinned
        images = self._preprocessing.normalize(pixels)
        images = images.contiguous(memory_format=torch.channels_last)
        features = self._forward(self.network, images)
        if self.network is not self._single and not (finite := _finite_rows(features)).all():
            again = self._forward(self._single, images)
            features = torch.where(finite.unsqueeze(1), features, again)
        return features

    @cached_property
    def _fused(self) -> tuple[nn.Module, torch.Tensor]:
        """The fused backbone on the CPU, and the images it was compared on.

        These are always the same: an image's features must not depend on the images before it.
        """
        example = self._preprocessing.normalize(calibration_images(3, self._preprocessing.size))
        return fuse_conv_bn(self._backbone, example), example

    @cached_property
    def _single(self) -> nn.Module:
        """The fused backbone in float32 on the device."""
        network = copy.deepcopy(self._fused[0]) if self._device.type != "cpu" else self._fused[0]
        return network.to(self._device).to(memory_format=torch.channels_last)

    @cached_property
    def network(self) -> nn.Module:
        """The network on its device, in half precision if that gives the CPU's features.

        Raises:
            UserError: if the device gives other features in float32, too.
        """
        if self._device.type == "cpu" and self._dtype == torch.float32:
            return self._single
        fused, example = self._fused
        expected = fused(example).flatten(1).float()
        images = example.to(self._device).contiguous(memory_format=torch.channels_last)
        candidates = [self._single]
        if self._dtype != torch.float32:
            candidates.insert(0, _with_weights_in(self._dtype, self._single))
        for network in candidates:
            error = relative_error(self._forward(network, images), expected)
            if error <= TOLERANCE:
                return network
            log.warning(
                "%s: features differ by %.2g of the largest between %s and the CPU in %s",
                self._name, error, self._device,
                "float32" if network is self._single else str(self._dtype).removeprefix("torch."),
            )  # fmt: skip
        raise UserError(
            f"{self._device} computes other features than the CPU, and nothing is stored",
            where=self._name,
            hint="Use device=cpu, or another version of the driver or of torch.",
        )

    def _forward(self, network: nn.Module, images: torch.Tensor) -> torch.Tensor:
        with self._kernels(network):
            features: torch.Tensor = network(images).flatten(1)
        return features.float().cpu()

    @contextmanager
    def _kernels(self, network: nn.Module) -> Iterator[None]:
        """Choose precision and attention kernels: every kernel's *forward* pass is repeatable."""
        half = network is not self._single
        with (
            torch.autocast(self._device.type, self._dtype, enabled=half),
            sdpa_kernel(
                [
                    SDPBackend.FLASH_ATTENTION,
                    SDPBackend.EFFICIENT_ATTENTION,
                    SDPBackend.MATH,
                ]
            ),
        ):
            yield


def _with_weights_in(dtype: torch.dtype, network: nn.Module) -> nn.Module:
    """Return a copy whose convolutions and linear layers hold weights that autocast need not cast.

    Autocast does not keep the cast weights of a frozen network: it would cast them in each batch.
    """
    converted = copy.deepcopy(network)
    for module in converted.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.to(dtype)
    return converted


def _finite_rows(features: torch.Tensor) -> torch.Tensor:
    return torch.isfinite(features).all(1)


def relative_error(got: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the largest difference relative to the largest expected number; NaN if not finite."""
    return float((got - expected).abs().max() / expected.abs().max().clamp(min=1e-12))
