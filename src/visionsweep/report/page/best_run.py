"""A run looked at closely: what it takes each test image for, and where it is surest and wrong."""

import base64
import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from visionsweep.data.decoding import UnreadableImageError, open_rgb
from visionsweep.report.mistakes import worst_mistakes
from visionsweep.tracking.runs import Run

SIDE = 160  # pixels of a shrunk image, at most
MOST_MISTAKES = 12
MOST_CLASSES = 20  # in a matrix; of more classes the most frequent confusions are listed
MOST_CONFUSIONS = 10
PREDICTIONS = "predictions.csv"


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
    def hits(self) -> int:
        """How many images are taken for what they are."""
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
        picture: the shrunk image as a `data:` URI, or None where the file cannot be read.
        size: width and height of the picture in pixels.
        true, predicted: classes.
        confidence: the probability of the predicted class.
    """

    file: str
    picture: str | None
    size: tuple[int, int]
    true: str
    predicted: str
    confidence: float

    @property
    def short_file(self) -> str:
        """The file with the folder it lies in, enough to recognise it."""
        return "/".join(Path(self.file).parts[-2:])


def read_predictions(run: Run, split: str = "test") -> Predictions | None:
    """Read what a run makes of a split; None where its file is missing, damaged or empty."""
    try:
        text = (run.directory / PREDICTIONS).read_text(encoding="utf-8")
        header, *lines = csv.reader(io.StringIO(text))
        classes = header[3:]
        rows = [line for line in lines if line[1] == split]
        labels = np.array([classes.index(line[2]) for line in rows], dtype=np.int64)
        probabilities = np.array([[float(p) for p in line[3:]] for line in rows])
    except (OSError, ValueError, IndexError, csv.Error):
        return None
    if probabilities.shape != (len(rows), len(classes)) or not len(rows):
        return None
    return Predictions([line[0] for line in rows], classes, labels, probabilities)


def mistakes(predictions: Predictions) -> list[Mistake]:
    """Return the mistakes that the run is surest of, with their pictures."""
    found = []
    for index in worst_mistakes(predictions.probabilities, predictions.labels, MOST_MISTAKES):
        predicted = int(predictions.probabilities[index].argmax())
        picture, size = _picture(Path(predictions.images[index]))
        found.append(
            Mistake(
                file=predictions.images[index],
                picture=picture,
                size=size,
                true=predictions.classes[predictions.labels[index]],
                predicted=predictions.classes[predicted],
                confidence=float(predictions.probabilities[index, predicted]),
            )
        )
    return found


def _picture(path: Path) -> tuple[str | None, tuple[int, int]]:
    try:
        image = open_rgb(path)
    except UnreadableImageError:
        return None, (SIDE, SIDE)
    image.thumbnail((SIDE, SIDE))
    stored = io.BytesIO()
    image.save(stored, "JPEG", quality=82, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(stored.getvalue()).decode()}", image.size
