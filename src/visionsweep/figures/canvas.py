"""A white sheet to draw figures on, in pixels.

Pillow draws such a figure in a few milliseconds. matplotlib takes 40 to 200, after an import of
some hundred, which is more than a run out of the store has for all its figures.
"""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from visionsweep.text.escaping import visible

Pixels = NDArray[np.uint8]
CARD = (
    350  # pixels; at this width TensorBoard shows an image, shrunk by leaving out pixels if wider
)
INK, FAINT, GREY = "#1f2328", "#57606a", "#8c959f"

# What systems come with for scripts that DejaVu, which has Latin, Greek and Cyrillic, lacks.
_OTHER_SCRIPTS = (
    "Noto Sans CJK JP",
    "Source Han Sans",
    "WenQuanYi Zen Hei",
    "Hiragino Sans",
    "PingFang SC",
    "Microsoft YaHei",
    "Yu Gothic",
    "Malgun Gothic",
    "Arial Unicode MS",
)


class Sheet:
    """A white sheet; places are pixels from its upper left corner.

    Args:
        width, height: in pixels.
    """

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = round(width), round(height)
        self._image = Image.new("RGB", (self.width, self.height), "white")
        self._draw = ImageDraw.Draw(self._image)

    def head(self, title: str, note: str) -> None:
        """Write the title of a figure, and a note under it."""
        room = self.width - 16
        self.text(8, 15, shortened(title, 15, room, bold=True), 15, bold=True)
        self.text(8, 36, shortened(note, 12, room), 12, colour=FAINT)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        size: int = 12,
        *,
        colour: str = INK,
        bold: bool = False,
        anchor: str = "lm",
        upright: bool = False,
    ) -> None:
        """Write a text.

        Args:
            x: the place, from the left.
            y: the place, from the top.
            text: one line.
            size: of the letters, in pixels.
            colour: of the letters.
            bold: whether they are heavy.
            anchor: which point of the text is at the place, in Pillow's letters: left, middle or
                right, then ascender, middle or descender; of an upright text before it is turned.
            upright: whether it is read from below.
        """
        text = visible(text)
        font = _font(text, size, bold)
        if not upright:
            self._draw.text((x, y), text, colour, font, anchor)
            return
        length, height = round(font.getlength(text)), round(1.4 * size)
        mask = Image.new("L", (length, height))
        ImageDraw.Draw(mask).text((0, height / 2), text, 255, font, "lm")
        mask = mask.transpose(Image.Transpose.ROTATE_90)
        up = {"l": length, "m": length / 2, "r": 0}[anchor[0]]
        self._draw.bitmap((round(x - height / 2), round(y - up)), mask, colour)

    def box(
        self,
        left: float,
        top: float,
        right: float,
        bottom: float,
        fill: str | None = None,
        outline: str | None = None,
    ) -> None:
        """Draw a rectangle; right and bottom are the first pixels outside."""
        left, top, right, bottom = map(round, (left, top, right, bottom))
        if right > left and bottom > top:
            self._draw.rectangle((left, top, right - 1, bottom - 1), fill, outline)

    def line(self, start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
        """Draw a line, one pixel wide."""
        self._draw.line((*start, *end), colour)

    def image(self, left: float, top: float, pixels: Pixels) -> None:
        """Lay an image, `uint8[H, W, 3]`, pixel by pixel onto the sheet."""
        self._image.paste(Image.fromarray(pixels), (round(left), round(top)))

    def pixels(self) -> Pixels:
        """Return the sheet with all that is on it, `uint8[H, W, 3]`."""
        return np.array(self._image)


def number(images: float) -> str:
    """Return a mean number of images as text, with a decimal where replicates differ."""
    whole = images >= 100 or abs(images - round(images)) < 0.05
    return f"{images:.0f}" if whole else f"{images:.1f}"


def width_of(text: str, size: int, bold: bool = False) -> float:
    """Return how many pixels wide a text is."""
    text = visible(text)
    return _font(text, size, bold).getlength(text)


def shortened(text: str, size: int, widest: float, bold: bool = False) -> str:
    """Return a text no wider than so many pixels, its middle left out if need be."""
    text = visible(text)
    if width_of(text, size, bold) <= widest:
        return text
    kept = len(text) - 1
    while kept and width_of(_cut(text, kept), size, bold) > widest:
        kept -= 1
    return _cut(text, kept)


def _cut(text: str, kept: int) -> str:
    tail = kept // 2
    return f"{text[: kept - tail]}…{text[len(text) - tail :]}"


def _font(text: str, size: int, bold: bool) -> ImageFont.FreeTypeFont:
    """Return the first font that has every letter of a text, or else DejaVu, which draws boxes."""
    usual = _open(_dejavu(bold), size)
    unusual = {letter for letter in text if ord(letter) >= 0x500}
    if all(_has(usual, letter) for letter in unusual):
        return usual
    others = (_open(file, size) for file in _other_fonts())
    return next((font for font in others if all(_has(font, one) for one in unusual)), usual)


@cache
def _has(font: ImageFont.FreeTypeFont, letter: str) -> bool:
    missing, drawn = font.getmask("\uffff"), font.getmask(letter)
    return (drawn.size, bytes(drawn)) != (missing.size, bytes(missing))


@cache
def _open(file: Path, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(file, size)


@cache
def _dejavu(bold: bool) -> Path:
    """Return matplotlib's own font file, without importing matplotlib."""
    package = find_spec("matplotlib")
    assert package is not None and package.submodule_search_locations is not None
    folder = Path(package.submodule_search_locations[0]) / "mpl-data" / "fonts" / "ttf"
    return folder / ("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf")


@cache
def _other_fonts() -> list[Path]:
    from matplotlib.font_manager import fontManager  # slow; only for letters that DejaVu lacks

    files = {entry.name: Path(entry.fname) for entry in fontManager.ttflist}
    return [files[name] for name in _OTHER_SCRIPTS if name in files]
