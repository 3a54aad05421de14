"""What a sweep teaches about each of its keys: the mean effect of a value over the rest of it."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from visionsweep.analysis.differences import estimates_of_differences, losses_of
from visionsweep.analysis.intervals import Estimate
from visionsweep.analysis.outcomes import Floats, Outcomes

SEED = "seed"  # runs that differ in it alone are repeats


@dataclass(frozen=True)
class Effect:
    """What a value of a swept key does to the validation loss, compared with the first value.

    Attributes:
        key: what was swept.
        value: the value.
        baseline: the value it is compared with: the first in natural order.
        effect: mean of loss with value minus loss with baseline; below zero is better.
        pairs: pairs of runs, alike in all else, that it is the mean of.
    """

    key: str
    value: Any
    baseline: Any
    effect: Estimate
    pairs: int

    @property
    def distinguishable(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.effect.low > 0 or self.effect.high < 0


def effects(
    settings: Sequence[Mapping[str, Any]], outcomes: Sequence[Outcomes], *, seed: int = 0
) -> list[Effect]:
    """Return the effect of each value of each swept key, over its baseline.

    Args:
        settings: the values of each run's keys; values can be hashed and written.
        outcomes: of the same runs, on the same images in the same order.
        seed: of the redrawing.

    Returns:
        In the order of the keys in `settings`, values in natural order. A value without a run that
        is alike in all else with the baseline has none, nor has a run that diverged.
    """
    keys = [key for key in dict.fromkeys(key for each in settings for key in each) if key != SEED]
    cells: dict[tuple[Any, ...], list[Outcomes]] = defaultdict(list)
    for setting, each in zip(settings, outcomes, strict=True):
        repeats = cells[tuple(setting.get(key) for key in keys)]
        again = any(np.array_equal(each.logits, other.logits) for other in repeats)
        if each.finite.all() and not again:  # the same run in two folders is no repeat
            repeats.append(each)
    places = sorted(filter(cells.get, cells), key=lambda place: tuple(map(natural_order, place)))
    if len(places) < 2:
        return []
    losses = losses_of([cells[place] for place in places])
    found = [
        (keys[column], value, values[0], contrast)
        for column, values in enumerate(map(_sorted, zip(*places, strict=True)))
        for value in values[1:]
        if (contrast := _contrast(places, column, value, values[0])).any()
    ]
    weights = np.array([contrast / (contrast > 0).sum() for *_, contrast in found])
    if not found:
        return []
    estimated, _ = estimates_of_differences(losses.combined(weights), seed=seed)
    return [
        Effect(key, value, baseline, effect, int((contrast > 0).sum()))
        for (key, value, baseline, contrast), effect in zip(found, estimated, strict=True)
    ]


def _sorted(values: Iterable[Any]) -> list[Any]:
    return sorted(set(values), key=natural_order)


def _contrast(places: Sequence[tuple[Any, ...]], column: int, value: Any, baseline: Any) -> Floats:
    """Return +1 for runs with the value and -1 for their partners with the baseline."""
    row_of = {place: row for row, place in enumerate(places)}
    contrast = np.zeros(len(places))
    for row, place in enumerate(places):
        partner = row_of.get((*place[:column], baseline, *place[column + 1 :]))
        if place[column] == value and partner is not None:
            contrast[row], contrast[partner] = 1, -1
    return contrast


def natural_order(value: Any) -> tuple[Any, ...]:
    """Return what to sort values by: numbers first, by size; then text, numbers in it by size."""
    if isinstance(value, bool) or value is None:
        return (0, float(bool(value)), str(value))
    if isinstance(value, int | float):
        return (1, float(value), "")
    parts = re.split(r"(\d+(?:\.\d+)?)", str(value))
    return (2, *((0, float(part), "") if i % 2 else (1, 0.0, part) for i, part in enumerate(parts)))
