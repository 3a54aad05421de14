"""Sends images through a frozen backbone, as fast as the machine goes.

Images are decoded in threads. The backbone computes in channels-last layout with BatchNorm folded
into the convolutions; on CUDA also in half precision.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property

import torch
from torch import nn
from tqdm import tqdm

from visionsweep.data import sample
from visionsweep.data.images import ImageFile, digest_of, open_rgb
from visionsweep.data.transforms import Preprocessing
from visionsweep.errors import UserError
from visionsweep.models.folding import fold_batchnorm

# Images a batch: fixed for each kind of device, since kernels of other sizes give other last bits.
BATCH_SIZE = {"cpu": 16, "mps": 32, "cuda": 128}
ROUND = 2  # batches decoded at a time; of eight, freed pixels left 30 MB more behind
PIXEL_BYTES = 128_000_000  # decoded images kept for the next backbone with the same transform

_pixels: dict[tuple[str, Preprocessing], torch.Tensor] = {}


class Extractor:
    """A backbone made ready for extraction.

    Args:
        backbone: in evaluation mode, from `float32[N, 3, size, size]` to `float32[N, width]`; it is
            not changed.
        preprocessing: how an image becomes a tensor.
        device: where to compute.
    """

    def __init__(
        self, backbone: nn.Module, preprocessing: Preprocessing, device: torch.device
    ) -> None:
        self._backbone = backbone.eval()
        self._preprocessing = preprocessing
        self._device = device
        self._batch_size = BATCH_SIZE[device.type]

    @cached_property
    def _fast(self) -> nn.Module:
        """The folded backbone on its device.

        Folding is judged on the CPU, since CUDA's convolutions round to ten bits, and always on the
        same drawn scenes: which images come first must not decide an image's last bits. Noise will
        not do: a random EfficientNet takes it out of all proportion, rounding errors included.
        """
        drawn = [sample.jpeg("train", name, sample.COUNTS["train"], 256) for name in sample.CLASSES]
        transform = self._preprocessing.build()
        example = torch.stack([transform(open_rgb(picture)) for picture in drawn])
        folded = fold_batchnorm(self._backbone.cpu(), example)
        return folded.to(self._device).to(memory_format=torch.channels_last)

    def extract(self, files: Sequence[ImageFile]) -> Iterator[tuple[list[str], torch.Tensor]]:
        """Compute features, showing how many images a second and how long it will take.

        A short last batch is filled up, so that an image's features are the same to the last bit
        whichever images it is computed with.

        Args:
            files: different images.

        Yields:
            Content digests, and their features, `float32[n, width]` on the CPU.

        Raises:
            UserError: if an image has changed or gone since it was looked at.
        """
        batches = [
            files[start : start + self._batch_size]
            for start in range(0, len(files), self._batch_size)
        ]
        with tqdm(
            total=len(files), desc="Features", unit="image", disable=None, leave=False
        ) as bar:
            for batch, pixels in zip(batches, self._decoded(batches), strict=True):
                yield [file.digest for file in batch], self._forward(pixels)
                bar.update(len(batch))

    def _decoded(self, batches: Sequence[Sequence[ImageFile]]) -> Iterator[torch.Tensor]:
        """Yield the pixels of each batch, decoded in threads.

        Beside an accelerator the next batches are decoded while one is computed. On a CPU the two
        would fight for the same cores, and the forward pass waits for its slowest thread: measured
        at 1.25 times the time. So there a round of batches is decoded, then computed.
        """
        beside = self._device.type != "cpu"
        with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="decode") as threads:

            def decode(batches: Sequence[Sequence[ImageFile]]) -> list[list[Future[torch.Tensor]]]:
                return [[threads.submit(self._decode, file) for file in b] for b in batches]

            coming = decode(batches[:ROUND])
            for start in range(ROUND, len(batches) + ROUND, ROUND):
                now, following = coming, batches[start : start + ROUND]
                coming = decode(following) if beside else []
                wait([future for batch in now for future in batch])
                for batch in now:
                    yield torch.stack([future.result() for future in batch])
                coming = coming or decode(following)

    def _decode(self, file: ImageFile) -> torch.Tensor:
        """Return `uint8[3, size, size]`, remembered while there is room."""
        place = (file.digest, self._preprocessing.of_pixels)
        if (kept := _pixels.get(place)) is not None:
            return kept
        try:
            content = file.path.read_bytes()
        except OSError as error:
            raise UserError(f"{file.path}: cannot be read: {error.strerror}") from error
        if digest_of(content) != file.digest:  # its features would be kept under another's name
            raise UserError(
                f"{file.path}: has changed during this run, or so that neither its size nor its "
                "time of change shows it; touch the file and start again"
            )
        pixels = self._preprocessing.pixels(open_rgb(content))
        if (len(_pixels) + 1) * pixels.nbytes <= PIXEL_BYTES:
            _pixels[place] = pixels
        return pixels

    @torch.inference_mode()
    def _forward(self, pixels: torch.Tensor) -> torch.Tensor:
        count = len(pixels)
        if count < self._batch_size:
            filling = pixels[:1].expand(self._batch_size - count, -1, -1, -1)
            pixels = torch.cat([pixels, filling])
        if self._device.type == "cuda":
            pixels = pixels.pin_memory().to(self._device, non_blocking=True)
        images = self._preprocessing.normalize(pixels.to(self._device))
        images = images.contiguous(memory_format=torch.channels_last)
        backbone = self._fast
        with self._precision():
            features: torch.Tensor = backbone(images).flatten(1)
        return features[:count].float().cpu()

    def _precision(self) -> AbstractContextManager[object]:
        if self._device.type == "cuda":
            return torch.autocast("cuda", torch.float16)
        return nullcontext()
