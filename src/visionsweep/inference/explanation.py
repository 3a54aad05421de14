"""Heat maps of the evidence for a class: Grad-CAM, or occlusion.

Both come from captum, which is imported only for an explanation.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from visionsweep.data.transforms import Preprocessing
from visionsweep.models.classifier import Classifier

Part = tuple[float, float, float, float]

GRAD_CAM, OCCLUSION = "Grad-CAM", "occlusion"

_COARSEST = 4  # cells a side: fewer point at nothing
_AT_ONCE = 4  # images through Grad-CAM, which keeps what every layer computed
_WINDOW, _STEP = 4, 8  # a covered square is a quarter of a side, and moves by an eighth
_COVERED_AT_ONCE = 16  # forward passes


@dataclass(frozen=True)
class Explanation:
    """Evidence in an image for its predicted class.

    Attributes:
        method: `Grad-CAM` or `occlusion`.
        heat: evidence in the model's input, 0 to 1, `float32[size, size]`; 0 if there is none.
        seen: left, top, right and bottom of the model's input, as shares of the image's sides.
    """

    method: str
    heat: NDArray[np.float32]
    seen: Part


def explain(
    model: Classifier, images: torch.Tensor, classes: torch.Tensor
) -> tuple[str, NDArray[np.float32]]:
    """Return the evidence in images for a class.

    Grad-CAM (Selvaraju et al. 2017) on the last feature maps of the backbone. Networks without
    feature maps, such as vision transformers, are explained by occlusion (Zeiler and Fergus 2014):
    the loss when a square of the image is covered with gray. The explained quantity is the class's
    logit minus the mean of all logits, averaged over replicates.

    Args:
        model: model in evaluation mode.
        images: inputs of the model, `float32[N, 3, size, size]`.
        classes: class to explain in each image, `int64[N]`.

    Returns:
        The method, and the evidence from 0 to 1, `float32[N, size, size]`.
    """
    with torch.inference_mode(False), torch.enable_grad():
        images = images.clone()
        layer = last_feature_maps(model.backbone, images[:1])
        score = _Score(model)
        if layer is None:
            heat = _occlusion(score, images, classes)
        else:
            heat = _grad_cam(score, layer, images, classes)
    heat = heat.clamp(min=0)
    heat = heat / heat.amax((1, 2), keepdim=True).clamp(min=torch.finfo(heat.dtype).tiny)
    return OCCLUSION if layer is None else GRAD_CAM, heat.cpu().numpy()


def seen_part(preprocessing: Preprocessing, width: int, height: int) -> Part:
    """Return what of an image a model sees: left, top, right, bottom in parts of its sides."""
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
    """Find the layer whose feature maps are pooled: the last that still says where things are.

    Args:
        backbone: in evaluation mode.
        image: `float32[1, 3, size, size]`.

    Returns:
        The layer, which gives `float32[1, channels, H, H]` with H at least 4; None where the image
        ends up as tokens, or where such maps are too coarse.
    """
    found: list[nn.Module] = []

    def look(module: nn.Module, _inputs: Any, output: Any) -> None:
        if not isinstance(output, torch.Tensor) or output.ndim < 3:
            return
        *_, height, width = output.shape
        if output.ndim == 4 and height == width >= _COARSEST:
            found[:] = [module]
        elif output.ndim != 4 or height != width:
            found.clear()  # tokens: `[N, tokens, width]`, or `[N, H, W, channels]`

    hooks = [module.register_forward_hook(look) for module in backbone.modules()]
    try:
        backbone(image)
    finally:
        for hook in hooks:
            hook.remove()
    return found[0] if found else None


class _Score(nn.Module):
    """The logits of a classifier above their mean, a mean over replicates: `float32[N, classes]`.

    Unlike `Classifier.forward` it lets gradients through a frozen backbone.
    """

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model.head(self.model.backbone(images).flatten(1)).mean(0)
        return logits - logits.mean(1, keepdim=True)


def _grad_cam(
    score: _Score, layer: nn.Module, images: torch.Tensor, classes: torch.Tensor
) -> torch.Tensor:
    from captum.attr import LayerAttribution, LayerGradCam

    method = LayerGradCam(score, layer)
    size = tuple(images.shape[2:])
    parts = zip(images.split(_AT_ONCE), classes.split(_AT_ONCE), strict=True)
    heat = [
        method.attribute(part.requires_grad_(), target=chosen, relu_attributions=True).detach()
        for part, chosen in parts
    ]
    maps: torch.Tensor = LayerAttribution.interpolate(torch.cat(heat), size, "bilinear")
    return maps[:, 0]


@torch.no_grad()
def _occlusion(score: _Score, images: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    from captum.attr import Occlusion

    size = images.shape[-1]
    window, step = max(size // _WINDOW, 1), max(size // _STEP, 1)
    heat = [
        Occlusion(score).attribute(
            image[None],
            (images.shape[1], window, window),
            (images.shape[1], step, step),
            target=int(chosen),
            perturbations_per_eval=_COVERED_AT_ONCE,
        )
        for image, chosen in zip(images, classes, strict=True)
    ]
    return torch.cat(heat).mean(1)
