"""Folds BatchNorm into the convolution before it: the same function in fewer operations."""

import copy
import logging
from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

log = logging.getLogger(__name__)

TOLERANCE = 1e-4  # largest difference between folded and unfolded features, relative to the largest


@torch.no_grad()
def fuse_conv_bn(network: nn.Module, example: torch.Tensor) -> nn.Module:
    """Return a copy of a network whose BatchNorm layers are part of the convolutions before them.

    Which layers follow each other is seen by sending an example through; the folded network is then
    held against the unfolded one on the same example.

    Args:
        network: in evaluation mode; it is not changed.
        example: an input, `float32[N, 3, size, size]`, on the network's device.

    Returns:
        The folded copy; an unfolded one if the outputs differ by more than `TOLERANCE`.
    """
    pairs, expected = _follow(network, example)
    folded = copy.deepcopy(network)
    for before, after in pairs:
        convolution: Any = folded.get_submodule(before)
        norm: Any = folded.get_submodule(after)
        folded.set_submodule(before, fuse_conv_bn_eval(convolution, norm))
        # timm's BatchNorm carries the activation behind it.
        rest = [getattr(norm, name) for name in ("drop", "act") if hasattr(norm, name)]
        folded.set_submodule(after, nn.Sequential(*rest) if rest else nn.Identity())
    difference = (folded(example) - expected).abs().max() / expected.abs().max().clamp(min=1e-12)
    if not difference <= TOLERANCE:
        log.warning("BatchNorm is not folded: features would differ by %.1e", difference)
        return copy.deepcopy(network)
    return folded


def _follow(
    network: nn.Module, example: torch.Tensor
) -> tuple[list[tuple[str, str]], torch.Tensor]:
    """Send an example through; list which BatchNorm takes just what which convolution gives."""
    calls: dict[str, int] = {}
    given: dict[int, tuple[str, torch.Tensor]] = {}  # holding the tensor keeps its id its own
    pairs: list[tuple[str, str]] = []

    def watch(name: str, module: nn.Module) -> Any:
        def after_convolution(_module: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
            calls[name] = calls.get(name, 0) + 1
            given[id(output)] = (name, output)

        def before_norm(_module: nn.Module, inputs: Any) -> None:
            calls[name] = calls.get(name, 0) + 1
            if (found := given.get(id(inputs[0]))) is not None:
                pairs.append((found[0], name))

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
