"""A run looked at closely: what it takes each test image for, and where it is surest and wrong."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from visionsweep.data.gray import GrayRange
from visionsweep.figures.mistakes import worst_mistakes
from visionsweep.report.page.pictures import Picture, picture
from visionsweep.runs import predictions_csv
from visionsweep.runs.discovery import Run

MOST_MISTAKES = 12
MOST_CLASSES = 20  # in a matrix; of more classes the most frequent confusions are listed
MOST_CONFUSIONS = 10


@dataclass(frozen=True)
class Predictions:
    """What a run makes of the images of a split.

    Attributes:
        images: their files.
        classes: names.
        labels: `int64[N]`, the true classes.
        probabilities: `float64[N, C]`.
    """

    images: list[str]
    classes: list[str]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]

    @property
    def correct(self) -> int:
        """Number of images that are predicted correctly."""
        return int((self.probabilities.argmax(1) == self.labels).sum())

    def confusion(self) -> NDArray[np.int64]:
        """Count which class is taken for which: `int64[C, C]`, rows true, columns predicted."""
        count = len(self.classes)
        cells = self.labels * count + self.probabilities.argmax(1)
        return np.bincount(cells, minlength=count * count).reshape(count, count)

    def most_confused(self) -> list[tuple[str, str, int]]:
        """List (true class, taken for, images), the most frequent confusion first."""
        counts = self.confusion()
        np.fill_diagonal(counts, 0)
        order = np.argsort(-counts, axis=None, kind="stable")[:MOST_CONFUSIONS]
        pairs = [divmod(int(cell), len(self.classes)) for cell in order]
        return [
            (self.classes[t], self.classes[p], int(counts[t, p])) for t, p in pairs if counts[t, p]
        ]


@dataclass(frozen=True)
class Mistake:
    """A test image taken for another class.

    Attributes:
        file: its path.
        picture: the shrunk image, or why there is none.
        true, predicted: classes.
        confidence: the probability of the predicted class.
    """

    file: str
    picture: Picture
    true: str
    predicted: str
    confidence: float

    @property
    def short_file(self) -> str:
        """The file with the folder it lies in, enough to recognise it."""
        return "/".join(Path(self.file).parts[-2:])


def read_predictions(run: Run, split: str = "test") -> Predictions | None:
    """Read what a run makes of a split; None where its file is missing, damaged or empty."""
    rows = predictions_csv.read(run.directory, split)
    if rows is None or not rows.images:
        return None
    data = run.record.data
    names = data.classes if data is not None else []
    classes = list(names) if len(names) == len(rows.columns) else rows.columns
    return Predictions(rows.images, classes, rows.labels, rows.probabilities)


def mistakes(
    found: Predictions, digests: Sequence[str] | None, gray_range: GrayRange | None = None
) -> list[Mistake]:
    """Return the mistakes that the run is surest of, with their pictures.

    Args:
        found: what the run makes of a split.
        digests: of its images, or None where the run recorded none: then there are no pictures.
        gray_range: gray values that become black and white in images of more than 8 bits per pixel.
    """
    shown = []
    for index in worst_mistakes(found.probabilities, found.labels, MOST_MISTAKES):
        predicted, file = int(found.probabilities[index].argmax()), found.images[index]
        shown.append(
            Mistake(
                file=file,
                picture=picture(file, digests[index], gray_range)
                if digests is not None
                else Picture(None, missing="no digest recorded"),
                true=found.classes[found.labels[index]],
                predicted=found.classes[predicted],
                confidence=float(found.probabilities[index, predicted]),
            )
        )
    return shown
