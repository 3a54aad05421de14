"""The style of all figures: a font for every script, texts taken literally, pixels as the result.

matplotlib takes half a second to import, so it is imported where a figure is drawn.
"""

import warnings
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.cells import cell_len

from visionsweep.text.escaping import visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Pixels = NDArray[np.uint8]
CARD = 350  # pixels; TensorBoard shrinks wider images by leaving out pixels
DPI = 100
INK, FAINT, GRAY, BLUE = "#1f2328", "#57606a", "#8c959f", "#4c86b8"
GREEN, RED = "#1a7f37", "#b42318"

# Common fonts for the scripts that DejaVu (Latin, Greek, Cyrillic) lacks.
_OTHER_SCRIPTS = (
    "Noto Sans CJK JP", "Source Han Sans", "WenQuanYi Zen Hei", "Hiragino Sans", "PingFang SC",
    "Microsoft YaHei", "Yu Gothic", "Malgun Gothic", "Arial Unicode MS",
)  # fmt: skip
_RC: dict[Any, Any] = {
    "axes.edgecolor": GRAY,
    "axes.titlelocation": "left",
    "font.family": "sans-serif",
    "text.color": INK,
    "text.parse_math": False,  # a class may be called $10
    **dict.fromkeys(("axes.labelcolor", "xtick.color", "ytick.color"), FAINT),
    **dict.fromkeys(("axes.labelsize", "axes.titlesize", "font.size"), 8),
    **dict.fromkeys(("xtick.labelsize", "ytick.labelsize"), 8),
}


def render(draw: Callable[["Figure"], None], width: float, height: float, scale: int = 1) -> Pixels:
    """Return what a function draws on a `Figure`, as `uint8[scale * height, scale * width, 3]`.

    Axes are placed by constrained layout.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    fonts = {"font.sans-serif": ["DejaVu Sans", *_installed()]}
    with matplotlib.rc_context(_RC | fonts), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # drawn as a box
        size = (round(width) / DPI, round(height) / DPI)
        figure = Figure(size, dpi=scale * DPI, layout="constrained")
        draw(figure)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        return np.array(canvas.buffer_rgba())[..., :3]


@cache
def _installed() -> list[str]:
    from matplotlib.font_manager import fontManager

    names = {entry.name for entry in fontManager.ttflist}
    return [name for name in _OTHER_SCRIPTS if name in names]


def heading(figure: "Figure", title: str, note: str = "") -> None:
    """Write the title of a figure on top, and a smaller note at the bottom."""
    cells = round(figure.get_figwidth() * DPI / 8)
    figure.suptitle(shortened(title, cells), x=0.02, ha="left", fontsize=10, fontweight="bold")
    if note:
        figure.supxlabel(shortened(note, cells), x=0.02, ha="left", fontsize=8, color=FAINT)


def shortened(text: str, cells: int) -> str:
    """Return a text in which the middle is left out if it is wider than some terminal cells."""
    text = visible(text)
    if cell_len(text) <= cells:
        return text
    for kept in range(len(text) - 1, -1, -1):
        short = f"{text[: kept - kept // 2]}…{text[len(text) - kept // 2 :]}"
        if cell_len(short) <= cells:
            break
    return short
