"""Replicated linear heads, computed as one batched matrix product."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from visionsweep.analysis.predictions import MANY_CLASSES
from visionsweep.models.seeds import ReplicateSeeds

# Of the arithmetic of heads of many classes; 2: fused kernels, and weights rounded to float16.
HEADS_VERSION = 2
_LEVELS = 2**16  # of the 16-bit random numbers that select dropped features


class _Linear(torch.autograd.Function):
    """Linear layers side by side, `scale * features @ weight.T + bias`, with their gradient.

    Autograd computes the gradient of the weights transposed, copies it, and multiplies it by the
    scale in another tensor. With many classes, that takes longer than the product.
    """

    @staticmethod
    def forward(
        ctx: Any, features: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, scale: float
    ) -> torch.Tensor:
        ctx.save_for_backward(features, weight)
        ctx.scale = scale
        return torch.baddbmm(bias.unsqueeze(1), features, weight.transpose(1, 2), alpha=scale)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        features, weight = ctx.saved_tensors
        scaled = gradient * ctx.scale
        of_features = scaled @ weight if ctx.needs_input_grad[0] else None
        return of_features, scaled.transpose(1, 2) @ features, gradient.sum(1), None


class Heads(nn.Module):
    """Replicates of a head, `dropout -> linear`, side by side.

    Each replicate has its own random generators and parameters, so it is bitwise identical with
    any number of other replicates. Further heads may train beside them, on samples of the images;
    `resampled` scores these.

    Args:
        width: number of features.
        classes: number of classes.
        dropout: dropout probability of a feature, rounded to a multiple of 1/65536.
        seeds: seeds per replicate.
        resampled: seeds of the further heads.

    Attributes:
        replicates: number of replicates, R, the first of H heads.
        weight: `float32[H, classes, width]`, initialized as in `nn.Linear`.
        bias: `float32[H, classes]`.
        has_many_classes: whether gradients are computed in place and the optimizer is fused, which
            is faster and rounds differently.
        sources: random generators of dropout, one per head.
    """

    def __init__(
        self,
        width: int,
        classes: int,
        dropout: float,
        seeds: Sequence[ReplicateSeeds],
        resampled: Sequence[ReplicateSeeds] = (),
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.replicates = len(seeds)
        self.has_many_classes = classes >= MANY_CLASSES
        seeds = [*seeds, *resampled]
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
        """Return logits: of all heads in training, `float32[H, N, classes]`, else of R replicates.

        Args:
            features: `float32[N, width]` for all heads, or `float32[H, N, width]`.
        """
        if not self.training:
            return self._logits(features, slice(self.replicates))
        scale = 1.0  # compensates for dropped features
        if self.dropout:
            features = features.expand(len(self.weight), *features.shape[-2:])
            mask, scale = self.dropout_mask(features.shape)
            features = torch.where(mask.to(features.device), features, 0.0)
        if self.has_many_classes:
            features = features.expand(len(self.weight), *features.shape[-2:])
            logits: torch.Tensor = _Linear.apply(features, self.weight, self.bias, scale)
            return logits
        return self._logits(features, slice(None), scale)

    def _logits(self, features: torch.Tensor, heads: slice, scale: float = 1.0) -> torch.Tensor:
        weight, bias = self.weight[heads], self.bias[heads]
        features = features.expand(len(weight), *features.shape[-2:])
        return torch.baddbmm(bias.unsqueeze(1), features, weight.transpose(1, 2), alpha=scale)

    @torch.inference_mode()
    def resampled(self, features: torch.Tensor) -> torch.Tensor:
        """Return logits of the heads beside the replicates, `float32[H - R, N, classes]`.

        Args:
            features: `float32[N, width]`.
        """
        return self._logits(features, slice(self.replicates, None))

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
        """Set all replicates to the first of some heads, and those beside them to the others.

        Args:
            weight: `float32[1 + H - R, classes, width]`.
            bias: `float32[1 + H - R, classes]`.
        """
        rows = torch.arange(len(self.weight)).sub(self.replicates - 1).clamp(min=0)
        self.weight.copy_(weight[rows])
        self.bias.copy_(bias[rows])

    @torch.no_grad()
    def round_weights(self) -> None:
        """Round the weights to what float16 holds, unless some are too large."""
        rounded = self.weight.half().float()
        if rounded.isfinite().all():
            self.weight.copy_(rounded)

    def extra_repr(self) -> str:
        """Return the description of the module for its `repr`."""
        heads, classes, width = self.weight.shape
        return f"{heads} x (dropout {self.dropout:g}, linear {width} -> {classes})"
