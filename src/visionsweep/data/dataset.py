"""Image files as a PyTorch data set."""

from collections.abc import Callable, Sequence

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from visionsweep.data.images import ImageFile, open_rgb


class ImageDataset(Dataset[tuple[torch.Tensor, int]]):
    """Labelled image files, decoded and transformed when asked for.

    Args:
        files: the images.
        transform: from a PIL image to `float32[3, size, size]`.
    """

    def __init__(
        self, files: Sequence[ImageFile], transform: Callable[[Image.Image], torch.Tensor]
    ) -> None:
        self.files = files
        self.transform = transform

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        file = self.files[index]
        return self.transform(open_rgb(file.path)), file.label


def image_loader(
    dataset: ImageDataset,
    batch_size: int,
    *,
    shuffle: torch.Generator | None = None,
    workers: int = 0,
    pin_memory: bool = False,
) -> DataLoader[tuple[torch.Tensor, int]]:
    """Batch an image data set.

    Args:
        dataset: the images.
        batch_size: images a batch; the last one may be smaller.
        shuffle: the source of a new order in each epoch, or None for the order of the files.
        workers: processes that decode, 0 for this one.
        pin_memory: whether batches lie in page-locked memory, for copies to a GPU.
    """
    return DataLoader(
        dataset,
        batch_size,
        shuffle=shuffle is not None,
        generator=shuffle,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=pin_memory,
    )
