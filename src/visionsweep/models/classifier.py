"""A classifier: a backbone with new heads on it, frozen or not."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import nn

from visionsweep.models.backbones import Backbone
from visionsweep.models.heads import Heads
from visionsweep.models.seeds import ReplicateSeeds, replicate_seeds


class Classifier(nn.Module):
    """A backbone followed by a head, or by replicates of it.

    A frozen backbone stays as it is: no gradients, and evaluation mode whatever mode the classifier
    is in, since BatchNorm statistics drift in training mode even without gradients.

    Args:
        backbone: from images to `float32[N, width]`.
        head: from features to `float32[R, N, classes]`, the logits of each replicate.
        frozen: whether the backbone stays as it is.
    """

    def __init__(self, backbone: nn.Module, head: Heads, *, frozen: bool) -> None:
        super().__init__()
        self.backbone = backbone.requires_grad_(not frozen)
        self.head = head
        self.frozen = frozen
        self.train()

    def train(self, mode: bool = True) -> Self:
        """Set training mode, for the head alone where the backbone is frozen."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits, `float32[R, N, classes]`, of `float32[N, 3, size, size]`."""
        if self.frozen:
            with torch.no_grad():
                features = self.backbone(images)
        else:
            features = self.backbone(images)
        logits: torch.Tensor = self.head(features.flatten(1))
        return logits


_ONE = tuple(replicate_seeds(0, replicates=1))


def build(
    backbone: Backbone,
    classes: int,
    *,
    dropout: float | None,
    frozen: bool,
    seeds: Sequence[ReplicateSeeds] = _ONE,
) -> Classifier:
    """Put new heads on a backbone.

    Args:
        backbone: what turns images into features.
        classes: number of classes.
        dropout: of the heads; None takes the original model's.
        frozen: whether the backbone stays as it is.
        seeds: of each replicate; one head by default.
    """
    rate = backbone.dropout if dropout is None else dropout
    heads = Heads(backbone.width, classes, rate, seeds)
    return Classifier(backbone.module, heads, frozen=frozen)
