"""Sends images through a frozen backbone, as fast as the machine goes.

Images are decoded in threads; `DeviceBackbone` computes their features.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import nn

from visionsweep.data.decoding import open_rgb
from visionsweep.data.images import ImageFile, read_content
from visionsweep.data.transforms import Preprocessing
from visionsweep.errors import UserError
from visionsweep.features.device_backbone import DeviceBackbone
from visionsweep.runtime import terminal
from visionsweep.runtime.micro_batching import AdaptiveMicroBatch
from visionsweep.runtime.threads import cores

# Images a batch: fixed for each kind of device, since kernels of other sizes give other last bits.
BATCH_SIZE = {"cpu": 16, "mps": 32, "cuda": 128}
_IN_PARTS = (
    "Kernels differ by the number of images, so the last bits of these features may differ from",
    "those of whole batches. Both are kept as equal: scripts/feature_store.py clear forgets them.",
)
ROUND = 2
PIXEL_BYTES = 128_000_000  # decoded images kept for the next backbone of a sweep


class PixelMemory:
    """Decoded images, in one tensor for each transform: images freed one by one leave holes.

    Attributes:
        wanted: whether to keep any; one run by itself decodes no image twice.
    """

    def __init__(self) -> None:
        self.wanted = False
        self._kept: dict[Preprocessing, tuple[torch.Tensor, dict[str, int]]] = {}
        self._free = PIXEL_BYTES

    def find(self, preprocessing: Preprocessing, digest: str) -> torch.Tensor | None:
        """Return `uint8[3, size, size]`, or None for an image that is not kept."""
        images, rows = self._kept.get(preprocessing.of_pixels, (None, {}))
        return None if images is None or digest not in rows else images[rows[digest]]

    def keep(self, preprocessing: Preprocessing, digest: str, image: torch.Tensor) -> None:
        """Keep a copy of an image while there is room."""
        if not self.wanted or self._free < image.nbytes:
            return
        place = preprocessing.of_pixels
        if place not in self._kept:  # memory that nobody writes to costs nothing
            room = torch.empty(PIXEL_BYTES // image.nbytes, *image.shape, dtype=torch.uint8)
            self._kept[place] = room, {}
        images, rows = self._kept[place]
        if digest not in rows:
            images[len(rows)] = image
            rows[digest] = len(rows)
            self._free -= image.nbytes

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()
        self._free = PIXEL_BYTES


_pixels = PixelMemory()


def remember_pixels() -> None:
    """Keep decoded images from now on: a sweep's next backbone may want the same ones."""
    _pixels.wanted = True


class Extractor:
    """A backbone made ready for extraction.

    Args:
        backbone: in evaluation mode, from `float32[N, 3, size, size]` to `float32[N, width]`; it is
            not changed.
        preprocessing: how an image becomes a tensor.
        device: where to compute.
        name: the backbone's name in messages.
    """

    def __init__(
        self,
        backbone: nn.Module,
        preprocessing: Preprocessing,
        device: torch.device,
        name: str = "the backbone",
    ) -> None:
        self._backbone = DeviceBackbone(backbone, preprocessing, device, name)
        self._name = name
        self._preprocessing = preprocessing
        self._device = device
        self._batch_size = BATCH_SIZE[device.type]
        self._micro_batch = AdaptiveMicroBatch(warning=_IN_PARTS)

    def extract(self, files: Sequence[ImageFile]) -> Iterator[tuple[list[str], torch.Tensor]]:
        """Compute features, showing how many images a second and how long it will take.

        A short last batch is filled up, so that an image's features are the same to the last bit
        whichever images it is computed with.

        Args:
            files: different images.

        Yields:
            Content digests, and their features, `float32[n, width]` on the CPU.

        Raises:
            UserError: if an image has changed or gone since it was looked at, or if its features
                are not finite.
        """
        batches = [
            files[start : start + self._batch_size]
            for start in range(0, len(files), self._batch_size)
        ]
        with terminal.bar(total=len(files), desc="Features", unit="image") as bar:
            for batch, pixels in zip(batches, self._decoded(batches), strict=True):
                features = self._forward(pixels)
                self._refuse_not_finite(batch, features)
                yield [file.digest for file in batch], features
                bar.update(len(batch))

    def _decoded(self, batches: Sequence[Sequence[ImageFile]]) -> Iterator[torch.Tensor]:
        """Yield the pixels of each batch, decoded in threads.

        Beside an accelerator the next batches are decoded while one is computed. On a CPU the two
        would fight for the same cores, and the forward pass waits for its slowest thread: measured
        at 1.25 times the time. So there a round of batches is decoded, then computed.
        """
        beside = self._device.type != "cpu"
        size = self._preprocessing.size
        shape = (1 + beside, ROUND, self._batch_size, 3, size, size)
        pinned = self._device.type == "cuda"  # copied to the GPU without a detour
        buffers = torch.empty(shape, dtype=torch.uint8, pin_memory=pinned)
        # On a CPU other runs may be beside; a GPU has to be fed by all cores.
        share = cores() if beside else min(cores(), torch.get_num_threads())
        with ThreadPoolExecutor(share, thread_name_prefix="decode") as threads:

            def decode(start: int) -> list[Future[None]]:
                buffer = buffers[start // ROUND % len(buffers)]
                return [
                    threads.submit(self._decode, file, place)
                    for batch, places in zip(batches[start : start + ROUND], buffer, strict=False)
                    for file, place in zip(batch, places, strict=False)
                ]

            coming = decode(0)
            for start in range(0, len(batches), ROUND):
                now, coming = coming, decode(start + ROUND) if beside else []
                for done in now:
                    done.result()
                buffer = buffers[start // ROUND % len(buffers)]
                for batch, places in zip(batches[start : start + ROUND], buffer, strict=False):
                    for file, place in zip(batch, places, strict=False):
                        _pixels.keep(self._preprocessing, file.digest, place)
                    yield places[: len(batch)]
                coming = coming or decode(start + ROUND)

    def _decode(self, file: ImageFile, place: torch.Tensor) -> None:
        """Put an image, `uint8[3, size, size]`, where it is wanted.

        Copied by NumPy: torch would start threads of its own in this one, and they spin.
        """
        if (kept := _pixels.find(self._preprocessing, file.digest)) is not None:
            place.numpy()[:] = kept.numpy()
            return
        content = read_content(file)  # features are stored by digest
        image = open_rgb(content, self._preprocessing.gray_range, where=file.path)
        place.numpy()[:] = self._preprocessing.pixels(image).numpy()

    @torch.inference_mode()
    def _forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the features of up to a batch; in parts, where device memory asks for it."""
        count = len(pixels)
        if count < self._batch_size:
            filling = pixels[:1].expand(self._batch_size - count, -1, -1, -1)
            pixels = torch.cat([pixels, filling])
        return torch.cat(self._micro_batch.map(self._features, pixels))[:count]

    def _features(self, pixels: torch.Tensor) -> torch.Tensor:
        return self._backbone(pixels)

    def _refuse_not_finite(self, batch: Sequence[ImageFile], features: torch.Tensor) -> None:
        """Refuse features that are infinite or not numbers: stored, they would spoil every run."""
        finite = torch.isfinite(features).all(1).tolist()
        if not all(finite):
            named = [str(file.path) for file, good in zip(batch, finite, strict=True) if not good]
            more = f" and {len(named) - 3} more" if len(named) > 3 else ""
            raise UserError(
                f"the features of {', '.join(named[:3])}{more} are not finite numbers, and nothing "
                "of their batch is stored",
                where=self._name,
                hint="Weights that are damaged or do not belong to this architecture do that; use "
                "other weights, or leave these images out.",
            )
