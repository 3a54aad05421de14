"""The effects of swept settings, as sentences with their intervals drawn on one scale."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from visionsweep.analysis.factors import Effect
from visionsweep.report.page import numbers
from visionsweep.report.page.strips import common_scale, strip

Reading = Literal["better", "worse", "not distinguishable"]


@dataclass(frozen=True)
class EffectLine:
    """What a value brought over another.

    Attributes:
        change: `20pct over 10pct`.
        number: the effect on the validation loss with its interval.
        reading: the same in a word.
        picture: the interval drawn.
        pairs: pairs of runs it is the mean of.
    """

    change: str
    number: str
    reading: Reading
    picture: Markup | None
    pairs: int


def effect_lines(effects: Sequence[Effect]) -> list[EffectLine]:
    """Put effects into words and pictures, in their order."""
    scale = common_scale([effect.effect for effect in effects], zero=True)
    return [
        EffectLine(
            change=_change(effect),
            number=numbers.with_interval(effect.effect, signed=True),
            reading=_reading(effect),
            picture=strip(
                effect.effect,
                scale,
                "level" if effect.distinguishable else "behind",
                reference=0.0,
            )
            if scale
            else None,
            pairs=effect.pairs,
        )
        for effect in effects
    ]


def _reading(effect: Effect) -> Reading:
    if not effect.distinguishable:
        return "not distinguishable"
    return "better" if effect.effect.value < 0 else "worse"


def _change(effect: Effect) -> str:
    value, baseline = numbers.setting(effect.value), numbers.setting(effect.baseline)
    if effect.key == "epochs":
        value += " epochs"
    elif not (isinstance(effect.value, str) and isinstance(effect.baseline, str)):
        value = f"{effect.key} {value}"
    return f"{value} over {baseline}"
