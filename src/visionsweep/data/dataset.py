"""Image files as a PyTorch data set, and in batches."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, default_collate

from visionsweep.data.images import ImageFile, UnreadableImageError, lost, open_rgb
from visionsweep.errors import UserError

Batch = tuple[torch.Tensor, torch.Tensor]


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
        """Return an image and its label.

        Raises:
            UserError: if the image has gone, or can no longer be read.
        """
        file = self.files[index]
        try:
            return self.transform(open_rgb(file.path)), file.label
        except UnreadableImageError as error:
            raise lost(file.path, str(error)) from error


class ImageBatches:
    """Batches of an image data set.

    Args:
        dataset: the images.
        batch_size: images a batch; the last one may be smaller.
        shuffle: the source of a new order in each epoch, or None for the order of the files.
        workers: processes that decode, 0 for this one.
        pin_memory: whether batches lie in page-locked memory, for copies to a GPU.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        batch_size: int,
        *,
        shuffle: torch.Generator | None = None,
        workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        self._loader: DataLoader[tuple[torch.Tensor, int] | UserError] = DataLoader(
            _Tried(dataset),
            batch_size,
            shuffle=shuffle is not None,
            generator=shuffle,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=pin_memory,
            collate_fn=_collate,
        )

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Batch]:
        """Yield pixels, `float32[B, 3, size, size]`, and labels, `int64[B]`.

        Raises:
            UserError: if an image has gone, or can no longer be read.
        """
        for batch in self._loader:
            if isinstance(batch, UserError):
                raise batch
            yield batch


class _Tried(Dataset[tuple[torch.Tensor, int] | UserError]):
    """A data set that returns its errors: raised in a worker, torch makes a traceback of them."""

    def __init__(self, dataset: ImageDataset) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int] | UserError:
        try:
            return self._dataset[index]
        except UserError as error:
            return error


def _collate(items: list[tuple[torch.Tensor, int] | UserError]) -> Any:
    """Return a batch, or the first error in it."""
    errors = [item for item in items if isinstance(item, UserError)]
    return errors[0] if errors else default_collate(items)
