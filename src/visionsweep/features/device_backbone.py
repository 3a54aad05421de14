"""A frozen backbone on its compute device, compared with the CPU before it is used."""

import copy
import logging
from functools import cached_property

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from visionsweep.data.transforms import Preprocessing
from visionsweep.errors import UserError
from visionsweep.models.batchnorm_calibration import calibration_images
from visionsweep.models.fusion import fuse_conv_bn, fuse_for_cpu
from visionsweep.runtime.devices import refuse_without_bfloat16

log = logging.getLogger(__name__)

# Largest difference from the CPU's float32 features, relative to the largest feature.
# Measured on an H200: docs/results.md, "On a GPU".
TOLERANCE = 0.05
BFLOAT16_TOLERANCE = 0.4  # it rounds eight times as coarsely as float16
CHECK_IMAGES = 3
_ATTENTION = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


def feature_dtype(device: torch.device, precision: str = "auto") -> torch.dtype:
    """Return the precision of convolutions and matrix products in extraction on a device.

    Raises:
        UserError: if `precision` is `bf16` and the device has no such instructions.
    """
    if precision == "bf16":
        refuse_without_bfloat16(device, "features.precision=bf16", "auto")
        return torch.bfloat16
    return torch.float16 if device.type == "cuda" else torch.float32


class DeviceBackbone:
    """A backbone with fused Conv-BN layers in channels-last layout, on its compute device.

    In half precision, rows that are not finite are recomputed in float32, so a network whose
    activations exceed float16's 65,504 has the same features as on a CPU.

    Args:
        backbone: network on the CPU in evaluation mode, from `float32[N, 3, size, size]` to
            `float32[N, width]`; not changed.
        preprocessing: transform from image to tensor.
        device: device that computes.
        name: name of the backbone, for messages.
        dtype: precision of convolutions and matrix products; by default the device's.
    """

    def __init__(
        self,
        backbone: nn.Module,
        preprocessing: Preprocessing,
        device: torch.device,
        name: str = "the backbone",
        dtype: torch.dtype | None = None,
    ) -> None:
        self.preprocessing, self.device, self.name = preprocessing, device, name
        self._backbone = backbone.eval()
        self._dtype = dtype or feature_dtype(device)

    @torch.inference_mode()
    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return features, `float32[N, width]` on the CPU, of `uint8[N, 3, size, size]`."""
        pixels = pixels.to(self.device, non_blocking=True)  # asynchronous if the source is pinned
        images = self.preprocessing.normalize(pixels)
        images = images.contiguous(memory_format=torch.channels_last)
        features = self._forward(self.network, images)
        if self.network is not self._float32 and not (finite := features.isfinite().all(1)).all():
            recomputed = self._forward(self._float32, images)
            features = torch.where(finite.unsqueeze(1), features, recomputed)
        return features

    @cached_property
    def _example(self) -> torch.Tensor:
        """Normalized images, `float32[3, 3, size, size]`, to compare networks and devices on.

        Always the same ones: an image's features must not depend on which images come first.
        """
        images = calibration_images(CHECK_IMAGES, self.preprocessing.size)
        return self.preprocessing.normalize(images)

    @cached_property
    def fused(self) -> nn.Module:
        """The fused backbone on the CPU."""
        return fuse_conv_bn(self._backbone, self._example)

    @cached_property
    def _float32(self) -> nn.Module:
        """The fused backbone in float32 on the device."""
        if self.device.type != "cpu":
            return copy.deepcopy(self.fused).to(self.device).to(memory_format=torch.channels_last)
        network = self.fused.to(memory_format=torch.channels_last)
        example = self._example.contiguous(memory_format=torch.channels_last)
        return fuse_for_cpu(network, example)

    @cached_property
    def network(self) -> nn.Module:
        """The network on its device, in half precision if its features agree with the CPU's.

        Raises:
            UserError: if even float32 features disagree.
        """
        if self.device.type == "cpu" and self._dtype == torch.float32:
            return self._float32
        expected = self.fused(self._example).flatten(1).float()
        images = self._example.to(self.device).contiguous(memory_format=torch.channels_last)
        candidates = [self._float32]
        if self._dtype != torch.float32:
            candidates.insert(0, self._in_half_precision())
        for network in candidates:
            error = relative_error(self._forward(network, images), expected)
            dtype = torch.float32 if network is self._float32 else self._dtype
            if error <= (BFLOAT16_TOLERANCE if dtype == torch.bfloat16 else TOLERANCE):
                return network
            log.warning(
                "%s: the largest relative difference of features between %s in %s and the CPU "
                "is %.2g",
                self.name,
                self.device,
                str(dtype).removeprefix("torch."),
                error,
            )
        raise UserError(
            f"the features on {self.device} differ from those on the CPU, and nothing is stored",
            where=self.name,
            hint="Use device=cpu, or another version of the driver or of torch.",
        )

    def _in_half_precision(self) -> nn.Module:
        """Return a copy of the network with converted weights.

        Autocast does not keep the converted weights of a frozen network, and would convert them
        again in every batch. It needs them in convolutions and linear layers alone. On a CPU, all
        layers are converted, since changing activations to float32 and back takes time.
        """
        converted = copy.deepcopy(self._float32)
        kinds = nn.Module if self.device.type == "cpu" else nn.Conv2d | nn.Linear
        for module in converted.modules():
            if isinstance(module, kinds):
                module.to(self._dtype)
        return converted

    def _forward(self, network: nn.Module, images: torch.Tensor) -> torch.Tensor:
        """Return features with attention kernels whose *forward* passes are deterministic."""
        half = network is not self._float32
        if half and self.device.type == "cpu":
            images = images.to(self._dtype)
        with torch.autocast(self.device.type, self._dtype, enabled=half), sdpa_kernel(_ATTENTION):
            features: torch.Tensor = network(images).flatten(1)
        return features.float().cpu()


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the largest difference relative to the largest expected value; NaN if not finite."""
    return float((actual - expected).abs().max() / expected.abs().max().clamp(min=1e-12))
