"""A classifier: a backbone with a new head on it, frozen or not."""

from typing import Self

import torch
from torch import nn

from visionsweep.models.backbones import Backbone


class Classifier(nn.Module):
    """A backbone followed by a head.

    A frozen backbone stays as it is: no gradients, and evaluation mode whatever mode the classifier
    is in, since BatchNorm statistics drift in training mode even without gradients.

    Args:
        backbone: from images to `float32[N, width]`.
        head: from features to `float32[N, classes]`, the logits.
        frozen: whether the backbone stays as it is.
    """

    def __init__(self, backbone: nn.Module, head: nn.Module, *, frozen: bool) -> None:
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
        """Return the logits, `float32[N, classes]`, of `float32[N, 3, size, size]`."""
        if self.frozen:
            with torch.no_grad():
                features = self.backbone(images)
        else:
            features = self.backbone(images)
        logits: torch.Tensor = self.head(features.flatten(1))
        return logits

    @property
    def dropout(self) -> float:
        """The head's probability of dropping a feature in training."""
        return next((m.p for m in self.head.modules() if isinstance(m, nn.Dropout)), 0.0)

    def parameters_count(self) -> tuple[int, int]:
        """Return the number of trainable parameters, and of all."""
        sizes = [(p.numel(), p.requires_grad) for p in self.parameters()]
        return sum(n for n, trained in sizes if trained), sum(n for n, _ in sizes)


def new_head(width: int, classes: int, dropout: float) -> nn.Sequential:
    """Make a head, `dropout -> linear`, with fresh weights from torch's random state.

    Args:
        width: number of features.
        classes: number of classes.
        dropout: probability of dropping a feature in training.
    """
    return nn.Sequential(nn.Dropout(dropout), nn.Linear(width, classes))


def build(backbone: Backbone, classes: int, *, dropout: float | None, frozen: bool) -> Classifier:
    """Put a new head on a backbone.

    Args:
        backbone: what turns images into features.
        classes: number of classes.
        dropout: of the head; None takes the original model's.
        frozen: whether the backbone stays as it is.
    """
    rate = backbone.dropout if dropout is None else dropout
    return Classifier(backbone.module, new_head(backbone.width, classes, rate), frozen=frozen)
