"""Figures of predictions: each image with its predicted class, and its explanation."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from visionsweep.figures.style import FAINT, GRAY, GREEN, RED, Pixels, render, shortened
from visionsweep.inference.explanation import Explanation
from visionsweep.inference.output import is_right, percent
from visionsweep.inference.predictor import THUMBNAIL, Prediction
from visionsweep.storage.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PER_FIGURE, PER_FIGURE_EXPLAINED = 25, 12
_COLUMNS, _COLUMNS_EXPLAINED = 5, 3
_BESIDE = 6  # pixels between images and explanations
_GAP, _AROUND, _HEAD = 24, 130, 60  # pixels between columns, above and below images, on top
_LARGE, _SMALL = 14, 10  # points


def prediction_figures(
    predictions: Sequence[Prediction], folder: Path, title: str, truths: Sequence[str] | None = None
) -> list[Path]:
    """Draw images with their predictions, and their explanations if there are any.

    Predictions are all explained, or none is. If the true classes are known, a verdict stands below
    each image.

    Returns:
        The files `predictions-1.png` and so on in the folder, which is created if missing; each has
        at most 25 images, or 12 with explanations.
    """
    folder.mkdir(parents=True, exist_ok=True)
    most = PER_FIGURE_EXPLAINED if predictions[0].explanation else PER_FIGURE
    files: list[Path] = []
    for start in range(0, len(predictions), most):
        part = slice(start, start + most)
        pixels = _figure(predictions[part], title, truths[part] if truths else None)
        content = io.BytesIO()
        Image.fromarray(pixels).save(content, "PNG")
        files.append(folder / f"predictions-{len(files) + 1}.png")
        write_atomically(files[-1], content.getvalue())
    return files


def _figure(predictions: Sequence[Prediction], title: str, truths: Sequence[str] | None) -> Pixels:
    explanation = predictions[0].explanation
    columns, width, cells = _COLUMNS, THUMBNAIL, 26
    if explanation is not None:
        columns, width, cells = _COLUMNS_EXPLAINED, 2 * THUMBNAIL + _BESIDE, 54
    columns = min(columns, len(predictions))
    heights = [
        max(p.thumbnail.height for p in predictions[start : start + columns])
        for start in range(0, len(predictions), columns)
    ]

    def draw(figure: "Figure") -> None:
        top = shortened(title, 24 * columns)
        figure.suptitle(top, x=0.01, ha="left", fontsize=_SMALL, color=FAINT)
        grid = figure.subplots(len(heights), columns, squeeze=False, height_ratios=heights)
        for axes in grid.flat:
            axes.axis("off")
        for place, (axes, prediction) in enumerate(zip(grid.flat, predictions, strict=False)):
            axes.imshow(_picture(prediction))
            name, style = _class(prediction, cells)
            axes.set_title(name, loc="center", fontsize=_LARGE, **style)
            lines = [(text, {"color": FAINT}) for text in _captions(prediction, cells + 10)]
            if truths is not None:
                right = is_right(prediction, truths[place])
                verdict = "right" if right else f"wrong: {shortened(truths[place], cells)}"
                look = {"color": GREEN if right else RED, "fontweight": "bold"}
                lines.append((verdict, look))
            for line, (text, look) in enumerate(lines):
                axes.annotate(
                    text, (0.5, 0), (0, -8 - 15 * line), xycoords="axes fraction",
                    textcoords="offset points", ha="center", va="top", fontsize=_SMALL, **look,
                )  # fmt: skip
        if explanation is not None:
            _legend(figure, grid, explanation)

    return render(draw, columns * (width + _GAP), _HEAD + sum(heights) + _AROUND * len(heights))


def _class(prediction: Prediction, cells: int) -> tuple[str, dict[str, Any]]:
    """Return the predicted class, or, if the model abstained, its guess."""
    name, probability = prediction.probabilities[0]
    share = percent(probability)
    if prediction.abstained:
        return f"unsure ({shortened(name, cells - 14)} {share})", {"color": GRAY}
    return f"{shortened(name, cells - 8)}  {share}", {"fontweight": "bold"}


def _captions(prediction: Prediction, cells: int) -> list[str]:
    """Return the file's name, and the second most probable class."""
    (first, _), *others = prediction.probabilities
    second = f"then {others[0][0]} {percent(others[0][1])}" if others else ""
    if prediction.explanation and not prediction.explanation.heat.any():
        second = f"no part of the image supports {first}"
    return [shortened(prediction.path.name, cells), shortened(second, cells)]


def _picture(prediction: Prediction) -> Pixels:
    """Return the image of a prediction, beside its explanation if any, `uint8[H, W, 3]`."""
    image = np.asarray(prediction.thumbnail)
    if prediction.explanation is None:
        return image
    space = np.full((len(image), _BESIDE, 3), 255, np.uint8)
    return np.concatenate([image, space, heated(image, prediction.explanation)], axis=1)


def heated(image: Pixels, explanation: Explanation) -> Pixels:
    """Return the gray image under its explanation in the colors of viridis, `uint8[H, W, 3]`.

    They suit color-blind people. Parts that the model does not see are gray only.
    """
    from matplotlib import colormaps  # only where something is explained

    height, width = image.shape[:2]
    left, top, right, bottom = explanation.seen
    across = ((np.arange(width) + 0.5) / width - left) / (right - left)
    down = ((np.arange(height) + 0.5) / height - top) / (bottom - top)
    size = len(explanation.heat)
    columns, rows = (np.clip(part * size, 0, size - 1).astype(int) for part in (across, down))
    colors = 255 * colormaps["viridis"](explanation.heat[rows][:, columns])[..., :3]
    gray = np.asarray(Image.fromarray(image).convert("L"), np.float64)[..., None]
    seen = (np.abs(down - 0.5) <= 0.5)[:, None, None] & (np.abs(across - 0.5) <= 0.5)[:, None]
    mixed: Pixels = np.where(seen, 0.45 * gray + 0.55 * colors, gray).astype(np.uint8)
    return mixed


def _legend(figure: "Figure", grid: NDArray[Any], explanation: Explanation) -> None:
    """Draw the scale of the colors."""
    from matplotlib.cm import ScalarMappable

    scale = ScalarMappable(cmap="viridis")
    bar = figure.colorbar(scale, ax=grid, location="top", shrink=0.25, aspect=40, anchor=(0, 1))
    is_cut = explanation.seen != (0.0, 0.0, 1.0, 1.0)
    bar.set_ticks([0, 1], labels=["little", "much; gray is cut off" if is_cut else "much"])
    bar.set_label(f"evidence for the class, right ({explanation.method})", fontsize=_SMALL)
