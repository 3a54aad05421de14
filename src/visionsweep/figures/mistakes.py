"""The most confident mistakes as a figure."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from visionsweep.figures.style import CARD, FAINT, RED, Pixels, heading, render, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS, ROWS = 3, 4
_SIDE = 104  # pixels of an image


@dataclass(frozen=True)
class Mistake:
    """An image that is predicted as another class.

    Attributes:
        image: RGB, any size; its center is shown. None if it is not available.
        file: name of its file and of the folder that holds it.
        confidence: probability of the predicted class.
        missing: why there is no image.
    """

    image: Image.Image | None
    file: str
    path: str
    true: str
    predicted: str
    confidence: float
    missing: str = ""


def mistakes_figure(mistakes: Sequence[Mistake], title: str, note: str = "") -> Pixels:
    """Draw the first 12 mistakes, each with its predicted and its true class, as `uint8[H, W, 3]`.

    The note stands below, smaller than the title.
    """
    shown = mistakes[: COLUMNS * ROWS]
    rows = ceil(len(shown) / COLUMNS)

    def draw(figure: "Figure") -> None:
        heading(figure, title, note)
        if not shown:
            return
        grid = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
        for axes in grid:
            axes.axis("off")
        for axes, mistake in zip(grid, shown, strict=False):
            image = mistake.image or Image.new("RGB", (_SIDE, _SIDE), "lightgray")
            axes.imshow(np.asarray(ImageOps.fit(image, (_SIDE, _SIDE))))
            predicted = f"{shortened(mistake.predicted, 12)} {mistake.confidence:.0%}"
            axes.set_title(predicted, color=RED, fontweight="bold", fontsize=7, pad=2)
            below = partial(axes.text, va="top", transform=axes.transAxes)
            below(0, -0.03, f"true: {shortened(mistake.true, 13)}", fontsize=7)
            below(0, -0.16, shortened(mistake.file, 19), fontsize=6, color=FAINT)

    return render(draw, CARD, 60 + 165 * rows)
