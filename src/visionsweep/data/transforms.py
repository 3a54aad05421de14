"""How an image becomes a tensor: the pixels a model sees, and what is random about them."""

from dataclasses import dataclass

import torch
from torchvision.transforms import InterpolationMode, v2

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing:
    """What is done to every image; kept in the record, so that predicting repeats it.

    Attributes:
        resize: `(height, width)` in pixels, or one number for the shorter side.
        crop: pixels a side of the square cut out of the middle, or None.
        interpolation: `bilinear`, `bicubic`, ...
        mean, std: of each colour channel, for values from 0 to 1.
    """

    resize: tuple[int, ...]
    crop: int | None
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def size(self) -> int:
        """Pixels a side of what the model sees."""
        return self.crop or self.resize[0]

    def build(self, augmentation: str = "none") -> v2.Compose:
        """Make the transform from a PIL image to `float32[3, size, size]`.

        Args:
            augmentation: `none`, or `trivial_augment` for training images.
        """
        steps: list[torch.nn.Module] = [
            v2.Resize(list(self.resize), InterpolationMode(self.interpolation), antialias=True)
        ]
        if self.crop:
            steps.append(v2.CenterCrop(self.crop))
        if augmentation == "trivial_augment":
            steps.append(v2.TrivialAugmentWide())
        steps += [
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(list(self.mean), list(self.std)),
        ]
        return v2.Compose(steps)


def resized(size: int) -> Preprocessing:
    """Return the preprocessing of `transform=resize`: a square, ImageNet's statistics."""
    return Preprocessing((size, size), None, "bilinear", IMAGENET_MEAN, IMAGENET_STD)
