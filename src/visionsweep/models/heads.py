"""The head of a classifier, as often as it is replicated: all replicates are one computation."""

import math
from collections.abc import Sequence

import torch
from torch import nn

from visionsweep.models.seeds import ReplicateSeeds

_LEVELS = 2**16  # of the random numbers that decide what is dropped


class Heads(nn.Module):
    """Replicates of a head, `dropout -> linear`, side by side.

    Each has its own random numbers, and no number of one enters another's, so the first is the
    same to the last bit whether it is alone or not.

    Args:
        width: number of features.
        classes: number of classes.
        dropout: probability of dropping a feature in training; kept to a 65536th.
        seeds: of each replicate.

    Attributes:
        weight: `float32[R, classes, width]`, drawn as by `nn.Linear`.
        bias: `float32[R, classes]`.
        sources: of the random numbers of each replicate's dropout.
    """

    def __init__(
        self, width: int, classes: int, dropout: float, seeds: Sequence[ReplicateSeeds]
    ) -> None:
        super().__init__()
        self.dropout = dropout
        bound = 1 / math.sqrt(width)
        weights, biases = [], []
        for seed in seeds:
            source = torch.Generator().manual_seed(seed.init)
            weights.append(torch.empty(classes, width).uniform_(-bound, bound, generator=source))
            biases.append(torch.empty(classes).uniform_(-bound, bound, generator=source))
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
        scale = 1.0  # makes up for what is dropped
        if self.training and self.dropout:
            kept, scale = self._kept(features.shape)
            features = torch.where(kept.to(features.device), features, 0.0)
        weight = self.weight.transpose(1, 2)
        return torch.baddbmm(self.bias.unsqueeze(1), features, weight, alpha=scale)

    def _kept(self, shape: torch.Size) -> tuple[torch.Tensor, float]:
        """Draw which features are kept, `bool` of a shape, and by what to multiply them.

        Four comparisons a random number: ten times as fast as `nn.Dropout`, which would take more
        time than all else in a step. Drawn on the CPU, so every device drops the same.
        """
        count = math.prod(shape[1:])
        bits = torch.empty(shape[0], -(-count // 4), dtype=torch.int64)
        for row, source in zip(bits, self.sources, strict=True):
            row.random_(-(2**63), None, generator=source)
        kept = min(max(round((1 - self.dropout) * _LEVELS), 1), _LEVELS - 1)
        drawn = bits.view(torch.int16)[:, :count].view(shape)
        return drawn < kept - _LEVELS // 2, _LEVELS / kept

    def extra_repr(self) -> str:
        """Describe the module where it is printed."""
        replicates, classes, width = self.weight.shape
        return f"{replicates} x (dropout {self.dropout:g}, linear {width} -> {classes})"
