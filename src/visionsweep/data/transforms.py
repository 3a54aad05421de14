"""How an image becomes a tensor: the pixels a model sees, and what is random about them."""

from dataclasses import dataclass, replace

import torch
from PIL import Image
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

    @property
    def of_pixels(self) -> "Preprocessing":
        """What of it decides the pixels: two that agree here share decoded images."""
        return replace(self, mean=(), std=())

    def _to_pixels(self, augmentation: str) -> list[torch.nn.Module]:
        steps: list[torch.nn.Module] = [
            v2.Resize(list(self.resize), InterpolationMode(self.interpolation), antialias=True)
        ]
        if self.crop:
            steps.append(v2.CenterCrop(self.crop))
        if augmentation == "trivial_augment":
            steps.append(v2.TrivialAugmentWide())
        return [*steps, v2.PILToTensor()]

    def pixels(self, image: Image.Image) -> torch.Tensor:
        """Turn a PIL image into `uint8[3, size, size]`, before normalisation."""
        pixels: torch.Tensor = v2.Compose(self._to_pixels("none"))(image)
        return pixels

    def normalize(self, pixels: torch.Tensor) -> torch.Tensor:
        """Turn `uint8[..., 3, size, size]` into `float32` of the same shape, as `build` does."""
        values = v2.functional.to_dtype(pixels, torch.float32, scale=True)
        scaled: torch.Tensor = v2.functional.normalize(values, list(self.mean), list(self.std))
        return scaled

    def build(self, augmentation: str = "none") -> v2.Compose:
        """Make the transform from a PIL image to `float32[3, size, size]`.

        Args:
            augmentation: `none`, or `trivial_augment` for training images.
        """
        return v2.Compose([*self._to_pixels(augmentation), self.normalize])


def resized(size: int) -> Preprocessing:
    """Return the preprocessing of `transform=resize`: a square, ImageNet's statistics."""
    return Preprocessing((size, size), None, "bilinear", IMAGENET_MEAN, IMAGENET_STD)
