"""The effects of swept settings in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from visionsweep.analysis.factors import Effect
from visionsweep.report import numbers

Reading = Literal["better", "worse", "not significant"]


@dataclass(frozen=True)
class EffectLine:
    """Effect of a value relative to another.

    Attributes:
        change: `20pct over 10pct`.
        number: the effect on the validation loss with its interval.
        reading: the effect in a word.
        effect: the effect.
    """

    change: str
    number: str
    reading: Reading
    effect: Effect


def effect_lines(effects: Sequence[Effect]) -> list[EffectLine]:
    """Return effects in words, in their order."""
    return [
        EffectLine(
            change=_change(effect),
            number=numbers.with_interval(effect.effect, signed=True),
            reading=_reading(effect),
            effect=effect,
        )
        for effect in effects
    ]


def _reading(effect: Effect) -> Reading:
    if not effect.distinguishable:
        return "not significant"
    return "better" if effect.effect.value < 0 else "worse"


def _change(effect: Effect) -> str:
    value, baseline = numbers.setting(effect.value), numbers.setting(effect.baseline)
    if effect.key == "epochs":
        value += " epochs"
    elif not (isinstance(effect.value, str) and isinstance(effect.baseline, str)):
        value = f"{effect.key} {value}"
    return f"{value} over {baseline}"
