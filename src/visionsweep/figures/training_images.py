"""Training images as a network sees them, as a figure."""

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from visionsweep.figures.style import CARD, Pixels, heading, render, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CELLS = 14  # of a caption


def training_images_figure(
    tiles: Sequence[tuple[NDArray[np.uint8], str]], columns: int, note: str
) -> Pixels:
    """Draw images, `uint8[H, W, 3]`, each with its caption, at twice the size of other figures.

    The note stands below, smaller than the title.
    """
    rows = ceil(len(tiles) / columns)

    def draw(figure: "Figure") -> None:
        heading(figure, "Training images as the network sees them", note)
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes in grid:
            axes.axis("off")
        for axes, (image, caption) in zip(grid, tiles, strict=False):
            axes.imshow(image)
            axes.set_title(shortened(caption, _CELLS), fontsize=7, pad=2)

    return render(draw, CARD, 50 + (CARD // columns + 8) * rows, scale=2)
