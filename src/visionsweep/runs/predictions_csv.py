"""Predictions of a run's final model, `predictions.csv`: calibrated probabilities of each image.

The columns are `image`, `split`, `true`, and one per class, named by `class_columns`. From 100
classes on, they are the probability of the true class, and the five most probable classes with
theirs. Control characters in file names are escaped, and no cell is a formula.
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
from visionsweep.analysis.predictions import MANY_CLASSES
from visionsweep.runs.discovery import Run
from visionsweep.storage.files import write_atomically
from visionsweep.storage.untrusted import MB, read_regular
from visionsweep.text.escaping import class_columns, csv_cell

FILE_NAME = "predictions.csv"
_FIRST = ("image", "split", "true")
_TOP = 5  # most probable classes that are listed if there are many
_OF_TOP = [f"{kind} {place}" for place in range(1, _TOP + 1) for kind in ("class", "probability")]
_MANY = [*_FIRST, "true probability", *_OF_TOP]  # columns if there are many
_LARGEST = 1024 * MB


@dataclass(frozen=True)
class SplitPredictions:
    """Predictions of the images of one split."""

    images: list[str]  # paths as written in the file
    classes: list[str]
    labels: NDArray[np.int64]  # true classes, `[N]`
    probabilities: NDArray[np.float64]  # calibrated, `[N, C]`; 0 where the file has none

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
    splits: Mapping[str, tuple[Sequence[Path], Sequence[int], NDArray[np.float64]]],
) -> None:
    """Write images, labels, and probabilities of each split."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    columns = class_columns(classes, _FIRST)
    many = len(classes) >= MANY_CLASSES
    table.writerow(_MANY if many else [*_FIRST, *columns])
    for split, (images, labels, rows) in splits.items():
        for image, label, row in zip(images, labels, rows, strict=True):
            cells = _top_cells(row, label, columns) if many else _texts(row)
            table.writerow([csv_cell(image), split, columns[label], *cells])
    write_atomically(run_dir / FILE_NAME, text.getvalue().encode())


def _texts(probabilities: NDArray[np.float64]) -> list[str]:
    return [f"{probability:.7g}" for probability in probabilities.tolist()]


def _top_cells(row: NDArray[np.float64], label: int, columns: Sequence[str]) -> list[str]:
    """Return the probability of the true class, and the most probable classes with theirs."""
    top = np.argsort(-row, kind="stable")[:_TOP]
    named = zip([columns[place] for place in top], _texts(row[top]), strict=True)
    return [*_texts(row[[label]]), *(cell for pair in named for cell in pair)]


def read(run: Run, split: str) -> SplitPredictions | None:
    """Return the predictions of a split; None if the file is missing, damaged, or lacks them."""
    classes = [] if run.record.data is None else list(run.record.data.classes)
    images, labels, rows = [], [], []
    try:
        content = read_regular(run.directory / FILE_NAME, _LARGEST).decode()
        lines = csv.reader(io.StringIO(content, newline=""))
        header = next(lines)
        many = header == _MANY
        columns = class_columns(classes, _FIRST) if many else header[len(_FIRST) :]
        place = {name: index for index, name in enumerate(columns)}
        for line in lines:
            if line[1] == split:
                images.append(line[0])
                labels.append(place[line[2]])
                cells = line[len(_FIRST) :]
                rows.append(_row(cells, line[2], place) if many else [float(p) for p in cells])
        table = np.array(rows)  # raises ValueError if lines differ in length
    except (OSError, ValueError, LookupError, StopIteration, csv.Error):
        return None
    if not images or not columns or table.shape != (len(images), len(columns)):
        return None
    if len(classes) != len(columns):
        classes = columns  # elsewhere they are as they were before they became columns
    return SplitPredictions(images, classes, np.array(labels, dtype=np.int64), table)


def _row(cells: Sequence[str], true: str, place: Mapping[str, int]) -> list[float]:
    """Return the probabilities of an image from what `_top_cells` returned."""
    row = [0.0] * len(place)
    for name, probability in zip([true, *cells[1::2]], cells[::2], strict=True):
        row[place[name]] = float(probability)
    return row
