"""Replicated linear heads, computed as one batched matrix product."""

import math
from collections.abc import Sequence

import torch
from torch import nn

from visionsweep.models.seeds import ReplicateSeeds

_LEVELS = 2**16  # of the 16-bit random numbers that select dropped features


class Heads(nn.Module):
    """Replicates of a head, `dropout -> linear`, side by side.

    Each replicate has its own random generators and parameters, so it is bitwise identical with
    any number of other replicates.

    Args:
        width: number of features.
        classes: number of classes.
        dropout: dropout probability of a feature, rounded to a multiple of 1/65536.
        seeds: seeds per replicate.

    Attributes:
        weight: `float32[R, classes, width]`, initialized as in `nn.Linear`.
        bias: `float32[R, classes]`.
        sources: random generators of dropout, one per replicate.
    """

    def __init__(
        self, width: int, classes: int, dropout: float, seeds: Sequence[ReplicateSeeds]
    ) -> None:
        super().__init__()
        self.dropout = dropout
        bound = 1 / math.sqrt(width)
        weights, biases = [], []
        for seed in seeds:
            generator = torch.Generator().manual_seed(seed.init)
            weights.append(torch.empty(classes, width).uniform_(-bound, bound, generator=generator))
            biases.append(torch.empty(classes).uniform_(-bound, bound, generator=generator))
        self.weight = nn.Parameter(torch.stack(weights))
        self.bias = nn.Parameter(torch.stack(biases))
        self.sources = [torch.Generator().manual_seed(seed.dropout) for seed in seeds]

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return logits, `float32[R, N, classes]`.

        Args:
            features: `float32[N, width]` for all replicates, or `float32[R, N, width]`.
        """
        if features.ndim == 2:
            features = features.expand(len(self.weight), -1, -1)
        scale = 1.0  # compensates for dropped features
        if self.training and self.dropout:
            mask, scale = self.dropout_mask(features.shape)
            features = torch.where(mask.to(features.device), features, 0.0)
        weight = self.weight.transpose(1, 2)
        return torch.baddbmm(self.bias.unsqueeze(1), features, weight, alpha=scale)

    def dropout_mask(self, shape: torch.Size) -> tuple[torch.Tensor, float]:
        """Return a random mask, True where a feature is kept, and the factor for kept features.

        Four comparisons per 64-bit random number are ten times as fast as `nn.Dropout`, which would
        take most of the time of a step. The CPU generates the mask, so it is the same on every
        device.
        """
        count = math.prod(shape[1:])
        bits = torch.empty(shape[0], -(-count // 4), dtype=torch.int64)
        for row, generator in zip(bits, self.sources, strict=True):
            row.random_(-(2**63), None, generator=generator)
        n_kept = min(max(round((1 - self.dropout) * _LEVELS), 1), _LEVELS - 1)
        levels = bits.view(torch.int16)[:, :count].view(shape)
        return levels < n_kept - _LEVELS // 2, _LEVELS / n_kept

    @torch.no_grad()
    def set_all(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        """Set every replicate to the same weights, `[classes, width]`, and biases, `[classes]`."""
        self.weight.copy_(weight.expand_as(self.weight))
        self.bias.copy_(bias.expand_as(self.bias))

    def extra_repr(self) -> str:
        """Return the description of the module for its `repr`."""
        replicates, classes, width = self.weight.shape
        return f"{replicates} x (dropout {self.dropout:g}, linear {width} -> {classes})"
