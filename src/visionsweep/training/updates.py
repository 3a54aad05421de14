"""What precedes each step of the optimizer: its learning rate, and which gradients it uses."""

import math
from dataclasses import dataclass
from typing import Self

import torch

from visionsweep.config.schema import TrainingConfig


@dataclass(frozen=True)
class Updates:
    """Learning rate, layers, and largest gradient of each step; attributes as in `TrainingConfig`.

    All are functions of the number of steps, so a checkpoint need not hold them.
    """

    schedule: str = "constant"
    warmup: float = 0.0
    clip_norm: float | None = None
    gradual_unfreezing: float = 0.0

    @classmethod
    def of(cls, config: TrainingConfig) -> Self:
        """Return those of a configuration."""
        return cls(config.schedule, config.warmup, config.clip_norm, config.gradual_unfreezing)

    def prepare(
        self, optimizer: torch.optim.Optimizer, before: int, total: int, step: int, replicates: int
    ) -> None:
        """Set the learning rate of a step, drop gradients of frozen layers, and clip the others.

        Args:
            optimizer: optimizer, of which each group keeps its full rate as `initial_lr`; with a
                group for each layer, from the head to the input, if they are unfrozen gradually.
            before: steps in earlier epochs.
            total: steps in all epochs.
            step: earlier steps in this epoch.
            replicates: number of replicates, the first dimension of each gradient if it is not 1.
        """
        if self.schedule != "constant" or self.warmup:
            factor = self.rate(before + step, total)
            for group in optimizer.param_groups:
                group["lr"] = factor * group.setdefault("initial_lr", group["lr"])
        if self.gradual_unfreezing:
            groups = optimizer.param_groups
            frozen = groups[self.unfrozen(before + step, total, len(groups)) :]
            for parameter in (p for group in frozen for p in group["params"]):
                parameter.grad = None  # the optimizer then skips it
        if self.clip_norm is not None:
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            gradients = [p.grad for p in parameters if p.grad is not None]
            clip_gradients(gradients, replicates, self.clip_norm)

    def unfrozen(self, step: int, total: int, layers: int) -> int:
        """Return how many layers train in a step, counted from the head (Howard and Ruder 2018)."""
        if step >= self.gradual_unfreezing * total:
            return layers
        return 1 + int((layers - 1) * step / (self.gradual_unfreezing * total))

    def rate(self, step: int, total: int) -> float:
        """Return the learning rate of a step, from 0 to `total` - 1, as a share of the full one.

        It rises linearly to 1, as `LinearLR` does, and is then that of `CosineAnnealingLR`
        (Loshchilov and Hutter 2017) or constant.
        """
        rising = math.ceil(self.warmup * total)
        if step < rising:
            return (step + 1) / rising
        if self.schedule == "constant":
            return 1.0
        return (1 + math.cos(math.pi * (step - rising) / (total - rising))) / 2


def clip_gradients(gradients: list[torch.Tensor], replicates: int, limit: float) -> None:
    """Scale the gradients of each replicate down to a norm of at most `limit`, in place.

    As `clip_grad_norm_` of each replicate alone, so that replicates do not affect one another.

    Args:
        gradients: of all parameters; with several replicates, `float32[replicates, ...]`.
        replicates: number of replicates.
        limit: largest norm.
    """
    norms = [gradient.reshape(replicates, -1).norm(dim=1) for gradient in gradients]
    factors = (limit / (torch.stack(norms).norm(dim=0) + 1e-6)).clamp(max=1)
    for gradient in gradients:
        gradient.mul_(factors.view(-1, *[1] * (gradient.ndim - 1)) if replicates > 1 else factors)
