"""Heat maps of the evidence for a class: Grad-CAM, or occlusion.

Both come from captum, which is imported only for an explanation.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from visionsweep.data.transforms import Preprocessing
from visionsweep.models.classifier import Classifier

HeatMap = NDArray[np.float32]
Part = tuple[float, float, float, float]
Score = Callable[[torch.Tensor], torch.Tensor]  # images to the evidence for each class

GRAD_CAM, OCCLUSION = "Grad-CAM", "occlusion"

_COARSEST = 4  # cells per side; fewer do not localize anything
_AT_ONCE = 4  # images per Grad-CAM batch, which keeps all activations
_WINDOW, _STEP = 4, 8  # the occluded square is a quarter of a side, and moves by an eighth
_COVERED_AT_ONCE = 16  # occlusions per forward pass


@dataclass(frozen=True)
class Explanation:
    """Evidence in an image for its predicted class.

    Attributes:
        heat: evidence in the model's input, 0 to 1, `float32[size, size]`.
        seen: left, top, right, and bottom of the model's input, relative to the image's sides.
    """

    method: str
    heat: HeatMap
    seen: Part


def explain(model: Classifier, images: torch.Tensor, classes: torch.Tensor) -> tuple[str, HeatMap]:
    """Return the evidence in images for a class.

    Grad-CAM (Selvaraju et al. 2017) on the last feature maps of the backbone. Networks without
    feature maps, such as vision transformers, are explained by occlusion (Zeiler and Fergus 2014):
    the loss when a square of the image is covered with gray. The explained quantity is the class's
    logit minus the mean of all logits, averaged over replicates.

    Images are inputs of a model in evaluation mode, `float32[N, 3, size, size]`, and classes
    `int64[N]`.

    Returns:
        The method, and the evidence from 0 to 1, `float32[N, size, size]`.
    """
    with torch.inference_mode(False), torch.enable_grad():
        images = images.clone()
        layer = last_feature_maps(model.backbone, images[:1])

        def score(images: torch.Tensor) -> torch.Tensor:
            # Unlike `Classifier.forward`, this passes gradients through a frozen backbone.
            logits: torch.Tensor = model.head(model.backbone(images).flatten(1)).mean(0)
            return logits - logits.mean(1, keepdim=True)

        if layer is None:
            method, heat = OCCLUSION, _occlusion(score, images, classes)
        else:
            method, heat = GRAD_CAM, _grad_cam(score, layer, images, classes)
    heat = heat.clamp(min=0)
    heat = heat / heat.amax((1, 2), keepdim=True).clamp(min=torch.finfo(heat.dtype).tiny)
    return method, heat.cpu().numpy()


def seen_part(preprocessing: Preprocessing, width: int, height: int) -> Part:
    """Return the part of an image that a model sees: left, top, right, bottom, relative."""
    if not preprocessing.crop:
        return 0.0, 0.0, 1.0, 1.0
    if len(preprocessing.resize) == 1:
        scale = preprocessing.resize[0] / min(width, height)
        resized = width * scale, height * scale
    else:
        resized = float(preprocessing.resize[1]), float(preprocessing.resize[0])
    across, down = (preprocessing.crop / side / 2 for side in resized)
    return 0.5 - across, 0.5 - down, 0.5 + across, 0.5 + down


@torch.no_grad()
def last_feature_maps(backbone: nn.Module, image: torch.Tensor) -> nn.Module | None:
    """Return the last layer with spatial feature maps, which are pooled afterwards.

    Its output for one image is `float32[1, channels, H, H]` with H at least 4. It is None for
    networks of tokens, or if all maps are coarser.
    """
    last: list[nn.Module] = []

    def look(module: nn.Module, _inputs: Any, output: Any) -> None:
        if not isinstance(output, torch.Tensor) or output.ndim < 3:
            return
        *_, height, width = output.shape
        if output.ndim == 4 and height == width >= _COARSEST:
            last[:] = [module]
        elif output.ndim != 4 or height != width:
            last.clear()  # tokens: `[N, tokens, width]`, or `[N, H, W, channels]`

    hooks = [module.register_forward_hook(look) for module in backbone.modules()]
    try:
        backbone(image)
    finally:
        for hook in hooks:
            hook.remove()
    return last[0] if last else None


def _grad_cam(
    score: Score, layer: nn.Module, images: torch.Tensor, classes: torch.Tensor
) -> torch.Tensor:
    from captum.attr import LayerAttribution, LayerGradCam

    method = LayerGradCam(score, layer)
    parts = zip(images.split(_AT_ONCE), classes.split(_AT_ONCE), strict=True)
    heat = [
        method.attribute(part.requires_grad_(), target=chosen, relu_attributions=True).detach()
        for part, chosen in parts
    ]
    size = tuple(images.shape[2:])
    maps: torch.Tensor = LayerAttribution.interpolate(torch.cat(heat), size, "bilinear")
    return maps[:, 0]


@torch.no_grad()
def _occlusion(score: Score, images: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    from captum.attr import Occlusion

    _, channels, size, _ = images.shape
    window, step = max(size // _WINDOW, 1), max(size // _STEP, 1)
    method, at_once = Occlusion(score), _COVERED_AT_ONCE
    shapes = (channels, window, window), (channels, step, step)
    heat = [
        method.attribute(image[None], *shapes, target=int(k), perturbations_per_eval=at_once)
        for image, k in zip(images, classes, strict=True)
    ]
    return torch.cat(heat).mean(1)
