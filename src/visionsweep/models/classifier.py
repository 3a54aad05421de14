"""Classifiers: a backbone, frozen or trained, followed by replicated heads."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Self

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from visionsweep.models.backbones import Backbone
from visionsweep.models.heads import Heads
from visionsweep.models.seeds import ReplicateSeeds, replicate_seeds


class Classifier(nn.Module):
    """A backbone followed by a head, or by replicates of it.

    A frozen backbone has no gradients and stays in evaluation mode even while the classifier
    trains, since BatchNorm statistics drift in training mode even without gradients.

    Args:
        backbone: network from images to features, `float32[N, width]`.
        head: module from features to logits, `float32[R, N, classes]`.
        frozen: True to keep the backbone unchanged.
        freeze_batchnorm: True to keep the statistics of its BatchNorm layers.

    Attributes:
        bf16: True to compute the backbone in bfloat16 in training; scoring is in float32.
        compiled: the backbone compiled for training, by `compile_for_training`; scoring does
            without it.
    """

    bf16 = False
    compiled: Callable[[torch.Tensor], torch.Tensor] | None = None

    def __init__(
        self, backbone: nn.Module, head: Heads, *, frozen: bool, freeze_batchnorm: bool = False
    ) -> None:
        super().__init__()
        self.freeze_batchnorm = freeze_batchnorm
        self.backbone = backbone.requires_grad_(not frozen)
        self.head = head
        self.frozen = frozen
        self.train()

    def train(self, mode: bool = True) -> Self:
        """Set training mode; what is frozen stays in evaluation mode."""
        super().train(mode)
        for module in self.backbone.modules():
            if self.frozen or (self.freeze_batchnorm and isinstance(module, _BatchNorm)):
                module.eval()
        return self

    def compile_for_training(self) -> None:
        """Compile the backbone for training, once for each batch size.

        Modules, names of weights, and copies of this one remain as they are.
        """
        self.compiled = torch.compile(self.backbone.forward, dynamic=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits, `float32[R, N, classes]`, of `float32[N, 3, size, size]`."""
        half = self.bf16 and self.training
        with (
            torch.no_grad() if self.frozen else nullcontext(),
            torch.autocast(images.device.type, torch.bfloat16) if half else nullcontext(),
        ):
            compiled = self.compiled if self.training else None
            features = (compiled or self.backbone)(images)
        logits: torch.Tensor = self.head(features.flatten(1).float())
        return logits


ONE = tuple(replicate_seeds(0, replicates=1))


def build(
    backbone: Backbone,
    classes: int,
    *,
    dropout: float | None,
    frozen: bool,
    seeds: Sequence[ReplicateSeeds] = ONE,
    freeze_batchnorm: bool = False,
) -> Classifier:
    """Return a classifier with new heads, by default one, on a backbone.

    The dropout probability of the heads is by default that of the original model. `frozen` and
    `freeze_batchnorm` are as in `Classifier`.
    """
    rate = backbone.dropout if dropout is None else dropout
    heads = Heads(backbone.width, classes, rate, seeds)
    return Classifier(backbone.module, heads, frozen=frozen, freeze_batchnorm=freeze_batchnorm)
