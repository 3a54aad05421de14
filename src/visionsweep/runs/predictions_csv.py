"""Predictions of a run's final model, `predictions.csv`: calibrated probabilities of each image.

The columns are `image`, `split`, `true`, and one per class, named by `class_columns`. Control
characters in file names are escaped, and no cell is a formula.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from visionsweep.analysis.metrics import confusion
from visionsweep.runs.discovery import Run
from visionsweep.storage.files import write_atomically
from visionsweep.storage.untrusted import MB, read_regular
from visionsweep.text.escaping import class_columns, csv_cell

FILE_NAME = "predictions.csv"
_FIRST = ("image", "split", "true")
_LARGEST = 1024 * MB


@dataclass(frozen=True)
class SplitPredictions:
    """Predictions of the images of one split."""

    images: list[str]  # paths as written in the file
    classes: list[str]
    labels: NDArray[np.int64]  # true classes, `[N]`
    probabilities: NDArray[np.float64]  # calibrated, `[N, C]`

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        """Predicted classes, `int64[N]`."""
        highest: NDArray[np.int64] = self.probabilities.argmax(1)
        return highest

    @cached_property
    def correct(self) -> NDArray[np.bool_]:
        """Whether each prediction is correct, `bool[N]`."""
        correct: NDArray[np.bool_] = self.predicted == self.labels
        return correct

    @cached_property
    def confidence(self) -> NDArray[np.float64]:
        """Probabilities of the predicted classes, `float64[N]`."""
        highest: NDArray[np.float64] = self.probabilities.max(1)
        return highest

    @cached_property
    def confusion(self) -> NDArray[np.int64]:
        """Confusion matrix, `int64[C, C]`; rows are true, columns predicted classes."""
        return confusion(self.labels, self.predicted, len(self.classes))

    def worst_mistakes(self, most: int) -> NDArray[np.int64]:
        """Return the indices of the most confident mistakes, `int64[<= most]`."""
        wrong = np.flatnonzero(~self.correct)
        return wrong[np.argsort(-self.confidence[wrong], kind="stable")][:most]


def write(
    run_dir: Path,
    classes: Sequence[str],
    splits: Mapping[str, tuple[Sequence[Path], Sequence[int], Sequence[Sequence[float]]]],
) -> None:
    """Write images, labels, and probabilities of each split."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    columns = class_columns(classes, _FIRST)
    table.writerow([*_FIRST, *columns])
    for split, (images, labels, rows) in splits.items():
        for image, label, row in zip(images, labels, rows, strict=True):
            table.writerow([csv_cell(image), split, columns[label], *(f"{p:.7g}" for p in row)])
    write_atomically(run_dir / FILE_NAME, text.getvalue().encode())


def read(run: Run, split: str) -> SplitPredictions | None:
    """Return the predictions of a split; None if the file is missing, damaged, or lacks them."""
    images, labels, probabilities = [], [], []
    try:
        content = read_regular(run.directory / FILE_NAME, _LARGEST).decode()
        lines = csv.reader(io.StringIO(content, newline=""))
        classes = next(lines)[len(_FIRST) :]
        place = {name: index for index, name in enumerate(classes)}
        for line in lines:
            if line[1] == split:
                images.append(line[0])
                labels.append(place[line[2]])
                probabilities.append([float(p) for p in line[len(_FIRST) :]])
        table = np.array(probabilities)  # raises ValueError if lines differ in length
    except (OSError, ValueError, LookupError, StopIteration, csv.Error):
        return None
    if not images or not classes or table.shape != (len(images), len(classes)):
        return None
    if run.record.data is not None and len(run.record.data.classes) == len(classes):
        classes = list(run.record.data.classes)  # as they were before they became columns
    return SplitPredictions(images, classes, np.array(labels, dtype=np.int64), table)
