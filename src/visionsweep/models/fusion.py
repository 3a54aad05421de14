"""Fuse BatchNorm layers into the convolutions before them."""

import copy
import logging
from typing import Any

import torch
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
    pairs, expected = _conv_bn_pairs(network, example)
    fused = copy.deepcopy(network)
    for before, after in pairs:
        convolution: Any = fused.get_submodule(before)
        norm: Any = fused.get_submodule(after)
        fused.set_submodule(before, fuse_conv_bn_eval(convolution, norm))
        # timm's BatchNorm includes the activation after it.
        rest = [getattr(norm, name) for name in ("drop", "act") if hasattr(norm, name)]
        fused.set_submodule(after, nn.Sequential(*rest) if rest else nn.Identity())
    difference = (fused(example) - expected).abs().max() / expected.abs().max().clamp(min=1e-12)
    if not difference <= TOLERANCE:
        log.warning("Conv-BN is not fused: features would differ by %.1e", difference)
        return copy.deepcopy(network)
    return fused


def _conv_bn_pairs(
    network: nn.Module, example: torch.Tensor
) -> tuple[list[tuple[str, str]], torch.Tensor]:
    """Return the convolutions and BatchNorm layers called in a row, and the network's output."""
    calls: dict[str, int] = {}
    outputs: dict[
        int, tuple[str, torch.Tensor]
    ] = {}  # keeps tensors alive, so that ids stay unique
    pairs: list[tuple[str, str]] = []

    def watch(name: str, module: nn.Module) -> Any:
        def after_convolution(_module: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
            calls[name] = calls.get(name, 0) + 1
            outputs[id(output)] = (name, output)

        def before_norm(_module: nn.Module, inputs: Any) -> None:
            calls[name] = calls.get(name, 0) + 1
            if (source := outputs.get(id(inputs[0]))) is not None:
                pairs.append((source[0], name))

        if isinstance(module, nn.Conv2d):
            return module.register_forward_hook(after_convolution)
        return module.register_forward_pre_hook(before_norm)

    hooks = [
        watch(name, module)
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d)
    ]
    try:
        output = network(example)
    finally:
        for hook in hooks:
            hook.remove()
    return [(c, n) for c, n in pairs if calls[c] == 1 and calls[n] == 1], output
