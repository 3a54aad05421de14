"""Views of an image: itself, and fixed random transforms of it, for a frozen backbone."""

import threading
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import torch
from PIL import Image

from visionsweep.data.dataset import seeded
from visionsweep.data.decoding import open_rgb
from visionsweep.data.images import ImageFile, digest_of, read_content
from visionsweep.data.transforms import Augmentation, Preprocessing
from visionsweep.errors import UserError

_one_at_a_time = threading.Lock()  # all threads draw from torch's one generator


@dataclass(frozen=True)
class View:
    """A random transform of an image, the same one whenever and wherever it is computed.

    Attributes:
        image: image file.
        augmentation: random transform.
        digest: digest of the image, the augmentation, and the number of the view, which is the seed
            of the transform and the name of its features.
    """

    image: ImageFile
    augmentation: Augmentation
    digest: str

    @property
    def path(self) -> Path:
        """File of the image."""
        return self.image.path

    def pixels(self, preprocessing: Preprocessing) -> torch.Tensor:
        """Read the image, and return `uint8[3, size, size]`.

        Raises:
            UserError: if the file is gone or has changed, or the augmentation changes the size.
        """
        content = read_content(self.image)
        image = open_rgb(content, preprocessing.gray_range, where=self.path)
        return pixels_of_view(image, preprocessing, self.augmentation, self.digest)


def views_of(image: ImageFile, augmentation: Augmentation, count: int) -> list[View]:
    """Return the random views of an image, all but the first of `count`, which is the image."""
    digests = (view_digest(image.digest, augmentation, n) for n in range(1, count))
    return [View(image, augmentation, digest) for digest in digests]


def view_digest(digest: str, augmentation: Augmentation, number: int) -> str:
    """Return the digest of a view of the image with a content digest."""
    return digest_of(f"{digest} {augmentation.name} {number}".encode())


def pixels_of_view(
    image: Image.Image, preprocessing: Preprocessing, augmentation: Augmentation, digest: str
) -> torch.Tensor:
    """Return the pixels of the view of a digest, `uint8[3, size, size]`, from a decoded image.

    Raises:
        UserError: if the augmentation changes the size.
    """
    with _one_at_a_time, seeded(int(digest[:15], 16)):
        pixels = preprocessing.pixels(image, augmentation)
    if pixels.shape[1:] != (preprocessing.size, preprocessing.size):
        raise UserError(
            f"makes images of {pixels.shape[1]} x {pixels.shape[2]} pixels, and the model sees "
            f"{preprocessing.size} x {preprocessing.size}",
            where=f"augmentation={augmentation.name}",
            hint="Crop images with augmentation.crop_scale.",
        )
    return pixels


def mean_of_views(features: torch.Tensor) -> torch.Tensor:
    """Return the mean over V views of their features or logits, `float32[N, ...]`.

    Logits are linear in features, so the logits of the mean are the mean of the views' logits.
    Views are added in turn: bitwise identical for any number of threads.

    Args:
        features: `float32[N, V, ...]`.
    """
    views = features.unbind(1)
    return reduce(torch.add, views) / len(views) if len(views) > 1 else views[0]
