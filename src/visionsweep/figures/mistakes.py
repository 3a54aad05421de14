"""A figure of the images that a model gets wrong while it is surest of itself."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from visionsweep.data.thumbnails import Thumbnails
from visionsweep.figures.canvas import CARD, FAINT, Pixels, Sheet, shortened, width_of

_COLUMNS, _ROWS = 3, 4
_SIDE = 104  # pixels of an image
_WIDE, _HIGH = 114, 166  # pixels of a cell: an image, and three lines under it
_RED = "#b42318"


def worst_mistakes(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64], most: int
) -> NDArray[np.int64]:
    """Return the images that are taken for another class, the most confident mistake first.

    Args:
        probabilities: `float64[N, C]`.
        labels: `int64[N]`.
        most: how many at most.

    Returns:
        `int64[<= most]`, indices of images.
    """
    wrong = np.flatnonzero(probabilities.argmax(1) != labels)
    confidence = probabilities[wrong].max(1)
    return wrong[np.argsort(-confidence, kind="stable")][:most]


def mistakes_figure(
    probabilities: NDArray[np.float64],
    labels: NDArray[np.int64],
    classes: Sequence[str],
    thumbnails: Thumbnails,
    title: str,
) -> Pixels:
    """Draw the 12 most confident mistakes, each with what it is taken for and what it is.

    Args:
        probabilities: `float64[N, C]` of all images.
        labels: `int64[N]`.
        classes: names.
        thumbnails: of these images; a mistake without one is not shown.
        title: over the figure.

    Returns:
        `uint8[H, W, 3]`.
    """
    shown = np.array(thumbnails.indices)
    probabilities, labels = probabilities[shown], labels[shown]
    worst = worst_mistakes(probabilities, labels, _COLUMNS * _ROWS)
    sheet = Sheet(CARD, 56 + -(-len(worst) // _COLUMNS) * _HIGH)
    wrong = int((probabilities.argmax(1) != labels).sum())
    sheet.head(title, f"{wrong} of {len(labels)} images are taken for another class")
    for place, (image, square) in enumerate(zip(worst, thumbnails.squares(worst), strict=True)):
        row, column = divmod(place, _COLUMNS)
        left, top = 8 + column * _WIDE, 54 + row * _HIGH
        predicted = int(probabilities[image].argmax())
        sheet.image(left, top, np.asarray(square.resize((_SIDE, _SIDE))))
        sure = f" {probabilities[image, predicted]:.0%}"
        name = shortened(classes[predicted], 12, _SIDE - width_of(sure, 12, bold=True), bold=True)
        sheet.text(left, top + _SIDE + 12, name + sure, 12, bold=True, colour=_RED)
        truth = shortened(f"is {classes[labels[image]]}", 12, _SIDE)
        sheet.text(left, top + _SIDE + 28, truth, 12)
        file = shortened(thumbnails.names[image], 10, _SIDE)
        sheet.text(left, top + _SIDE + 43, file, 10, colour=FAINT)
    return sheet.pixels()
