"""Effects of swept settings: the mean effect of each value over the rest of the grid."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from visionsweep.analysis.differences import Losses, estimates_of_differences, losses_of
from visionsweep.analysis.intervals import Estimate
from visionsweep.analysis.predictions import Predictions
from visionsweep.analysis.run_losses import RunLosses

SEED = "seed"  # runs that differ in it alone are repeats
_ANY = ...  # value of a setting without effect on a run
_CONTRASTS = 200  # whose weights of runs are held at a time


@dataclass(frozen=True)
class Effect:
    """Effect of a value of a swept setting on the validation loss, relative to the first value.

    Attributes:
        key: swept setting.
        value: value of the setting.
        baseline: value that it is compared with, the first in natural order.
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
    settings: Sequence[Mapping[str, Any]],
    predictions: Sequence[Predictions | RunLosses],
    *,
    seed: int = 0,
) -> list[Effect]:
    """Return the effect of each value of each swept key, over its baseline.

    Args:
        settings: values of the keys of each run, hashable and printable. A run that lacks a key
            is alike in it with every other run.
        predictions: predictions of the same runs, on the same images in the same order.
        seed: seed of the resampling.

    Returns:
        In the order of the keys in `settings`, values in natural order. A value without a run that
        is alike in all else with the baseline has none, nor has a run that diverged.
    """
    keys = [key for key in dict.fromkeys(key for each in settings for key in each) if key != SEED]
    cells: dict[tuple[Any, ...], dict[bytes, RunLosses]] = defaultdict(dict)
    for setting, each in zip(settings, map(RunLosses.of, predictions), strict=True):
        if each.finite:  # the same run in two folders is no repeat
            cells[tuple(setting.get(key, _ANY) for key in keys)].setdefault(each.digest, each)
    if len(cells) < 2:
        return []
    ranks = [_ranks(column) for column in zip(*cells, strict=True)]
    places = sorted(cells, key=lambda place: [r[v] for r, v in zip(ranks, place, strict=True)])
    losses = losses_of([RunLosses.together(list(cells[place].values())) for place in places])
    found = [
        contrast
        for column, (key, values) in enumerate(zip(keys, ranks, strict=True))
        for contrast in _contrasts(places, column, key, list(values))
    ]
    parts = [found[start : start + _CONTRASTS] for start in range(0, len(found), _CONTRASTS)]
    return [effect for part in parts for effect in _estimated(part, losses, seed)]


@dataclass(frozen=True)
class _Contrast:
    """Runs with a value, as rows, and their partners with the baseline, alike in all else."""

    key: str
    value: Any
    baseline: Any
    rows: list[int]
    partners: list[int]


def _ranks(values: Iterable[Any]) -> dict[Any, int]:
    """Return the place of each value in natural order, in that order."""
    order = sorted(dict.fromkeys(values), key=natural_order)
    return {value: place for place, value in enumerate(order)}


def _contrasts(
    places: Sequence[tuple[Any, ...]], column: int, key: str, values: Sequence[Any]
) -> Iterator[_Contrast]:
    """Yield a contrast for each value of a column but the first, if it has partners.

    Args:
        places: the values of each run, a column for each key.
        column: that of the key.
        key: what was swept.
        values: that occur, in natural order.
    """
    baseline, *others = values
    row_of = {place: row for row, place in enumerate(places)}
    loose = [place for place in places if _ANY in place]
    pairs: dict[Any, list[tuple[int, int]]] = defaultdict(list)
    for row, place in enumerate(places):
        if place[column] in (baseline, _ANY):
            continue
        wanted = (*place[:column], baseline, *place[column + 1 :])
        candidates = [wanted] if wanted in row_of else places if _ANY in place else loose
        pairs[place[column]] += [
            (row, row_of[other])
            for other in candidates
            if other[column] == baseline and _alike(wanted, other)
        ]
    for value in others:
        if pairs[value]:
            rows, partners = map(list, zip(*pairs[value], strict=True))
            yield _Contrast(key, value, baseline, rows, partners)


def _alike(first: tuple[Any, ...], second: tuple[Any, ...]) -> bool:
    """Return whether no setting that has an effect on both runs differs."""
    return all(a == b or _ANY in (a, b) for a, b in zip(first, second, strict=True))


def _estimated(contrasts: Sequence[_Contrast], losses: Losses, seed: int) -> list[Effect]:
    weights = np.zeros((len(contrasts), len(losses.images)))
    for row, contrast in enumerate(contrasts):
        np.add.at(weights[row], contrast.rows, 1 / len(contrast.rows))
        np.add.at(weights[row], contrast.partners, -1 / len(contrast.rows))
    estimated = estimates_of_differences(losses.combined(weights), seed=seed)
    return [
        Effect(each.key, each.value, each.baseline, effect, len(each.rows))
        for each, effect in zip(contrasts, estimated, strict=True)
    ]


def natural_order(value: Any) -> tuple[Any, ...]:
    """Return what to sort values by: numbers first, by size; then text, numbers in it by size."""
    if isinstance(value, bool) or value is None:
        return (0, float(bool(value)), str(value))
    if isinstance(value, int | float):
        return (1, float(value), "")
    parts = re.split(r"(\d+(?:\.\d+)?)", str(value))
    return (2, *((0, float(part), "") if i % 2 else (1, 0.0, part) for i, part in enumerate(parts)))
