"""The reliability diagram: accuracy by confidence."""

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from visionsweep.analysis.metrics import Reliability
from visionsweep.figures.style import BLUE, CARD, GRAY, INK, Pixels, heading, render

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TOO_SURE, _NOT_SURE_ENOUGH = ("#f6c9c5", "#c0392b"), ("#a8d5c2", "#1b7f5c")  # face, edge


def reliability_figure(reliability: Reliability, ece: float, title: str, note: str = "") -> Pixels:
    """Draw accuracy by confidence, the gap between the two, and the number of images.

    After Guo et al., "On Calibration of Modern Neural Networks", 2017, figure 1.

    Args:
        reliability: confidence, accuracy, and number of images of each bin.
        ece: expected calibration error, in [0, 1].
        title: title of the figure; the error is appended.
        note: smaller text below.

    Returns:
        `uint8[H, W, 3]`.
    """
    draw = partial(_draw, reliability=reliability, title=f"{title}, ECE {ece:.3f}", note=note)
    return render(draw, CARD, 450)


def _draw(figure: "Figure", reliability: Reliability, title: str, note: str) -> None:
    from matplotlib.patches import Patch
    from matplotlib.ticker import PercentFormatter

    heading(figure, title, note)
    top, below = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    filled = reliability.images > 0
    left, width = reliability.edges[:-1][filled], np.diff(reliability.edges)[filled]
    accuracy, confidence = reliability.accuracy[filled], reliability.confidence[filled]
    top.bar(left, accuracy, width, align="edge", color=BLUE, edgecolor="white")
    top.bar(
        left,
        confidence - accuracy,
        width,
        accuracy,
        align="edge",
        color=[(_TOO_SURE if gap > 0 else _NOT_SURE_ENOUGH)[0] for gap in confidence - accuracy],
        edgecolor=[
            (_TOO_SURE if gap > 0 else _NOT_SURE_ENOUGH)[1] for gap in confidence - accuracy
        ],
    )
    top.plot([0, 1], [0, 1], "--", color=INK, linewidth=0.8)
    top.legend(
        handles=[
            Patch(facecolor=face, edgecolor=edge, label=label)
            for (face, edge), label in (
                (_TOO_SURE, "overconfident"),
                (_NOT_SURE_ENOUGH, "underconfident"),
            )
        ],
        frameon=False,
        loc="upper left",
    )
    top.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy")
    top.yaxis.set_major_formatter(PercentFormatter(1))
    below.bar(left, reliability.images[filled], width, align="edge", color=GRAY, edgecolor="white")
    below.set(xlabel="confidence", ylabel="images")
    below.xaxis.set_major_formatter(PercentFormatter(1))
    below.margins(y=0.15)
    for axes in (top, below):
        axes.spines[["top", "right"]].set_visible(False)
