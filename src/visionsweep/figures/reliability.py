"""A figure of how far a model's confidence can be trusted."""

import numpy as np

from visionsweep.analysis.metrics import Reliability
from visionsweep.figures.canvas import CARD, FAINT, GREY, INK, Pixels, Sheet, number

_GRID, _BLUE = "#d8dee4", "#4c86b8"
_TOO_SURE, _NOT_SURE_ENOUGH = ("#f6c9c5", "#c0392b"), ("#a8d5c2", "#1b7f5c")  # surface, edge


def reliability_figure(reliability: Reliability, ece: float, title: str, note: str = "") -> Pixels:
    """Draw how often a model is right against how sure it is, with the gap between the two.

    After Guo et al., "On Calibration of Modern Neural Networks", 2017, figure 1.

    Args:
        reliability: for each bin of confidence its mean confidence, accuracy and number of images.
        ece: expected calibration error, in [0, 1].
        title: over the figure; the error is put behind it.
        note: under the title.

    Returns:
        `uint8[H, W, 3]`.
    """
    left, top, side = 60, 56, 268
    foot, tall = top + side + 84, 64  # of the numbers of images
    sheet = Sheet(CARD, foot + 44)
    sheet.head(f"{title}, ECE {ece:.3f}", note)
    most = max(float(reliability.images.max()), 1e-9)
    for bin_, images in enumerate(reliability.images):
        if not images:
            continue
        x, right = (left + side * reliability.edges[bin_ + end] for end in (0, 1))
        surface = top + side * (1 - reliability.accuracy[bin_])
        wanted = top + side * (1 - reliability.confidence[bin_])
        sheet.box(x + 1, surface, right - 1, top + side, fill=_BLUE)
        fill, edge = _TOO_SURE if wanted < surface else _NOT_SURE_ENOUGH
        sheet.box(x + 1, min(surface, wanted), right - 1, max(surface, wanted), fill, edge)
        high = (tall - 14) * images / most
        sheet.box(x + 1, foot - high, right - 1, foot, fill=GREY)
        middle = (x + right) / 2
        sheet.text(middle, foot - high - 2, number(images), 10, colour=FAINT, anchor="mb")
    for share in np.linspace(0, 1, 6):
        x, y = left + share * side, top + (1 - share) * side
        sheet.line((left, y), (left + side, y), _GRID)
        sheet.text(left - 6, y, f"{share:.0%}", 11, anchor="rm")
        sheet.text(x, foot + 6, f"{share:.0%}", 11, anchor="mt")
    for dash in range(0, side, 8):
        x, y = left + dash, top + side - dash
        sheet.line((x, y), (x + 4, y - 4), INK)
    for y, (fill, edge), meaning in (
        (top + 14, _TOO_SURE, "too sure"),
        (top + 32, _NOT_SURE_ENOUGH, "not sure enough"),
    ):
        sheet.box(left + 8, y - 6, left + 20, y + 6, fill, edge)
        sheet.text(left + 26, y, meaning, 11)
    sheet.line((left, foot), (left + side, foot), GREY)
    sheet.text(14, top + side / 2, "accuracy", 12, colour=FAINT, anchor="mm", upright=True)
    sheet.text(14, foot - tall / 2, "images", 12, colour=FAINT, anchor="mm", upright=True)
    sheet.text(left + side / 2, sheet.height - 12, "confidence", 12, colour=FAINT, anchor="mm")
    return sheet.pixels()
