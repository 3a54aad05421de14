"""Intervals drawn as a dot on a bar, all rows of a table on one scale; inline SVG."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from markupsafe import Markup

from visionsweep.report.numbers import Between, decimal

WIDTH, HEIGHT = 120, 20  # pixels
_MIDDLE = HEIGHT // 2
_MARGIN = 6
_LABEL = 40  # pixels between the labels of an axis
_ROOM = 4  # times the spread of most: how far one outlier may stretch the scale


@dataclass(frozen=True)
class Scale:
    """Values at the left and the right end of every strip, and its width in pixels."""

    low: float
    high: float
    width: int

    def place(self, value: float) -> float:
        """Return pixels from the left; values beyond an end lie on it."""
        part = (value - self.low) / (self.high - self.low)
        return _MARGIN + (self.width - 2 * _MARGIN) * min(max(part, 0.0), 1.0)

    def holds(self, value: float) -> bool:
        """Whether a value lies between the ends; NaN does not."""
        return self.low <= value <= self.high


def common_scale(
    estimates: Iterable[Between], *, zero: bool = False, outliers: bool = False, width: int = WIDTH
) -> Scale | None:
    """Return a scale for all estimates, or None if no number of them is finite.

    It includes zero if wanted. With `outliers`, a few that are far higher than most may run off its
    right end.
    """
    drawn = [list(filter(math.isfinite, (e.low, e.value, e.high))) for e in estimates]
    drawn = [values for values in drawn if values]
    if not drawn:
        return None
    low = min(map(min, drawn))
    highs = sorted(map(max, drawn))
    high = highs[-1]
    if outliers:
        high = min(high, low + _ROOM * (highs[(len(highs) - 1) * 3 // 4] - low))
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    return Scale(low, high if high > low else low + 1e-9, width)


def strip(estimate: Between, scale: Scale, kind: str, reference: float = math.nan) -> Markup:
    """Draw an estimate; the numbers stand beside it as text, so it is hidden from screen readers.

    Without bounds only the dot is drawn. `kind` is a CSS class: `recommended`, `possible`, `worse`
    or `unknown`. A thin upright line at the reference is the best run, or zero.
    """
    parts = []
    if math.isfinite(reference):
        parts.append(f'<path class="at" d="M{scale.place(reference):.1f} 0V{HEIGHT}"/>')
    if math.isfinite(estimate.low) and math.isfinite(estimate.high):
        left, right = scale.place(estimate.low), scale.place(estimate.high)
        parts.append(f'<path class="bar" d="M{left:.1f} {_MIDDLE}H{right:.1f}"/>')
        if not scale.holds(estimate.high):
            parts.append(f'<path class="off" d="M{scale.width - 5} {_MIDDLE - 4}l4 4-4 4"/>')
        if not scale.holds(estimate.low):
            parts.append(f'<path class="off" d="M5 {_MIDDLE - 4}l-4 4 4 4"/>')
    if scale.holds(estimate.value):
        at = scale.place(estimate.value)
        parts.append(f'<circle class="dot" cx="{at:.1f}" cy="{_MIDDLE}" r="4"/>')
    return _svg(f"strip {kind}", scale.width, parts)


def axis(scale: Scale) -> Markup:
    """Draw the scale below strips: a line, its ends, and zero if it lies between them."""
    parts = [f'<path class="line" d="M{_MARGIN} 1H{scale.width - _MARGIN}"/>']
    zero = scale.place(0.0)
    for anchor, value in (("start", scale.low), ("middle", 0.0), ("end", scale.high)):
        at = scale.place(value)
        over_zero = anchor != "middle" and scale.holds(0.0) and abs(at - zero) < _LABEL
        if scale.holds(value) and not over_zero:
            text = decimal(value, 2, signed=True) if value else "0"
            anchored = anchor if value else "middle"
            parts.append(f'<text x="{at:.1f}" y="15" text-anchor="{anchored}">{text}</text>')
            parts.append(f'<path class="line" d="M{at:.1f} 1v4"/>')
    return _svg("axis", scale.width, parts)


def _svg(kind: str, width: int, parts: list[str]) -> Markup:
    return Markup(
        f'<svg class="{kind}" viewBox="0 0 {width} {HEIGHT}" width="{width}" '
        f'height="{HEIGHT}" aria-hidden="true" focusable="false">{"".join(parts)}</svg>'
    )
