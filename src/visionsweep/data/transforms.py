"""Transform images to tensors, with optional augmentation."""

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, v2

from visionsweep.config.schema import AugmentationConfig
from visionsweep.config.targets import augmentation_target, build_target, is_augmented
from visionsweep.data.gray import GrayRange

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_MOST_ELONGATED = 16


@dataclass(frozen=True)
class Augmentation:
    """A random transform of training images."""

    transform: torch.nn.Module | None  # of the resized image
    crop_scale: float = 1.0  # least share of the area in a random crop of the image; 1: no crop
    name: str = ""  # class, arguments, and crop scale, which determine the transform


@dataclass(frozen=True)
class Preprocessing:
    """The deterministic transform of every image, stored in the record for prediction."""

    resize: tuple[int, ...]  # `(height, width)` in pixels, or the length of the shorter side
    crop: int | None  # pixels per side of the center crop
    interpolation: str  # `bilinear`, `bicubic`, ...
    mean: tuple[float, ...]  # of each channel, for values from 0 to 1
    std: tuple[float, ...]
    gray_range: GrayRange | None = None  # black and white in images of more than 8 bits per pixel

    def facts(self) -> dict[str, Any]:
        """Return the fields as a mapping, without `gray_range` if it is None.

        Records and keys of features of ordinary data sets are then those of versions without it.
        """
        return {k: v for k, v in asdict(self).items() if k != "gray_range" or v is not None}

    @property
    def size(self) -> int:
        """Pixels per side of the model's input."""
        return self.crop or self.resize[0]

    @property
    def of_pixels(self) -> "Preprocessing":
        """The part that determines the pixels; equal parts share decoded images."""
        return replace(self, mean=(), std=())

    def resizing(self, augmentation: Augmentation | None = None) -> list[torch.nn.Module]:
        """Return the steps from a decoded image to one of `size`, the same in each epoch.

        There are none if an augmentation crops the whole image, in all its pixels.
        """
        if augmentation is not None and augmentation.crop_scale < 1:
            return []
        mode = InterpolationMode(self.interpolation)
        steps = [
            None if len(self.resize) > 1 else _CutLongSide(),
            v2.Resize(list(self.resize), mode, antialias=True),
            v2.CenterCrop(self.crop) if self.crop else None,
        ]
        return [step for step in steps if step is not None]

    def _after_resizing(self, augmentation: Augmentation | None) -> list[torch.nn.Module]:
        random = augmentation or Augmentation(None)
        steps = [random.transform, v2.PILToTensor()]
        if random.crop_scale < 1:
            mode, scale = InterpolationMode(self.interpolation), (random.crop_scale, 1)
            steps.insert(0, v2.RandomResizedCrop(self.size, scale, interpolation=mode))
        return [step for step in steps if step is not None]

    def _to_pixels(self, augmentation: Augmentation | None) -> list[torch.nn.Module]:
        return [*self.resizing(augmentation), *self._after_resizing(augmentation)]

    def pixels(self, image: Image.Image, augmentation: Augmentation | None = None) -> torch.Tensor:
        """Transform a PIL image to `uint8[3, size, size]`, before normalization."""
        pixels: torch.Tensor = v2.Compose(self._to_pixels(augmentation))(image)
        return pixels

    def normalize(self, pixels: torch.Tensor) -> torch.Tensor:
        """Normalize `uint8[..., 3, size, size]` to `float32` of the same shape."""
        values = v2.functional.to_dtype(pixels, torch.float32, scale=True)
        scaled: torch.Tensor = v2.functional.normalize(values, list(self.mean), list(self.std))
        return scaled

    def build(self, augmentation: Augmentation | None = None) -> v2.Compose:
        """Return the transform from a PIL image to `float32[3, size, size]`."""
        return v2.Compose([*self._to_pixels(augmentation), self.normalize])

    def build_rest(self, augmentation: Augmentation | None = None) -> v2.Compose:
        """Return the transform that follows `resizing`, to `float32[3, size, size]`."""
        return v2.Compose([*self._after_resizing(augmentation), self.normalize])


class _CutLongSide(torch.nn.Module):
    """Crop an image whose long side exceeds 16 times its short side, around the center.

    Resizing 1 x 4000 pixels to a short side of 256 would make an image of 256 x 1,024,000. The
    center crop that follows is not affected.
    """

    def forward(self, image: Image.Image) -> Image.Image:
        """Return the center of an elongated image, or the whole image."""
        longest = _MOST_ELONGATED * min(image.size)
        width, height = (min(side, longest) for side in image.size)
        if (width, height) == image.size:
            return image
        left, top = (image.width - width) // 2, (image.height - height) // 2
        return image.crop((left, top, left + width, top + height))


def resized(size: int) -> Preprocessing:
    """Return the preprocessing of `transform=resize`: a square, with ImageNet's statistics."""
    return Preprocessing((size, size), None, "bilinear", IMAGENET_MEAN, IMAGENET_STD)


def build_augmentation(config: AugmentationConfig) -> Augmentation | None:
    """Return the random transform of training images, or None.

    Raises:
        UserError: if the class is not allowed, or does not accept its arguments.
    """
    if not is_augmented(config):
        return None
    target = augmentation_target(config)
    transform = build_target("augmentation", target, config.arguments) if target else None
    name = json.dumps([target, config.arguments, config.crop_scale], sort_keys=True)
    return Augmentation(transform, config.crop_scale, name)
