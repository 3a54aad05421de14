"""Verify an exported model: its probabilities of a run's validation images against the record."""

import io
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from visionsweep.analysis.predictions import MANY_CLASSES
from visionsweep.config.derived import flatten
from visionsweep.data.decoding import open_rgb
from visionsweep.data.formats import UnreadableImageError
from visionsweep.data.transforms import Preprocessing
from visionsweep.errors import UserError
from visionsweep.export.formats import Model
from visionsweep.export.network import DeployedNetwork
from visionsweep.export.recorded_images import RecordedImages, nothing_left
from visionsweep.runs.discovery import Run
from visionsweep.runs.record import RecordSummary
from visionsweep.text.escaping import listed

# Largest difference in probability that is rounding: of float32 features on a CPU, and of
# features in float16 (a GPU) or bfloat16, which differ from those of float32 by up to 6%.
ROUNDING = {"float32": 0.005, "float16": 0.05, "bfloat16": 0.1}
_FEW = 5  # most probable classes that are compared if there are many: the record holds only these
_BATCH = 8
_TURNS = 15

ReadPixels = Callable[[io.BytesIO], NDArray[np.uint8]]  # of predict.py, written beside the model


@dataclass(frozen=True)
class Verification:
    """Comparison of an exported model with the record.

    Attributes:
        recorded: number of validation images of the run.
        rounding: difference in probability up to which it counts as rounding.
        missing: images that are no longer there, each with the reason.
        differences: largest difference in probability of each compared image.
        ties: images whose most probable class is another, by rounding alone.
        changed: images with a larger difference, each with both predictions.
        other_pixels: images that predict.py decodes to other pixels than this package.
    """

    recorded: int
    rounding: float
    missing: list[str] = field(default_factory=list)
    differences: list[float] = field(default_factory=list)
    ties: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    other_pixels: list[str] = field(default_factory=list)

    @property
    def compared(self) -> int:
        """Number of images that were compared."""
        return len(self.differences)

    @property
    def difference(self) -> float:
        """Largest difference in probability."""
        return max(self.differences)

    def refuse_changed(self) -> None:
        """Refuse a model that predicts otherwise than the record.

        Raises:
            UserError: names the images.
        """
        if self.changed:
            raise UserError(
                f"the exported model differs from the record on {len(self.changed)} of "
                f"{self.compared} validation images, by up to {self.difference:.4f} in probability "
                f"(rounding: {self.rounding:g}):{listed(self.changed)}",
                hint="\nNothing was written.",
            )


def verify(
    model: Model,
    run: Run,
    recorded: RecordedImages,
    classes: Sequence[str],
    preprocessing: Preprocessing,
    read_pixels: ReadPixels,
) -> Verification:
    """Compare an exported model with the recorded predictions, image by image.

    Args:
        model: exported model, loaded anew.
        run: completed run.
        recorded: its validation images.
        classes: its class names.
        preprocessing: its transform of an image.
        read_pixels: reader of an image file without this package.

    Raises:
        UserError: if none of the images can be read any more.
    """
    result = Verification(len(recorded.names), ROUNDING[_arithmetic(run.record)])
    most = _FEW if len(classes) >= MANY_CLASSES else len(classes)
    for indices, pixels in _batches(recorded, preprocessing, read_pixels, result):
        for index, row in zip(indices, model(pixels).astype(np.float64), strict=True):
            true = recorded.probabilities[index]
            was, now = int(true.argmax()), int(row.argmax())
            difference = float(np.abs(row - true)[np.argsort(-true)[:most]].max())
            result.differences.append(difference if np.isfinite(row).all() else np.inf)
            both = (
                f"{recorded.names[index]}: recorded {classes[was]} {true[was]:.4f}, "
                f"exported {classes[now]} {row[now]:.4f}"
            )
            # With many classes, another one than those compared may have become the first.
            if not result.differences[-1] <= result.rounding or (
                true[was] - true[now] > 2 * result.rounding
            ):
                result.changed.append(both)
            elif was != now:
                result.ties.append(both)
    if not result.differences:
        raise nothing_left(run, result.missing)
    return result


def _batches(
    recorded: RecordedImages,
    preprocessing: Preprocessing,
    read_pixels: ReadPixels,
    result: Verification,
) -> Iterator[tuple[list[int], NDArray[np.uint8]]]:
    """Yield indices and pixels of images, `uint8[N, 3, size, size]`; note what differs."""
    indices: list[int] = []
    batch: list[NDArray[np.uint8]] = []
    contents = tqdm(
        recorded.contents(), "Verifying", len(recorded.names), leave=False, unit="image",
        disable=None,
    )  # fmt: skip
    for index, content in enumerate(contents):
        if isinstance(content, str):
            result.missing.append(f"{recorded.names[index]}: {content}")
            continue
        try:
            image = open_rgb(content, preprocessing.gray_range)
        except UnreadableImageError as error:
            result.missing.append(f"{recorded.names[index]}: {error.what}")
            continue
        pixels = preprocessing.pixels(image).numpy()
        try:
            same = np.array_equal(read_pixels(io.BytesIO(content)), pixels)
        except Exception:  # as many kinds as there are broken files
            same = False
        if not same:
            result.other_pixels.append(recorded.names[index])
        indices.append(index)
        batch.append(pixels)
        if len(batch) == _BATCH:
            yield indices, np.stack(batch)
            indices, batch = [], []
    if batch:
        yield indices, np.stack(batch)


def _arithmetic(record: RecordSummary) -> str:
    """Return in which numbers a run's features were computed."""
    settings: Mapping[str, Any] = flatten(record.config)
    if settings.get("features.precision") == "bf16":
        return "bfloat16"
    return "float32" if record.device.get("type") == "cpu" else "float16"


@torch.inference_mode()
def milliseconds(network: DeployedNetwork, model: Model) -> tuple[float, float]:
    """Return ms per image of the original network and of an exported model.

    Single images, in turns, in as many threads as torch has; medians.
    """
    pixels = torch.randint(0, 256, (1, 3, network.size, network.size), dtype=torch.uint8)
    array = pixels.numpy()
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(_TURNS + 2):
        for taken, compute in zip(
            times, (lambda: network(pixels), lambda: model(array)), strict=True
        ):
            start = time.perf_counter()
            compute()
            if turn > 1:  # after the first two, which allocate memory
                taken.append(1000 * (time.perf_counter() - start))
    return statistics.median(times[0]), statistics.median(times[1])
