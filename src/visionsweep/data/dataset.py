"""Image files as a PyTorch data set, and in batches that one generator decides."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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

Draw = tuple[int, int]  # which image, and the seed of what is random about it


class ImageDataset(Dataset[tuple[torch.Tensor, int]]):
    """Labelled image files, decoded and transformed when asked for.

    Args:
        files: the images.
        transform: from a PIL image to `float32[3, size, size]`.
        gray_range: gray values that become black and white in images of more than 8 bits per pixel.
    """

    def __init__(
        self,
        files: Sequence[ImageFile],
        transform: Callable[[Image.Image], torch.Tensor],
        gray_range: GrayRange | None = None,
    ) -> None:
        self.files = files
        self.transform = transform
        self.gray_range = gray_range

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, place: int | Draw) -> tuple[torch.Tensor, int]:
        """Return an image and its label.

        Raises:
            UserError: if the image has gone, changed, or can no longer be read.
        """
        index, seed = place if isinstance(place, tuple) else (place, 0)
        file = self.files[index]
        try:
            image = open_rgb(read_content(file), self.gray_range, where=file.path)
            with _seeded(seed):
                return self.transform(image), file.label
        except UnreadableImageError as error:
            raise lost(file.path, str(error)) from error


class Shuffled(Sampler[Draw]):
    """Every image once, in a new order and with new seeds in each epoch.

    The seed comes with the image, so that an augmentation is the same whichever process draws it,
    and takes no random number away from the network that trains on it.

    Args:
        count: of images.
        source: of orders and seeds; all of an epoch's are taken when it begins.
    """

    def __init__(self, count: int, source: torch.Generator) -> None:
        self.count, self.source = count, source

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Draw]:
        order = torch.randperm(self.count, generator=self.source)
        seeds = torch.empty(self.count, dtype=torch.int64).random_(generator=self.source)
        return zip(order.tolist(), seeds.tolist(), strict=True)


class WithoutSingle(Sampler[list[Draw]]):
    """Batches of a sampler; a single image that is left over joins the batch before it.

    Args:
        sampler: the images in their order.
        batch_size: images per batch, at least 2.
    """

    def __init__(self, sampler: Shuffled, batch_size: int) -> None:
        self._sampler, self._batch_size = sampler, batch_size

    def __len__(self) -> int:
        return len(self._ends())

    def __iter__(self) -> Iterator[list[Draw]]:
        draws, begin = list(self._sampler), 0
        for end in self._ends():
            yield draws[begin:end]
            begin = end

    def _ends(self) -> list[int]:
        count = len(self._sampler)
        ends = [*range(self._batch_size, count, self._batch_size), count]
        if len(ends) > 1 and ends[-1] - ends[-2] == 1:
            del ends[-2]
        return ends


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Draw from a seed inside the block, and go on afterwards as if nothing had been drawn."""
    before = torch.get_rng_state()
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed every GPU too
    try:
        yield
    finally:
        torch.set_rng_state(before)


class ImageBatches:
    """Batches of an image data set: the same to the last bit with any number of workers.

    Args:
        dataset: the images.
        batch_size: images a batch; the last one may be smaller.
        shuffle: the source of a new order in each epoch and of what is random about its images, or
            None for the order of the files.
        workers: processes that decode, 0 for this one.
        pin_memory: whether batches lie in page-locked memory, for copies to a GPU.
        join_single: whether a single image that is left over joins the batch before it; only where
            images are shuffled.
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
    ) -> None:
        order: dict[str, Any] = {"batch_size": batch_size}
        if shuffle is not None:
            shuffled = Shuffled(len(dataset), shuffle)
            joined = {"batch_sampler": WithoutSingle(shuffled, batch_size)}
            order = joined if join_single else order | {"sampler": shuffled}
        self._loader: DataLoader[tuple[torch.Tensor, int] | UserError] = DataLoader(
            _Tried(dataset),
            **order,
            # A loader draws seeds for its workers, in each epoch or, where there are some, once:
            # from here, and not from what the order or the network's dropout is drawn from.
            generator=torch.Generator(),
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

    def __getitem__(self, place: int | Draw) -> tuple[torch.Tensor, int] | UserError:
        try:
            return self._dataset[place]
        except UserError as error:
            return error


def _collate(items: list[tuple[torch.Tensor, int] | UserError]) -> Any:
    """Return a batch, or the first error in it."""
    errors = [item for item in items if isinstance(item, UserError)]
    return errors[0] if errors else default_collate(items)
