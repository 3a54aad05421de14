"""How the report page writes numbers: as many places as the interval makes worth reading."""

import math
from typing import Protocol

from visionsweep.analysis.groups import FEW_GROUPS

_HUGE = 1e6  # a loss that is, though finite, would widen a table by all its digits
_MINUS = "\N{MINUS SIGN}"


class Between(Protocol):
    """A number and the interval around it: an `Estimate`, or a `Measure` of a record."""

    @property
    def value(self) -> float:
        """The number."""

    @property
    def low(self) -> float:
        """Lower bound; NaN where there is none."""

    @property
    def high(self) -> float:
        """Upper bound; NaN where there is none."""


def decimal(value: float, places: int = 3, *, signed: bool = False) -> str:
    """Write a number with a true minus sign, a huge one shortly; `diverged` where it is none."""
    if not math.isfinite(value):
        return "diverged"
    form = f".{places}f" if abs(value) < _HUGE else ".1e"
    text = f"{value:{'+' * signed}{form}}"
    return text.lstrip("-+") if float(text) == 0 else text.replace("-", _MINUS)


def percent(part: float) -> str:
    """Write a part of 1 as percent."""
    return f"{100 * part:.1f}%" if math.isfinite(part) else "–"


def places_for(between: Between) -> int:
    """Return the decimal places that an interval of this width is worth, 2 to 5."""
    width = between.high - between.low
    if not (math.isfinite(width) and width > 0):
        return 3
    return min(max(math.ceil(-math.log10(width)) + (width < 0.03), 2), 5)


def _on_its_side(between: Between, places: int) -> int:
    """Return as many more places, up to 6, as show on which side of zero each end is."""
    ends = [end for end in (between.low, between.high) if end != 0]
    while places < 6 and any(round(end, places) == 0 for end in ends):
        places += 1
    return places


def interval(between: Between, places: int, *, signed: bool = False) -> str:
    """Write `[0.16, 0.27]`, or nothing where there are no bounds."""
    if not (math.isfinite(between.low) and math.isfinite(between.high)):
        return ""
    places = _on_its_side(between, places) if signed else places
    low, high = (decimal(end, places, signed=signed) for end in (between.low, between.high))
    return f"[{low}, {high}]"


def with_interval(between: Between, *, signed: bool = False) -> str:
    """Write `0.21 [0.16, 0.27]`."""
    places = places_for(between)
    places = _on_its_side(between, places) if signed else places
    value = decimal(between.value, places, signed=signed)
    return f"{value} {interval(between, places, signed=signed)}".rstrip()


def percent_interval(between: Between) -> str:
    """Write `[88.1, 97.9]`, in percent, or nothing where there are no bounds."""
    if not (math.isfinite(between.low) and math.isfinite(between.high)):
        return ""
    return f"[{100 * between.low:.1f}, {100 * between.high:.1f}]"


def setting(value: object) -> str:
    """Write the value of a setting, floating-point numbers without their last bits."""
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def counted(number: int, one: str, many: str | None = None) -> str:
    """Write `1 run`, `2 runs`, `1,000 runs`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def about_groups(groups: int, images: str) -> str:
    """Return that intervals are over groups of images, and whether these are few.

    Args:
        groups: number of groups.
        images: what the images are called, such as `validation images`.
    """
    over = f"Intervals are over {counted(groups, 'group')} of {images}, not over images"
    return f"{over}. So few groups give rough intervals." if groups < FEW_GROUPS else f"{over}."
