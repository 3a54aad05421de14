"""The reliability diagram: accuracy by confidence."""

from typing import TYPE_CHECKING

import numpy as np

from visionsweep.analysis.metrics import Reliability
from visionsweep.figures.style import BLUE, CARD, GRAY, INK, Pixels, heading, render

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Face, edge, and name of a gap, by whether the confidence exceeds the accuracy.
_LOOKS = {
    True: ("#f6c9c5", "#c0392b", "overconfident"),
    False: ("#a8d5c2", "#1b7f5c", "underconfident"),
}


def reliability_figure(reliability: Reliability, ece: float, title: str, note: str = "") -> Pixels:
    """Draw accuracy by confidence, the gap between the two, and the number of images.

    After Guo et al., "On Calibration of Modern Neural Networks", 2017, figure 1. The expected
    calibration error is appended to the title. The note stands below, smaller than the title.

    Returns:
        `uint8[H, W, 3]`.
    """

    def draw(figure: "Figure") -> None:
        from matplotlib.patches import Patch
        from matplotlib.ticker import PercentFormatter

        heading(figure, f"{title}, ECE {ece:.3f}", note)
        top, below = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
        filled = reliability.images > 0
        left, width = reliability.edges[:-1][filled], np.diff(reliability.edges)[filled]
        accuracy, confidence = reliability.accuracy[filled], reliability.confidence[filled]
        top.bar(left, accuracy, width, align="edge", color=BLUE, edgecolor="white")
        looks = [_LOOKS[gap > 0] for gap in confidence - accuracy]
        faces, edges, _ = zip(*looks, strict=True)
        top.bar(
            left, confidence - accuracy, width, accuracy, align="edge", color=faces, edgecolor=edges
        )
        top.plot([0, 1], [0, 1], "--", color=INK, linewidth=0.8)
        legend = [Patch(facecolor=f, edgecolor=e, label=name) for f, e, name in _LOOKS.values()]
        top.legend(handles=legend, frameon=False, loc="upper left")
        top.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy")
        top.yaxis.set_major_formatter(PercentFormatter(1))
        images = reliability.images[filled]
        below.bar(left, images, width, align="edge", color=GRAY, edgecolor="white")
        below.set(xlabel="confidence", ylabel="images")
        below.xaxis.set_major_formatter(PercentFormatter(1))
        below.margins(y=0.15)
        for axes in (top, below):
            axes.spines[["top", "right"]].set_visible(False)

    return render(draw, CARD, 450)
