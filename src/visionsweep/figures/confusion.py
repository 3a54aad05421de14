"""A figure of which class is taken for which."""

from collections.abc import Sequence
from math import ceil

import numpy as np
from numpy.typing import NDArray

from visionsweep.figures.canvas import (
    CARD,
    FAINT,
    GREY,
    INK,
    Pixels,
    Sheet,
    number,
    shortened,
    width_of,
)

_NUMBERED = 20  # classes; with more of them no number fits into a cell
_MOST_CONFUSED = 16  # pairs named beside a matrix without numbers
_WHITE, _DEEP = np.array([255, 255, 255]), np.array([8, 64, 129])  # no image of a row, all of them


def confusion_figure(
    counts: NDArray[np.float64], classes: Sequence[str], title: str, note: str = ""
) -> Pixels:
    """Draw a confusion matrix, its colours the share of each row.

    With more than 20 classes the cells hold no numbers and only as many classes are named as there
    is room for; the pairs that are confused most often then stand beside the matrix.

    Args:
        counts: `float64[C, C]`, images; rows are the true classes, columns the predicted ones.
        classes: their names.
        title: over the figure.
        note: under the title.

    Returns:
        `uint8[H, W, 3]`.
    """
    count = len(classes)
    numbered = count <= _NUMBERED
    size, step = (12, 1) if numbered else (11, ceil(14 / _cell(count, 0)))
    names = [shortened(name, size, 110) for name in classes[::step]]
    longest = max(width_of(name, size) for name in names)
    left, top = 40 + longest, 56
    cell = _cell(count, left)
    side = cell * count
    upright = longest > 0.95 * cell * step
    below = 8 + (longest if upright else 1.2 * size)
    beside = 10 if numbered else 300
    sheet = Sheet(max(left + side + beside, CARD), top + side + below + 32)
    sheet.head(title, note)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1e-9)
    # Small cells without numbers by the root of the share, so that one image in fifty can be seen.
    depth = (shares if numbered else np.sqrt(shares))[..., None]
    colours = (_WHITE + depth * (_DEEP - _WHITE)).round().astype(np.uint8)
    sheet.image(left, top, colours.repeat(cell, 0).repeat(cell, 1))
    sheet.box(left - 1, top - 1, left + side + 1, top + side + 1, outline=GREY)
    for place, name in enumerate(names):
        middle = (place * step + 0.5) * cell
        sheet.text(left - 6, top + middle, name, size, anchor="rm")
        anchor = "rm" if upright else "mt"
        sheet.text(left + middle, top + side + 7, name, size, anchor=anchor, upright=upright)
    middle, foot = left + side / 2, sheet.height - 13
    sheet.text(14, top + side / 2, "true class", 12, colour=FAINT, anchor="mm", upright=True)
    sheet.text(middle, foot, "predicted class", 12, colour=FAINT, anchor="mm")
    if numbered:
        _number_cells(sheet, counts, shares, left, top, cell)
    else:
        _name_most_confused(sheet, counts, classes, left + side + 20, top)
    return sheet.pixels()


def _cell(count: int, left: float) -> int:
    """Return the side of a cell, in pixels: all fit into a card if that leaves room for numbers."""
    if count > _NUMBERED:
        return max(1, 660 // count)
    fitting = int(min(110, (CARD - 10 - left) / count))
    return fitting if fitting >= 30 else max(30, min(44, 600 // count))


def _number_cells(
    sheet: Sheet,
    counts: NDArray[np.float64],
    shares: NDArray[np.float64],
    left: float,
    top: float,
    cell: int,
) -> None:
    size = min(16, round(0.38 * cell))
    for row, column in np.argwhere(counts > 0):
        x, y = left + (column + 0.5) * cell, top + (row + 0.5) * cell
        colour = "white" if shares[row, column] > 0.5 else INK
        sheet.text(x, y, number(counts[row, column]), size, colour=colour, anchor="mm")


def _name_most_confused(
    sheet: Sheet, counts: NDArray[np.float64], classes: Sequence[str], left: float, top: float
) -> None:
    sheet.text(left, top + 6, "Most often confused", 13, bold=True)
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:_MOST_CONFUSED]
    for line, place in enumerate(order[wrong.flat[order] > 0]):
        true, predicted = divmod(int(place), len(classes))
        y = top + 36 + 38 * line
        sheet.text(left + 42, y, number(wrong[true, predicted]), 13, bold=True, anchor="rm")
        sheet.text(left + 54, y - 8, shortened(classes[true], 12, 230), 12)
        taken = shortened(f"taken for {classes[predicted]}", 12, 230)
        sheet.text(left + 54, y + 8, taken, 12, colour=FAINT)
