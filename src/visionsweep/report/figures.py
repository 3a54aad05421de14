"""Figures of predictions: every image under what the model takes it for."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # files only; a display is not needed

from matplotlib import pyplot as plt

from visionsweep.prediction import Prediction

PER_FIGURE = 25
_COLUMNS = 5


def prediction_figures(predictions: Sequence[Prediction], folder: Path, title: str) -> list[Path]:
    """Draw images under their predictions, at most 25 to a figure.

    Args:
        predictions: what to draw.
        folder: where the PNG files go; made if missing.
        title: a line over each figure.

    Returns:
        The files, `predictions-1.png` and on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for start in range(0, len(predictions), PER_FIGURE):
        part = predictions[start : start + PER_FIGURE]
        columns = min(_COLUMNS, len(part))
        rows = -(-len(part) // columns)
        figure, axes = plt.subplots(
            rows,
            columns,
            figsize=(max(2.9 * columns, 5.8), 3.1 * rows + 0.6),
            squeeze=False,
            layout="constrained",
        )
        figure.suptitle(title, fontsize=10, color="0.35")
        for axis in axes.flat:
            axis.set_axis_off()
        for axis, prediction in zip(axes.flat, part, strict=False):
            axis.imshow(prediction.thumbnail)
            (name, probability), *others = prediction.probabilities
            axis.set_title(
                f"{name}  {probability:.1%}", fontsize=12, weight="bold", parse_math=False
            )
            second = f"then {others[0][0]} {others[0][1]:.1%}" if others else ""
            axis.text(
                0.5, -0.03, f"{_short(prediction.path.name)}\n{second}",
                transform=axis.transAxes, ha="center", va="top", fontsize=8, color="0.35",
                parse_math=False,
            )  # fmt: skip
        files.append(folder / f"predictions-{start // PER_FIGURE + 1}.png")
        figure.savefig(files[-1], dpi=110)
        plt.close(figure)
    return files


def _short(name: str, longest: int = 34) -> str:
    return name if len(name) <= longest else f"{name[: longest // 2]}…{name[-longest // 2 :]}"
