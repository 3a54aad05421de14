"""The training loss: cross-entropy, weighted by class or by how hard an image is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from visionsweep.config.schema import TrainingConfig


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the cross-entropy of each replicate and image, `float32[R, N]`.

    Args:
        logits: `float32[R, N, C]`.
        labels: `int64[N]` or `int64[R, N]`, or probabilities of classes, `float32[N, C]`.
    """
    shape = logits.shape if labels.is_floating_point() else logits.shape[:2]
    flat = F.cross_entropy(
        logits.flatten(0, 1), labels.expand(shape).flatten(0, 1), reduction="none"
    )
    return flat.view(logits.shape[:2])


def axis_of_images(labels: torch.Tensor) -> int:
    """Return the dimension of the images: 0 of `[N]` and of `float32[N, C]`, 1 of `int64[R, N]`."""
    return 0 if labels.is_floating_point() else labels.ndim - 1


@dataclass(frozen=True)
class Objective:
    """What training minimizes: the mean over images of a weighted cross-entropy.

    Attributes:
        class_weights: weight of the images of each class, `float32[C]`, whose mean over the
            training images is 1; None for equal weights.
        label_smoothing: share of each label that is spread over all classes (Szegedy et al. 2016).
        focal_gamma: exponent of the focal loss, (1 - p)^gamma times the cross-entropy, p being the
            probability of the true class (Lin et al. 2017); 0 for the cross-entropy.
        mix: function from images and labels of a batch to mixed ones, with probabilities of classes
            as labels, `float32[N, C]`; None to leave them as they are.
    """

    class_weights: torch.Tensor | None = None
    focal_gamma: float = 0.0
    label_smoothing: float = 0.0
    mix: Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]] | None = None

    def __call__(
        self, losses: torch.Tensor, labels: torch.Tensor, logits: torch.Tensor
    ) -> torch.Tensor:
        """Return the loss of each replicate and image, `float32[R, N]`.

        Args:
            losses: cross-entropy, `float32[R, N]`.
            labels: as in `cross_entropy`.
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
            weights = self.class_weights.to(losses.device)
            mixed = labels.is_floating_point()
            weighted = weighted * (labels @ weights if mixed else weights[labels])
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
        mixing_of(config, classes),
    )


def mixing_of(config: TrainingConfig, classes: int) -> Any:
    """Return MixUp (Zhang et al. 2018), CutMix (Yun et al. 2019), either at random, or None."""
    if not (config.mixup or config.cutmix):
        return None
    from torchvision.transforms import v2

    alphas = {v2.MixUp: config.mixup, v2.CutMix: config.cutmix}
    mixing = [kind(alpha=alpha, num_classes=classes) for kind, alpha in alphas.items() if alpha]
    return v2.RandomChoice(mixing) if len(mixing) > 1 else mixing[0]


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
