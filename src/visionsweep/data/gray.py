"""Scale gray images of more than 8 bits per pixel to 8 bits, by one range for a whole data set."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

GrayRange = tuple[float, float]
_Value = Annotated[float, msgspec.Meta(ge=-3.5e38, le=3.5e38)]  # the range of float32


class GrayFacts(msgspec.Struct, frozen=True, array_like=True):
    """Smallest and largest finite value of a gray image of more than 8 bits per pixel."""

    low: _Value
    high: _Value
    floating: bool  # True for floating-point values

    def __post_init__(self) -> None:
        """Refuse an impossible range, which a tampered cache file may hold."""
        if not (self.low <= self.high and (self.floating or self.high < 2**32)):
            raise ValueError(f"no image has gray values from {self.low} to {self.high}")


def is_deep(mode: str) -> bool:
    """Return whether a Pillow mode holds gray values of more than 8 bits."""
    return mode == "F" or mode.startswith("I")


def facts_of(tiles: Iterable[Image.Image]) -> GrayFacts:
    """Measure an image of a mode that `is_deep`, in tiles that fit into memory as float64.

    Raises:
        ValueError: if no value is finite.
    """
    low, high, floating = math.inf, -math.inf, False
    for tile in tiles:
        values, floating = np.asarray(tile), tile.mode == "F"
        finite = values[np.isfinite(values)] if floating else values
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    if low > high:
        raise ValueError("it holds no finite value")
    return GrayFacts(low, high, floating)


def range_of(measured: Sequence[GrayFacts]) -> GrayRange | None:
    """Return the values that become black and white in a data set, or None without deep images.

    Unsigned integers are scaled by their bit depth: the smallest that holds the largest value, so
    12-bit values in 16-bit files are scaled by 4095. Floating-point values that nearly fill 0 to 1,
    0 to 255 or 0 to 65,535 are scaled by that. Others, and signed integers, are scaled from the
    smallest value to the largest.
    """
    if not measured:
        return None
    low, high = min(f.low for f in measured), max(f.high for f in measured)
    if low >= 0 and not any(facts.floating for facts in measured):
        return 0.0, float(2 ** max(8, int(high).bit_length()) - 1)
    for white in (1.0, 255.0, 65535.0):
        if low >= 0 and white / 2 < high <= white:
            return 0.0, white
    return low, high if high > low else low + 1


def recorded_range(preprocessing: Mapping[str, Any]) -> GrayRange | None:
    """Return the range in a record's `model.preprocessing`; None if it has none that is valid."""
    try:
        low, high = msgspec.convert(preprocessing.get("gray_range"), GrayRange)
    except msgspec.ValidationError:
        return None
    return (low, high) if -math.inf < low < high < math.inf else None


def to_8_bit(values: NDArray[np.generic], limits: GrayRange) -> NDArray[np.uint8]:
    """Scale a range of values to 0 to 255; other values are clipped, and NaN becomes 0."""
    low, high = limits
    scaled = (values.astype(np.float64) - low) * (255 / (high - low))
    return np.asarray(np.rint(np.clip(np.nan_to_num(scaled, nan=0), 0, 255)), np.uint8)
