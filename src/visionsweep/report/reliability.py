"""A figure of how far a model's confidence can be trusted."""

import numpy as np

from visionsweep.analysis.metrics import Reliability
from visionsweep.report.sheet import FAINT, GREY, INK, Pixels, Sheet, number

_GRID, _BLUE = "#d8dee4", "#4c86b8"
_TOO_SURE, _NOT_SURE_ENOUGH = ("#f6c9c5", "#c0392b"), ("#a8d5c2", "#1b7f5c")  # surface, edge


def reliability_figure(reliability: Reliability, ece: float, title: str, note: str = "") -> Pixels:
    """Draw how often a model is right against how sure it is, with the gap between the two.

    Args:
        reliability: for each bin of confidence its mean confidence, accuracy and number of images.
        ece: expected calibration error, in [0, 1].
        title: over the figure; the error is put behind it.
        note: under the title.

    Returns:
        `uint8[H, W, 3]`.
    """
    left, top, side = 74, 66, 400
    foot, tall = top + side + 112, 70  # of the numbers of images
    sheet = Sheet(left + side + 30, foot + 56)
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
        high = (tall - 16) * images / most
        sheet.box(x + 1, foot - high, right - 1, foot, fill=GREY)
        middle = (x + right) / 2
        sheet.text(middle, foot - high - 3, number(images), 11, colour=FAINT, anchor="mb")
    for share in np.linspace(0, 1, 6):
        x, y = left + share * side, top + (1 - share) * side
        sheet.line((left, y), (left + side, y), _GRID)
        sheet.text(left - 8, y, f"{share:.0%}", 12, anchor="rm")
        sheet.text(x, foot + 8, f"{share:.0%}", 12, anchor="mt")
    for dash in range(0, side, 8):
        x, y = left + dash, top + side - dash
        sheet.line((x, y), (x + 4, y - 4), INK)
    sheet.line((left, foot), (left + side, foot), GREY)
    sheet.text(18, top + side / 2, "accuracy", 13, colour=FAINT, anchor="mm", upright=True)
    sheet.text(18, foot - tall / 2, "images", 13, colour=FAINT, anchor="mm", upright=True)
    sheet.text(left + side / 2, sheet.height - 16, "confidence", 13, colour=FAINT, anchor="mm")
    return sheet.pixels()
