"""Figures of predictions: every image under what the model takes it for, and where it sees that."""

import io
from collections.abc import Sequence
from itertools import repeat
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from visionsweep.figures.canvas import FAINT, GREY, Pixels, Sheet, shortened, width_of
from visionsweep.inference.explanation import Explanation
from visionsweep.inference.output import percent
from visionsweep.inference.predictor import THUMBNAIL, Prediction
from visionsweep.storage.files import write_atomically
from visionsweep.text.escaping import visible

PER_FIGURE, PER_FIGURE_EXPLAINED = 25, 12
_COLUMNS, _COLUMNS_EXPLAINED = 5, 3
_BESIDE = 6  # pixels between an image and its explanation
_GAP, _EDGE, _HEAD = 28, 20, 44
_OVER, _UNDER = 36, 66  # above an image, for its class; under it, for two lines
_VERDICT = 19  # more under an image whose class is known
_TITLE, _SMALL = 20, 14  # letters, in pixels
_RIGHT, _WRONG = "#1a7f37", "#cf222e"


class Shown(NamedTuple):
    """A prediction in a figure, and the true class where it is known."""

    prediction: Prediction
    true: str | None


def prediction_figures(
    predictions: Sequence[Prediction],
    folder: Path,
    title: str,
    truths: Sequence[str] | None = None,
) -> list[Path]:
    """Draw images under their predictions, beside each its explanation if there is one.

    Args:
        predictions: what to draw; all are explained, or none.
        folder: where the PNG files go; made if missing.
        title: a line over each figure.
        truths: the true class of each image, where these are known; a verdict then stands under it.

    Returns:
        The files, `predictions-1.png` and on, of at most 25 images each, or 12 explained ones.
    """
    folder.mkdir(parents=True, exist_ok=True)
    most = PER_FIGURE_EXPLAINED if predictions[0].explanation else PER_FIGURE
    shown = [Shown(p, t) for p, t in zip(predictions, truths or repeat(None), strict=False)]
    files = []
    for start in range(0, len(predictions), most):
        files.append(folder / f"predictions-{start // most + 1}.png")
        content = io.BytesIO()
        Image.fromarray(_figure(shown[start : start + most], title)).save(content, "PNG")
        write_atomically(files[-1], content.getvalue())
    return files


def _figure(shown: Sequence[Shown], title: str) -> Pixels:
    predictions = [each.prediction for each in shown]
    explanation = predictions[0].explanation
    columns = min(_COLUMNS_EXPLAINED if explanation else _COLUMNS, len(predictions))
    wide = 2 * THUMBNAIL + _BESIDE if explanation else THUMBNAIL
    rows = [shown[start : start + columns] for start in range(0, len(shown), columns)]
    highs = [max(each.prediction.thumbnail.height for each in row) for row in rows]
    head = _HEAD + 30 if explanation else _HEAD
    under = _UNDER if shown[0].true is None else _UNDER + _VERDICT
    height = head + sum(highs) + len(rows) * (_OVER + under)
    sheet = Sheet(2 * _EDGE + columns * (wide + _GAP) - _GAP, height)
    room = sheet.width - 2 * _EDGE
    sheet.text(_EDGE, 22, shortened(title, _SMALL, room), _SMALL, colour=FAINT)
    if explanation:
        _legend(sheet, explanation)
    top = head
    for row, high in zip(rows, highs, strict=True):
        for column, (prediction, true) in enumerate(row):
            left = _EDGE + column * (wide + _GAP)
            _class(sheet, prediction, left + wide / 2, top + _OVER / 2, wide)
            pixels = _picture(prediction)
            sheet.image(left + (wide - pixels.shape[1]) / 2, top + _OVER, pixels)
            bottom = top + _OVER + len(pixels)
            _captions(sheet, prediction, left + wide / 2, bottom, wide)
            if true is not None:
                _verdict(sheet, prediction, true, left + wide / 2, bottom + 53, wide)
        top += _OVER + high + under
    return sheet.pixels()


def _class(sheet: Sheet, prediction: Prediction, middle: float, y: float, room: float) -> None:
    """Write what the model takes an image for, or that it is unsure and what it would guess."""
    name, probability = prediction.probabilities[0]
    sure = f"  {percent(probability)}"
    if not prediction.abstained:
        name = shortened(name, _TITLE, room - width_of(sure, _TITLE, bold=True), bold=True)
        sheet.text(middle, y, name + sure, _TITLE, bold=True, anchor="mm")
        return
    unsure, open_, close = "unsure", "  (", f"{sure[1:]})"
    before, around = width_of(unsure, _TITLE, bold=True), width_of(open_ + close, _TITLE)
    guess = open_ + shortened(name, _TITLE, room - before - around) + close
    left = middle - (before + width_of(guess, _TITLE)) / 2
    sheet.text(left, y, unsure, _TITLE, bold=True)
    sheet.text(left + before, y, guess, _TITLE, colour=GREY)


def _verdict(
    sheet: Sheet, prediction: Prediction, true: str, middle: float, y: float, room: float
) -> None:
    """Write whether the predicted class is the true one, and if not, which is."""
    right = prediction.probabilities[0][0] == true
    text = shortened("right" if right else f"wrong: {visible(true)}", _SMALL, room, bold=True)
    colour = _RIGHT if right else _WRONG
    sheet.text(middle, y, text, _SMALL, bold=True, colour=colour, anchor="mm")


def _captions(sheet: Sheet, prediction: Prediction, middle: float, y: float, room: float) -> None:
    """Write the file's name under an image, and the second most probable class."""
    second = ""
    if len(prediction.probabilities) > 1:
        name, probability = prediction.probabilities[1]
        second = f"then {name} {percent(probability)}"
    if prediction.explanation and not prediction.explanation.heat.any():
        second = f"nothing in it speaks for {prediction.probabilities[0][0]}"
    for line, text in enumerate((prediction.path.name, second)):
        text = shortened(text, _SMALL, room)
        sheet.text(middle, y + 15 + 19 * line, text, _SMALL, colour=FAINT, anchor="mm")


def _picture(prediction: Prediction) -> Pixels:
    """Return an image, and beside it its explanation if there is one: `uint8[H, W, 3]`."""
    image = np.asarray(prediction.thumbnail)
    if prediction.explanation is None:
        return image
    space = np.full((len(image), _BESIDE, 3), 255, np.uint8)
    return np.concatenate([image, space, heated(image, prediction.explanation)], axis=1)


def heated(image: Pixels, explanation: Explanation) -> Pixels:
    """Lay an explanation over an image: in grey, from violet for nothing to yellow for the most.

    What the model did not see, since it was cut off, is grey alone.

    Args:
        image: `uint8[H, W, 3]`.
        explanation: of the image.

    Returns:
        `uint8[H, W, 3]`.
    """
    height, width = image.shape[:2]
    left, top, right, bottom = explanation.seen
    across = ((np.arange(width) + 0.5) / width - left) / (right - left)
    down = ((np.arange(height) + 0.5) / height - top) / (bottom - top)
    size = len(explanation.heat)
    columns, rows = (np.clip(part * size, 0, size - 1).astype(int) for part in (across, down))
    heat = explanation.heat[rows][:, columns]
    grey = np.asarray(Image.fromarray(image).convert("L"), np.float64)[..., None]
    seen = (np.abs(down - 0.5) <= 0.5)[:, None, None] & (np.abs(across - 0.5) <= 0.5)[:, None]
    mixed: Pixels = np.where(seen, 0.45 * grey + 0.55 * _colours(heat), grey).astype(np.uint8)
    return mixed


def _colours(heat: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return viridis, whose steps everybody can tell apart, colour-blind or not: 0 to 255."""
    from matplotlib import colormaps  # only where something is explained

    colours: NDArray[np.float64] = 255 * colormaps["viridis"](heat)[..., :3]
    return colours


def _legend(sheet: Sheet, explanation: Explanation) -> None:
    """Write on one line what the colours mean, and show them."""
    y, ramp = 50, 100
    text = f"Right: what speaks for the class ({explanation.method}): little"
    sheet.text(_EDGE, y, text, _SMALL, colour=FAINT)
    left = _EDGE + width_of(text, _SMALL) + 8
    sheet.image(left, y - 6, _colours(np.tile(np.linspace(0, 1, ramp), (12, 1))).astype(np.uint8))
    unseen = explanation.seen != (0.0, 0.0, 1.0, 1.0)
    much = "much; grey is cut off" if unseen else "much"
    sheet.text(left + ramp + 8, y, much, _SMALL, colour=FAINT)
