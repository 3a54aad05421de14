"""Optimizers: built from the class that the configuration names."""

import re
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from visionsweep.config.schema import OptimizerConfig, TrainingConfig
from visionsweep.config.targets import (
    build_target,
    is_standard,
    optimizer_arguments,
    optimizer_target,
)
from visionsweep.errors import UserError
from visionsweep.models.heads import Heads

_VECTOR = 16  # numbers of the widest vector instructions, AVX-512


def make_optimizer(
    config: OptimizerConfig, model: nn.Module, recipe: TrainingConfig | None = None
) -> torch.optim.Optimizer:
    """Return the optimizer of a model's trainable parameters.

    Args:
        config: optimizer.
        model: heads, or a classifier.
        recipe: its `layer_decay` is the factor of the learning rate from each layer of the backbone
            to the one before it (as in BEiT, Bao et al. 2022); the head has the full rate. Each
            layer then has a parameter group, from the head to the input, as with
            `gradual_unfreezing`. None for neither.

    Raises:
        UserError: if the class is not allowed, or refuses its arguments or these parameters.
    """
    if isinstance(model, Heads) and model.has_many_classes:
        return _build(config, [_fused(parameter) for parameter in model.parameters()])
    groups: list[dict[str, Any]] = [{"params": [p for p in model.parameters() if p.requires_grad]}]
    if recipe is not None and (recipe.layer_decay != 1 or recipe.gradual_unfreezing):
        groups = [
            {"params": parameters, "lr": config.lr * recipe.layer_decay**depth}
            for depth, parameters in enumerate(reversed(layers(model).values()))
        ]
    if groups[0]["params"][0].is_cuda and not isinstance(model, Heads):
        groups = [group | {"fused": True} for group in groups]  # ignored if there is no such kernel
    return _build(config, groups)


def _fused(parameter: nn.Parameter) -> dict[str, Any]:
    """Return the parameter group of a parameter of heads, updated by one kernel where that is safe.

    torch's kernels for a CPU round the last elements of a tensor differently from the others, if
    they are no multiple of the vector width. They must not be those of one head alone. Optimizers
    without a fused kernel ignore the entry.
    """
    whole_vectors = parameter[0].numel() % _VECTOR == 0 and parameter.device.type == "cpu"
    return {"params": [parameter]} | ({"fused": True} if whole_vectors else {})


def averaged(
    module: nn.Module, optimizer: torch.optim.Optimizer, decay: float
) -> AveragedModel | None:
    """Return the moving average of a module, updated after each step of its optimizer.

    Args:
        module: module, with its initial weights.
        optimizer: its optimizer.
        decay: weight of the average before a step; None is returned for 0.
    """
    if not decay:
        return None
    average = AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    optimizer.register_step_post_hook(lambda *_: average.update_parameters(module))
    return average


def layers(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Return the trainable parameters of each layer by its name, from the input to the head.

    A layer is the first numbered module on the way to a parameter, as `backbone.features.3` or
    `backbone.layer1` is, or the first module that is not a container of all others.
    """
    found: dict[str, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            numbered = re.match(r"(?:[A-Za-z_]+\.)*?\w*\d(?=\.)", name)
            layer = numbered[0] if numbered else name.rpartition(".")[0]
            found.setdefault(layer, []).append(parameter)
    return found


def refuse_optimizer(config: OptimizerConfig, *, together: bool) -> None:
    """Refuse an optimizer that cannot train a head, or in which heads affect each other.

    Args:
        config: optimizer.
        together: whether several heads are trained side by side, replicates or those of folds.

    Raises:
        UserError: if it cannot be used.
    """
    if mixes_heads(config) and together:
        raise UserError(
            "updates depend on all heads trained together, which would no longer be independent",
            where=f"optimizer._target_={optimizer_target(config)}",
            hint="Use replicates=1 and evidence=holdout, or an optimizer that updates each number "
            "by itself.",
        )


def mixes_heads(config: OptimizerConfig) -> bool:
    """Return whether the updates of a head depend on the heads beside it.

    Two steps of a small head are compared with those of its first replicate alone. An optimizer
    that scales updates by the norm of a whole tensor, as LAMB does, mixes the replicates.

    Raises:
        UserError: if it cannot train a head.
    """
    if is_standard(optimizer_target(config), optimizer_arguments(config)):
        return False
    where = f"optimizer._target_={optimizer_target(config)}"
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(2, 3, 4, generator=generator), torch.randn(2, 3, generator=generator)
    gradients = [[torch.randn(p.shape, generator=generator) for p in start] for _ in range(2)]

    def after_two_steps(heads: int) -> list[torch.Tensor]:
        parameters = [nn.Parameter(p[:heads].clone()) for p in start]
        optimizer = _build(config, parameters)
        for step in gradients:
            for parameter, gradient in zip(parameters, step, strict=True):
                parameter.grad = gradient[:heads].clone()
            optimizer.step()
        return [p.detach()[:1] for p in parameters]

    try:
        alone, together = after_two_steps(1), after_two_steps(2)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"cannot train a head: {error}", where=where) from error
    return not all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


def _build(config: OptimizerConfig, parameters: list[Any]) -> torch.optim.Optimizer:
    optimizer: torch.optim.Optimizer = build_target(
        "optimizer", optimizer_target(config), optimizer_arguments(config), params=parameters
    )
    return optimizer
