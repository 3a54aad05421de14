"""Image files as a PyTorch data set, and batches in a seeded order."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from visionsweep.data.decoding import open_rgb
from visionsweep.data.formats import UnreadableImageError
from visionsweep.data.gray import GrayRange
from visionsweep.data.images import ImageFile, lost, read_content
from visionsweep.errors import UserError

Batch = tuple[torch.Tensor, torch.Tensor]

Draw = tuple[int, int]  # index, and seed of the augmentation


class ImageDataset(Dataset[tuple[torch.Tensor, int]]):
    """Labeled image files, decoded and transformed on access.

    Args:
        files: images.
        transform: function from a PIL image to `float32[3, size, size]`.
        gray_range: as in `decoding.decode`.
        resizing: steps before `transform` that are the same at each access.
        kept: images whose resized pixels are kept in memory after the first access, at most.
    """

    def __init__(
        self,
        files: Sequence[ImageFile],
        transform: Callable[[Image.Image], torch.Tensor],
        gray_range: GrayRange | None = None,
        resizing: Sequence[Callable[[Image.Image], Image.Image]] = (),
        kept: int = 0,
    ) -> None:
        self.files, self.transform, self.gray_range = files, transform, gray_range
        self._resizing, self._room = resizing, kept
        self._kept: dict[int, Image.Image] = {}

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, key: int | Draw) -> tuple[torch.Tensor, int]:
        """Return the tensor and the label of an image.

        Raises:
            UserError: if the file is gone, has changed, or can no longer be read.
        """
        index, seed = key if isinstance(key, tuple) else (key, 0)
        image = self._resized(index)
        with seeded(seed):
            return self.transform(image), self.files[index].label

    def _resized(self, index: int) -> Image.Image:
        if index in self._kept:
            return self._kept[index]
        file = self.files[index]
        try:
            image = open_rgb(read_content(file), self.gray_range, where=file.path)
        except UnreadableImageError as error:
            raise lost(file.path, str(error)) from error
        for step in self._resizing:
            image = step(image)
        if len(self._kept) < self._room:
            self._kept[index] = image
        return image

    def __getitems__(self, keys: Sequence[Draw]) -> list[tuple[torch.Tensor, int]] | UserError:
        """Return the items of a batch, or an error: raised in a worker, it would be a traceback."""
        try:
            return [self[key] for key in keys]
        except UserError as error:
            return error


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's generator inside the block, and restore its state afterwards."""
    before = torch.get_rng_state()
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed every GPU too
    try:
        yield
    finally:
        torch.set_rng_state(before)


def random_order(
    count: int, weights: torch.Tensor | None, generator: torch.Generator
) -> torch.Tensor:
    """Return the images of an epoch, `int64[count]`: each once, in random order.

    With `weights`, the relative frequency of each image, `float32[count]`, they are drawn with
    replacement.
    """
    if weights is None:
        return torch.randperm(count, generator=generator)
    return torch.multinomial(weights, count, replacement=True, generator=generator)


class _Batches(Sampler[list[Draw]]):
    """Indices and augmentation seeds of each batch, in a new random order in each epoch.

    The seed travels with the index, so that an augmentation does not depend on the process that
    computes it, and takes no random number from the network.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        shuffle: torch.Generator | None,
        join_single: bool,
        weights: torch.Tensor | None,
    ) -> None:
        self._count, self._shuffle, self._weights = count, shuffle, weights
        self._ends = [*range(batch_size, count, batch_size), count]
        if join_single and len(self._ends) > 1 and self._ends[-1] - self._ends[-2] == 1:
            del self._ends[-2]

    def __len__(self) -> int:
        return len(self._ends)

    def __iter__(self) -> Iterator[list[Draw]]:
        order, seeds = torch.arange(self._count), torch.zeros(self._count, dtype=torch.int64)
        if self._shuffle is not None:
            order = random_order(self._count, self._weights, self._shuffle)
            seeds.random_(generator=self._shuffle)
        draws = list(zip(order.tolist(), seeds.tolist(), strict=True))
        for begin, end in pairwise([0, *self._ends]):  # lazy: a loader makes two iterators at first
            yield draws[begin:end]


class ImageBatches(DataLoader[tuple[torch.Tensor, int]]):
    """Batches of an image data set, bitwise identical for any number of workers.

    Args:
        dataset: images.
        batch_size: images per batch; the last batch may be smaller.
        shuffle: generator of the order and the augmentation of each epoch; None for the order of
            the files.
        workers: number of worker processes; 0 decodes in this process.
        pin_memory: True for batches in page-locked memory, for copies to a GPU.
        join_single: True to add a single remaining image to the batch before it.
        weights: relative frequency of each image, as in `random_order`.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        batch_size: int,
        *,
        shuffle: torch.Generator | None = None,
        workers: int = 0,
        pin_memory: bool = False,
        join_single: bool = False,
        weights: torch.Tensor | None = None,
    ) -> None:
        super().__init__(
            dataset,
            batch_sampler=_Batches(len(dataset), batch_size, shuffle, join_single, weights),
            # For the seeds of workers, which would otherwise come from the default generator.
            generator=torch.Generator(),
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=pin_memory,
            collate_fn=_collate,
        )

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        """Yield pixels, `float32[B, 3, size, size]`, and labels, `int64[B]`.

        Raises:
            UserError: if the file of an image is gone, has changed, or can no longer be read.
        """
        for batch in super().__iter__():
            if isinstance(batch, UserError):
                raise batch
            yield batch


def _collate(items: list[tuple[torch.Tensor, int]] | UserError) -> Any:
    return items if isinstance(items, UserError) else default_collate(items)
