"""What a network consists of and costs: its layers, parameters, and time per image."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from visionsweep.runtime.threads import one_thread

_DEPTH = 4  # levels of nested modules that are listed
_ROUNDS = 5  # timed forward passes
_IMAGES = 4  # per batch of them


@dataclass(frozen=True)
class ForwardPass:
    """What a forward pass shows of a network.

    Attributes:
        output: the output of the network.
        shapes: output shapes of its modules, as text.
        multiply_adds: of convolutions and matrix products, attention included: half of the
            floating-point operations that torch counts.
    """

    output: torch.Tensor
    shapes: dict[nn.Module, str]
    multiply_adds: int


@torch.no_grad()
def forward_pass(model: nn.Module, inputs: torch.Tensor) -> ForwardPass:
    """Pass inputs through a network, on the meta device without computing, and look at it.

    Neither the parameters, the training mode, nor the random state change.
    """
    shapes: dict[nn.Module, str] = {}

    def record_shape(module: nn.Module, _inputs: Any, output: Any) -> None:
        shapes[module] = str(list(output.shape)) if isinstance(output, torch.Tensor) else ""

    modes = {module: module.training for module in model.modules()}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    hooks = [module.register_forward_hook(record_shape) for module in modes]
    try:
        model.requires_grad_(False)  # the counter would look for gradients of inputs
        with FlopCounterMode(display=False) as operations:
            output = model.eval()(inputs)
    finally:
        for hook in hooks:
            hook.remove()
        for parameter in trained:
            parameter.requires_grad_()
        for module, training in modes.items():
            module.training = training
    return ForwardPass(output, shapes, operations.get_total_flops() // 2)


def layer_table(model: nn.Module, shapes: Mapping[nn.Module, str], multiply_adds: int) -> str:
    """Return a table of a network's modules.

    It has one line per module down to a depth of 4: name and type, output shape, number of
    parameters, and whether they are trained; then totals.
    """
    header = ("Layer", "Output shape", "Parameters", "Trainable")
    rows = [header, *_rows(model, shapes)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}  {d}" for a, b, c, d in rows]
    trainable, total = count_parameters(model)
    lines.insert(1, "-" * len(lines[0]))
    totals = [
        f"Parameters: {total:,}",
        f"Trainable parameters: {trainable:,}",
        f"Multiply-adds per image: {multiply_adds:,}",
    ]
    return "\n".join([*lines, lines[1], *totals])


def _rows(model: nn.Module, shapes: Mapping[nn.Module, str]) -> list[tuple[str, str, str, str]]:
    rows = []
    for path, module in model.named_modules():
        depth = len(path.split(".")) if path else 0
        if depth <= _DEPTH:
            trainable, total = count_parameters(module)
            trained = {0: "no", total: "yes"}.get(trainable, "partly") if total else ""
            name = f"{path.rpartition('.')[2]} ({type(module).__name__})".lstrip()
            rows.append(("  " * depth + name, shapes.get(module, ""), f"{total:,}", trained))
    return rows


def count_parameters(module: nn.Module) -> tuple[int, int]:
    """Return the number of trainable parameters, and of all parameters."""
    sizes = [(p.numel(), p.requires_grad) for p in module.parameters()]
    return sum(n for n, trained in sizes if trained), sum(n for n, _ in sizes)


@torch.inference_mode()
def forward_milliseconds(models: Mapping[str, tuple[nn.Module, int]]) -> dict[str, float]:
    """Return the milliseconds per image that models take, each given with the side of its images.

    The models take turns, and are in evaluation mode afterwards. The fastest of five passes counts:
    the first allocates, and other programs may be running.
    """
    images = {key: torch.zeros(_IMAGES, 3, size, size) for key, (_, size) in models.items()}
    fastest = dict.fromkeys(models, float("inf"))
    with one_thread():
        for _ in range(_ROUNDS):
            for key, (model, _size) in models.items():
                model.eval()
                start = time.perf_counter()
                model(images[key])
                fastest[key] = min(fastest[key], time.perf_counter() - start)
    return {key: 1000 * seconds / _IMAGES for key, seconds in fastest.items()}
