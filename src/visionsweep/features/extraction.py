"""Extract the features of images: decode them in threads, send them through a backbone."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import cycle, islice

import torch

from visionsweep.command_memory import remembered
from visionsweep.data.decoding import open_rgb
from visionsweep.data.images import ImageFile, read_content
from visionsweep.data.transforms import Preprocessing
from visionsweep.data.views import View
from visionsweep.errors import UserError
from visionsweep.features.device_backbone import DeviceBackbone
from visionsweep.runtime.micro_batching import AdaptiveMicroBatch
from visionsweep.runtime.threads import cores

Source = ImageFile | View

# Images per batch. Fixed per device type: kernels for other batch sizes round differently.
BATCH_SIZE = {"cpu": 16, "mps": 32, "cuda": 128}
ROUND = 2  # batches that are decoded together
PIXEL_BYTES = 128_000_000  # limit of the decoded images that are kept
_MICRO_BATCH_WARNING = (
    "Kernels differ by batch size, so the last bits of these features may differ from those of",
    "whole batches. Both are stored under one key: python src/cache.py clear deletes them.",
)


class PixelMemory:
    """Decoded images, in one preallocated tensor per transform to avoid fragmentation.

    Attributes:
        enabled: True if images are kept. A single run decodes no image twice.
    """

    def __init__(self) -> None:
        self.enabled = False
        self._kept: dict[Preprocessing, tuple[torch.Tensor, dict[str, int]]] = {}
        self._free = PIXEL_BYTES

    def find(self, preprocessing: Preprocessing, digest: str) -> torch.Tensor | None:
        """Return `uint8[3, size, size]`, or None for an image that is not kept."""
        images, rows = self._kept.get(preprocessing.of_pixels, (None, {}))
        return None if images is None or digest not in rows else images[rows[digest]]

    def keep(self, preprocessing: Preprocessing, digest: str, image: torch.Tensor) -> None:
        """Keep a copy of an image while memory is left."""
        if not self.enabled or self._free < image.nbytes:
            return
        key = preprocessing.of_pixels
        if key not in self._kept:  # unwritten pages take no memory
            capacity = PIXEL_BYTES // image.nbytes
            self._kept[key] = torch.empty(capacity, *image.shape, dtype=torch.uint8), {}
        images, rows = self._kept[key]
        if digest not in rows:
            images[len(rows)] = image
            rows[digest] = len(rows)
            self._free -= image.nbytes


@remembered()
def pixel_memory() -> PixelMemory:
    """Return the decoded images of the command."""
    return PixelMemory()


def remember_pixels() -> None:
    """Keep decoded images from now on, for the next backbone of a sweep."""
    pixel_memory().enabled = True


def extract(
    backbone: DeviceBackbone, files: Iterable[Source]
) -> Iterator[tuple[list[str], torch.Tensor]]:
    """Compute features batch by batch.

    The last batch is padded, so the features of an image are bitwise identical whichever images
    are in its batch.

    Args:
        backbone: the backbone on its device.
        files: distinct images or views of them, each taken when it is to be decoded.

    Yields:
        Content digests and their features, `float32[n, width]` on the CPU.

    Raises:
        UserError: if an image is missing or has changed since its digest was computed, or if its
            features are not finite.
    """
    size = BATCH_SIZE[backbone.device.type]
    micro_batch = AdaptiveMicroBatch(warning=_MICRO_BATCH_WARNING)
    for batch, pixels in _decoded(backbone, iter(files)):
        padding = pixels[:1].expand(size - len(batch), -1, -1, -1)
        padded = torch.cat([pixels, padding]) if len(batch) < size else pixels
        features = torch.cat(micro_batch.map(backbone, padded))[: len(batch)]
        _refuse_not_finite(backbone.name, batch, features)
        yield [file.digest for file in batch], features


def _decoded(
    backbone: DeviceBackbone, files: Iterator[Source]
) -> Iterator[tuple[list[Source], torch.Tensor]]:
    """Yield batches with their pixels, decoded in threads.

    With an accelerator, the next batches are decoded while one is computed. On a CPU, decoding and
    the forward pass would compete for cores, which took 1.25 times as long; there a round of
    batches is decoded, then computed.
    """
    parallel = backbone.device.type != "cpu"
    size = backbone.preprocessing.size
    shape = (1 + parallel, ROUND, BATCH_SIZE[backbone.device.type], 3, size, size)
    pinned = backbone.device.type == "cuda"  # for asynchronous copies
    buffers = cycle(torch.empty(shape, dtype=torch.uint8, pin_memory=pinned))
    # On a CPU, other runs may share the machine. A GPU needs all cores to be kept busy.
    n_threads = cores() if parallel else min(cores(), torch.get_num_threads())
    with ThreadPoolExecutor(n_threads, thread_name_prefix="decode") as threads:

        def begin_round() -> tuple[list[tuple[list[Source], torch.Tensor]], list[Future[None]]]:
            batches = [
                (batch, rows) for rows in next(buffers) if (batch := list(islice(files, len(rows))))
            ]
            return batches, [
                threads.submit(_decode, backbone.preprocessing, file, row)
                for batch, rows in batches
                for file, row in zip(batch, rows, strict=False)
            ]

        batches, decoding = begin_round()
        while batches:
            following = begin_round() if parallel else None
            for future in decoding:
                future.result()
            for batch, rows in batches:
                for file, row in zip(batch, rows, strict=False):
                    pixel_memory().keep(backbone.preprocessing, file.digest, row)
                yield batch, rows[: len(batch)]
            batches, decoding = following or begin_round()


def _decode(preprocessing: Preprocessing, file: Source, row: torch.Tensor) -> None:
    """Write the pixels of an image into `uint8[3, size, size]`.

    Copied by NumPy, since torch would start threads of its own in this thread.
    """
    pixels = pixel_memory().find(preprocessing, file.digest)
    if isinstance(file, View):
        pixels = file.pixels(preprocessing) if pixels is None else pixels
    elif pixels is None:
        content = read_content(file)  # checks the digest, under which features are stored
        image = open_rgb(content, preprocessing.gray_range, where=file.path)
        pixels = preprocessing.pixels(image)
    row.numpy()[:] = pixels.numpy()


def _refuse_not_finite(name: str, batch: Sequence[Source], features: torch.Tensor) -> None:
    """Refuse features that are not finite; stored, they would affect every run."""
    finite = torch.isfinite(features).all(1).tolist()
    if not all(finite):
        paths = [str(file.path) for file, ok in zip(batch, finite, strict=True) if not ok]
        more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
        raise UserError(
            f"the features of {', '.join(paths[:3])}{more} are not finite; nothing of their batch "
            "is stored",
            where=name,
            hint="Damaged weights, or weights of another architecture, cause this. Use other "
            "weights, or leave these images out.",
        )
