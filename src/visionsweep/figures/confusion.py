"""The confusion matrix as a figure."""

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from visionsweep.analysis.metrics import most_confused
from visionsweep.figures.style import CARD, FAINT, INK, Pixels, heading, render, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_NUMBERED = 20  # classes; with more of them no number fits into a cell
_MOST_NAMED = 30  # classes with a label on the axes
_PAIRS = 14  # pairs listed beside a matrix without numbers
_LONGEST = 18  # terminal cells of a class name


def confusion_figure(
    counts: NDArray[np.int64], classes: Sequence[str], title: str, note: str = ""
) -> Pixels:
    """Draw a confusion matrix, colored by the share of each row, as `uint8[H, W, 3]`.

    Rows of `counts`, the numbers of images `int64[C, C]`, are true classes and columns predicted
    ones. With more than 20 classes, the most frequent confusions are listed beside it instead of
    numbers in the cells. The note stands below, smaller than the title.
    """
    numbered = len(classes) <= MOST_NUMBERED
    side = CARD if len(classes) <= 8 else 680

    def draw(figure: "Figure") -> None:
        heading(figure, title, note)
        if numbered:
            axes = figure.subplots()
        else:
            axes, beside = figure.subplots(1, 2, width_ratios=[7, 3])
            _list_confusions(beside, counts, classes)
        shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
        # Without numbers, colors follow the root of the share: one image in fifty is then visible.
        axes.imshow(shares if numbered else np.sqrt(shares), cmap="Blues", vmin=0, vmax=1)
        places = range(0, len(classes), ceil(len(classes) / _MOST_NAMED))
        names = [shortened(classes[place], _LONGEST) for place in places]
        upright = max(map(len, names)) * len(names) > 36
        axes.set_xticks(places, names, rotation=90 if upright else 0)
        axes.set_yticks(places, names)
        axes.tick_params(length=0)
        axes.set(xlabel="predicted class", ylabel="true class")
        for true, predicted in np.argwhere(counts > 0) if numbered else ():
            axes.text(
                predicted, true, f"{counts[true, predicted]}", ha="center", va="center",
                color="white" if shares[true, predicted] > 0.5 else INK,
                fontsize=min(12.0, 110 / len(classes)),
            )  # fmt: skip

    return render(draw, side if numbered else side + 280, side + 30)


def _list_confusions(axes: "Axes", counts: NDArray[np.int64], classes: Sequence[str]) -> None:
    """List the most frequent confusions."""
    axes.axis("off")
    axes.set_title("Most often confused", fontweight="bold")
    for line, (true, predicted, images) in enumerate(most_confused(counts, _PAIRS)):
        y = 0.97 - line / _PAIRS
        axes.text(0.1, y, f"{images}", fontweight="bold", ha="right", va="top")
        axes.text(0.14, y, shortened(classes[true], 30), va="top")
        text = f"predicted {shortened(classes[predicted], 24)}"
        axes.text(0.14, y - 0.028, text, color=FAINT, va="top")
