"""Effects of swept settings and the learning curve in words."""

from collections.abc import Sequence
from dataclasses import dataclass

from visionsweep.analysis.factors import Effect
from visionsweep.analysis.learning_curve import FOR_A_FLOOR, MISFIT, LearningCurve, images_for
from visionsweep.report import numbers


@dataclass(frozen=True)
class EffectLine:
    """An effect in words: the `change`, such as `20pct over 10pct`, its size, and what it means."""

    change: str
    number: str
    reading: str
    effect: Effect


def effect_lines(effects: Sequence[Effect]) -> list[EffectLine]:
    """Return effects on the validation loss in words, in their order."""
    lines = []
    for effect in effects:
        number = numbers.with_interval(effect.effect, signed=True)
        reading = "better" if effect.effect.value < 0 else "worse"
        if not effect.distinguishable:
            reading = "not significant"
        lines.append(EffectLine(_change(effect), number, reading, effect))
    return lines


def _change(effect: Effect) -> str:
    value, baseline = numbers.setting(effect.value), numbers.setting(effect.baseline)
    if effect.key == "epochs":
        value += " epochs"
    elif not (isinstance(effect.value, str) and isinstance(effect.baseline, str)):
        value = f"{effect.key} {value}"
    return f"{value} over {baseline}"


def curve_sentence(curve: LearningCurve, kind: str = "validation") -> str:
    """Return the forecast for twice the training images; the loss is `validation` or so."""
    images = f"{curve.doubled_images:,} training images, twice as many as the most tried here,"
    loss = numbers.with_interval(curve.doubled)
    change = curve.change
    places = numbers.places_for(change)
    if change.low <= 0 <= change.high:
        verdict = f"not a significant change (change {numbers.with_interval(change, signed=True)})"
    else:
        word = "lower" if change.value < 0 else "higher"
        ends = sorted((abs(change.low), abs(change.high)))
        verdict = (
            f"{abs(change.value):.{places}f} {word} than with those "
            f"[{ends[0]:.{places}f}, {ends[1]:.{places}f}]"
        )
    assumed = " (assuming a power law through two sizes)" if len(curve.images) == 2 else ""
    mean = f", on average over {curve.runs} settings," if curve.runs > 1 else ""
    return (
        f"With {images} expect{mean} a {kind} loss of {loss}{assumed}: {verdict}.{_inverse(curve)}"
    )


def curve_caption(curve: LearningCurve) -> str:
    """Return what the figure of a learning curve shows, and what it takes for granted."""
    caption = (
        "Filled dots were measured, the line is a power law fitted to them, the band its 95% "
        "interval. The open dot is the forecast. Beyond the largest size the power law is an "
        f"assumption, and the band allows for a change of {MISFIT[0]:g} to {MISFIT[1]:g} times the "
        "line's."
    )
    if len(curve.images) < FOR_A_FLOOR:
        caption += f" Fewer than {FOR_A_FLOOR} sizes cannot show whether the loss levels off."
    if curve.runs > 1:
        caption += f" Dots are means over {curve.runs} settings, not the best run's loss."
    return caption


def _inverse(curve: LearningCurve) -> str:
    """Return how many training images would lower the loss by a tenth, if that can be said."""
    needed = images_for(curve, 0.9)
    farthest = 100 * curve.doubled_images
    if not needed.low < needed.value < farthest:
        return ""
    value, low, high = (
        f"{float(f'{n:.2g}'):,.0f}" for n in (needed.value, needed.low, min(needed.high, 1e15))
    )
    bounds = f"[{low}, {high}]" if needed.high < farthest else f"(at least {low})"
    return f" A loss 10% lower would take about {value} training images {bounds}."
