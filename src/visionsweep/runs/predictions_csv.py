"""The table of a run's predictions, `predictions.csv`: written for people, read back for the page.

Its columns are `image`, `split`, `true`, then one for each class, named as `text.class_columns`
says: by the class's name, unless that is written like another column. Texts are visible and no
formulas, so a file's name that holds a control character stands there with an escape.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from visionsweep.storage.files import write_atomically
from visionsweep.storage.untrusted import MB, read_regular
from visionsweep.text.escaping import class_columns, csv_cell

FILE_NAME = "predictions.csv"
_FIRST = ("image", "split", "true")
_LARGEST = 1024 * MB


@dataclass(frozen=True)
class Rows:
    """The rows of one split.

    Attributes:
        images: paths as the file writes them.
        labels: `int64[N]`, indices of the true classes.
        probabilities: `float64[N, C]`.
        columns: how the file calls the classes.
    """

    images: list[str]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    columns: list[str]


def write(
    run_dir: Path,
    classes: Sequence[str],
    splits: Mapping[str, tuple[Sequence[Path], Sequence[int], Sequence[Sequence[float]]]],
) -> None:
    """Write the probabilities of every image.

    Args:
        run_dir: the run's directory.
        classes: their names.
        splits: of each split the images, their labels and their class probabilities.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    columns = class_columns(classes, _FIRST)
    table.writerow([*_FIRST, *columns])
    for split, (images, labels, rows) in splits.items():
        for image, label, row in zip(images, labels, rows, strict=True):
            table.writerow([csv_cell(image), split, columns[label], *(f"{p:.7g}" for p in row)])
    write_atomically(run_dir / FILE_NAME, text.getvalue().encode())


def read(run_dir: Path, split: str) -> Rows | None:
    """Read the rows of a split; None where the file is missing, damaged or has none of them."""
    try:
        return _parsed(read_regular(run_dir / FILE_NAME, _LARGEST), split)
    except (OSError, ValueError, LookupError, StopIteration, csv.Error):
        return None


def _parsed(content: bytes, split: str) -> Rows | None:
    lines = _lines(content.decode())
    columns = next(lines)[len(_FIRST) :]
    place = {name: index for index, name in enumerate(columns)}
    images, labels, probabilities = [], [], []
    for line in lines:
        if line[1] == split:
            images.append(line[0])
            labels.append(place[line[2]])
            probabilities.append([float(p) for p in line[len(_FIRST) :]])
    table = np.array(probabilities)
    if not columns or table.shape != (len(images), len(columns)):
        return None
    return Rows(images, np.array(labels, dtype=np.int64), table, columns)


def _lines(text: str) -> Iterator[list[str]]:
    return csv.reader(io.StringIO(text, newline=""))
