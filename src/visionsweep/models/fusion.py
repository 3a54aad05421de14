"""Merge layers of a frozen network: fewer passes over its activations."""

import copy
import logging
import math
import sys
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

log = logging.getLogger(__name__)

TOLERANCE = 1e-4  # largest difference to the original features, relative to the largest feature


@torch.no_grad()
def fuse_conv_bn(network: nn.Module, example: torch.Tensor) -> nn.Module:
    """Return a copy of a network with its BatchNorm layers fused into the convolutions before them.

    A forward pass shows which convolution feeds which BatchNorm; the fused network is then compared
    with the original on the same images. This works for networks that `torch.fx` cannot trace.

    Args:
        network: network in evaluation mode; not changed.
        example: images, `float32[N, 3, size, size]`, on the network's device.

    Returns:
        The fused copy, or an unfused one if the outputs differ by more than `TOLERANCE`.
    """
    calls = _Calls(network, example, nn.BatchNorm2d)
    fused = copy.deepcopy(network)
    for before, after in calls.pairs:
        convolution: Any = fused.get_submodule(before)
        norm: Any = fused.get_submodule(after)
        fused.set_submodule(before, fuse_conv_bn_eval(convolution, norm))
        # timm's BatchNorm includes the activation after it.
        rest = [getattr(norm, name) for name in ("drop", "act") if hasattr(norm, name)]
        fused.set_submodule(after, nn.Sequential(*rest) if rest else nn.Identity())
    expected = calls.output
    difference = (fused(example) - expected).abs().max() / expected.abs().max().clamp(min=1e-12)
    if not difference <= TOLERANCE:
        log.warning("Conv-BN is not fused: features would differ by %.1e", difference)
        return copy.deepcopy(network)
    return fused


@torch.no_grad()
def fuse_for_cpu(network: nn.Module, example: torch.Tensor) -> nn.Module:
    """Return a network whose convolutions pad and clamp by themselves, for a CPU.

    TensorFlow's SAME padding, which copies the input of the convolution, becomes symmetric padding
    and a row and a column of zeros in the kernel. ReLU6 is computed by oneDNN in the convolution,
    without a pass over its output. Outputs are bitwise identical.

    Args:
        network: network in evaluation mode on the CPU in channels-last layout; not changed.
        example: images, `float32[N, 3, size, size]`, of the size that the network will be given.

    Returns:
        A changed copy; the network itself if nothing is to change, or if outputs would differ.
    """
    calls = _Calls(network, example, nn.Hardtanh)
    convolutions = {name: network.get_submodule(name) for name in calls.sizes}
    padded = {
        name: replacement
        for name, size in calls.sizes.items()
        if (replacement := _with_own_padding(convolutions[name], size)) is not None
    }
    convolutions |= padded
    clamps = {before: after for before, after in calls.pairs if _can_clamp(convolutions[before])}
    if not padded and not clamps:
        return network
    fused = copy.deepcopy(network)
    for name, convolution in padded.items():
        fused.set_submodule(name, convolution)
    for before, after in clamps.items():
        clamp: Any = fused.get_submodule(after)
        clamped = ClampedConv2d(convolutions[before], clamp.min_val, clamp.max_val)
        fused.set_submodule(before, clamped)
        fused.set_submodule(after, nn.Identity())
    return fused if torch.equal(fused(example), calls.output) else network


def _can_clamp(convolution: Any) -> bool:
    """Return whether oneDNN can clamp the output of a convolution."""
    return (
        torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_convolution_pointwise")  # torch's compiler uses it
        and type(convolution) is nn.Conv2d
        and convolution.padding_mode == "zeros"
        and isinstance(convolution.padding, tuple)
    )


class ClampedConv2d(nn.Module):
    """A convolution on the CPU whose output is clamped, in one pass.

    Args:
        convolution: the convolution, with zero padding.
        low, high: bounds of the output.
    """

    def __init__(self, convolution: Any, low: float, high: float) -> None:
        super().__init__()
        self.convolution = convolution
        self.bounds = [low, high]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return `float32[N, C, height, width]`."""
        c = self.convolution
        output: torch.Tensor = torch.ops.mkldnn._convolution_pointwise(
            images, c.weight, c.bias, c.padding, c.stride, c.dilation, c.groups,
            "hardtanh", self.bounds, "",
        )  # fmt: skip
        return output


def _with_own_padding(convolution: Any, size: torch.Size) -> nn.Conv2d | None:
    """Return timm's convolution with SAME padding as one of torch; None for others.

    Args:
        convolution: a convolution.
        size: height and width of its input.
    """
    timm_layers = sys.modules.get("timm.layers")
    if timm_layers is None or not isinstance(convolution, timm_layers.Conv2dSame):
        return None
    before, after = [], []
    for axis in range(2):
        kernel, stride = convolution.kernel_size[axis], convolution.stride[axis]
        reach = (math.ceil(size[axis] / stride) - 1) * stride
        reach += (kernel - 1) * convolution.dilation[axis] + 1
        total = max(reach - size[axis], 0)
        before.append(total // 2)
        after.append(total - total // 2)
    if before != after and convolution.dilation != (1, 1):
        return None
    weight = F.pad(convolution.weight, (after[1] - before[1], 0, after[0] - before[0], 0))
    padded = nn.Conv2d(
        convolution.in_channels, convolution.out_channels, (weight.shape[2], weight.shape[3]),
        convolution.stride, (after[0], after[1]), convolution.dilation, convolution.groups,
        convolution.bias is not None,
    )  # fmt: skip
    padded.weight.copy_(weight)
    padded.bias = convolution.bias
    return padded.to(memory_format=torch.channels_last).eval()


class _Calls:
    """What a forward pass shows of a network's convolutions.

    Attributes:
        output: the network's output.
        pairs: names of convolutions and modules of a kind called in a row, each once.
        sizes: height and width of each convolution's input, by name, if it is called once.
    """

    def __init__(self, network: nn.Module, example: torch.Tensor, kind: type[nn.Module]) -> None:
        calls: dict[str, int] = {}
        sizes: dict[str, torch.Size] = {}
        pairs: list[tuple[str, str]] = []
        # Holding the outputs keeps their ids unique.
        outputs: dict[int, tuple[str, torch.Tensor]] = {}

        def watch(name: str, module: nn.Module) -> Any:
            def after_convolution(_module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
                calls[name] = calls.get(name, 0) + 1
                sizes[name] = inputs[0].shape[-2:]
                outputs[id(output)] = (name, output)

            def before_other(_module: nn.Module, inputs: Any) -> None:
                calls[name] = calls.get(name, 0) + 1
                if (source := outputs.get(id(inputs[0]))) is not None:
                    pairs.append((source[0], name))

            if isinstance(module, nn.Conv2d):
                return module.register_forward_hook(after_convolution)
            return module.register_forward_pre_hook(before_other)

        hooks = [
            watch(name, module)
            for name, module in network.named_modules()
            if isinstance(module, (nn.Conv2d, kind))
        ]
        try:
            self.output: torch.Tensor = network(example)
        finally:
            for hook in hooks:
                hook.remove()
        self.pairs = [(c, n) for c, n in pairs if calls[c] == 1 and calls[n] == 1]
        self.sizes = {name: size for name, size in sizes.items() if calls[name] == 1}
