"""The training loss: cross-entropy, weighted by class or by how hard an image is."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from visionsweep.config.schema import TrainingConfig


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the cross-entropy of each replicate and image, `float32[R, N]`.

    Args:
        logits: `float32[R, N, C]`.
        labels: `int64[N]` or `int64[R, N]`.
    """
    flat = F.cross_entropy(
        logits.flatten(0, 1), labels.expand(logits.shape[:2]).flatten(), reduction="none"
    )
    return flat.view(logits.shape[:2])


@dataclass(frozen=True)
class Objective:
    """What training minimizes: the mean over images of a weighted cross-entropy.

    Attributes:
        class_weights: weight of the images of each class, `float32[C]`, whose mean over the
            training images is 1; None for equal weights.
        label_smoothing: share of each label that is spread over all classes (Szegedy et al. 2016).
        focal_gamma: exponent of the focal loss, (1 - p)^gamma times the cross-entropy, p being the
            probability of the true class (Lin et al. 2017); 0 for the cross-entropy.
    """

    class_weights: torch.Tensor | None = None
    focal_gamma: float = 0.0
    label_smoothing: float = 0.0

    def __call__(
        self, losses: torch.Tensor, labels: torch.Tensor, logits: torch.Tensor
    ) -> torch.Tensor:
        """Return the loss of each replicate and image, `float32[R, N]`.

        Args:
            losses: cross-entropy, `float32[R, N]`.
            labels: `int64[N]` or `int64[R, N]`.
            logits: `float32[R, N, C]`.
        """
        weighted = losses
        if self.label_smoothing:
            uniform = -logits.log_softmax(2).mean(2)
            weighted = torch.lerp(losses, uniform, self.label_smoothing)
        if self.focal_gamma:
            # An exponent below 1 has an infinite slope at 0, which would turn gradients into NaN.
            misses = (-torch.expm1(-losses)).clamp_min(torch.finfo(losses.dtype).tiny)
            weighted = weighted * misses**self.focal_gamma
        if self.class_weights is not None:
            weighted = weighted * self.class_weights.to(losses.device)[labels]
        return weighted


def balanced_weights(labels: Sequence[int], classes: int) -> torch.Tensor:
    """Return N / (K n) for each of C classes, `float32[C]`: K classes have images, this one n.

    A class without images has the weight 0.
    """
    counts = torch.bincount(torch.tensor(labels), minlength=classes)
    weights = len(labels) / (counts.clamp(min=1) * (counts > 0).sum())
    return torch.where(counts > 0, weights, 0.0)


def objective_of(config: TrainingConfig, labels: Sequence[int], classes: int) -> Objective:
    """Return the training loss of a configuration.

    Args:
        config: training settings.
        labels: classes of the training images.
        classes: number of classes.
    """
    balanced = config.class_weights == "balanced"
    return Objective(
        balanced_weights(labels, classes) if balanced else None,
        config.focal_gamma,
        config.label_smoothing,
    )


def sampling_weights(
    config: TrainingConfig, labels: Sequence[int], classes: int
) -> torch.Tensor | None:
    """Return how often each training image is drawn, `float32[N]`, relative to the others.

    Returns:
        None if each image is used once per epoch, or if there are none.
    """
    if config.sampling == "uniform" or not labels:
        return None
    return balanced_weights(labels, classes)[torch.tensor(labels)]
