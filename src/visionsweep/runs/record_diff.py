"""Compare the numbers of two records of the same run. Imports no torch."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from visionsweep.analysis.predictions import Predictions
from visionsweep.runs.record import Record

TOLERANCE = 1e-6  # absolute difference of a score
_OTHER_METHOD = "loss.high"  # ends of the places whose method `INTERVALS_VERSION` tells apart

Verdict = Literal["identical", "within tolerance", "different"]


@dataclass(frozen=True)
class Difference:
    """A number that differs.

    Attributes:
        where: its place in `result.json`, `history[2].val.loss`, or in `logits.safetensors`.
        recorded: recorded value; None if there was none.
        now: value of the new run; None if there is none.
    """

    where: str
    recorded: float | None
    now: float | None

    @property
    def size(self) -> float:
        """Absolute difference; infinite if a value is missing, or if only one is NaN."""
        if self.recorded is None or self.now is None:
            return math.inf
        if math.isnan(self.recorded) and math.isnan(self.now):
            return 0.0
        difference = abs(self.recorded - self.now)
        return math.inf if math.isnan(difference) else difference

    def __str__(self) -> str:
        then, now = ("nothing" if v is None else repr(v) for v in (self.recorded, self.now))
        return f"{self.where}: {then} was recorded, now {now}"


@dataclass(frozen=True)
class Agreement:
    """Result of a comparison.

    Attributes:
        verdict: `identical` if all numbers are bitwise equal; `within tolerance` if scores differ
            by at most `TOLERANCE`; else `different`.
        compared: number of scores and logits compared.
        unequal: number of those that differ.
        first: first difference; if the verdict is `different`, the first beyond the tolerance.
        largest: score that differs most.
        logits: largest difference of a logit; None if the record has no logits.
    """

    verdict: Verdict
    compared: int
    unequal: int
    first: Difference | None
    largest: Difference | None
    logits: float | None


def compare(
    recorded: Record,
    now: Record,
    recorded_logits: Mapping[str, Predictions] | None,
    logits_now: Mapping[str, Predictions] | None,
) -> Agreement:
    """Compare the records and logits of a run and its reproduction number by number.

    Numbers that the earlier record lacks because of its version are not compared, nor are the
    bounds of intervals that its version computed by another method.
    """
    before, after = _scores(recorded), _scores(now)
    if recorded.intervals_version != now.intervals_version:
        before, after = (
            {where: value for where, value in scores.items() if not where.endswith(_OTHER_METHOD)}
            for scores in (before, after)
        )
    for lacking, other in ((before, after), (after, before)):  # test scores of epochs, in one only
        for where in [key for key in other.keys() - lacking.keys() if _of_epoch(key)]:
            del other[where]
    replicated = any(epoch.replicates for epoch in recorded.history)
    after = {
        where: value
        for where, value in after.items()
        if where in before
        or not (
            where.startswith(("evaluation", "deployed", "temperature"))
            or (".replicates[" in where and not replicated)
        )
    }
    pairs = [Difference(key, before.get(key), after.get(key)) for key in {**before, **after}]
    scores = [d for d in pairs if d.size > 0]
    logits = list(_compare_logits(recorded_logits or {}, logits_now or {}))
    differences = [*scores, *(d.first for d in logits if d.first is not None)]
    beyond = [d for d in differences if d.now is None or (d in scores and d.size > TOLERANCE)]
    return Agreement(
        "different" if beyond else "within tolerance" if differences else "identical",
        len(pairs) + sum(d.compared for d in logits),
        len(scores) + sum(d.unequal for d in logits),
        next(iter(beyond or differences), None),
        max(scores, key=lambda d: d.size, default=None),
        None if recorded_logits is None else max((d.largest for d in logits), default=0.0),
    )


def _scores(record: Record) -> dict[str, float]:
    """Return every score of a record by its place."""
    parts = {
        name: getattr(record, name)
        for name in ("history", "metrics", "evaluation", "deployed", "temperature")
    }
    scores = _flatten(msgspec.to_builtins(parts), "")
    return {
        where: value
        for where, value in scores
        if not (where.endswith(".seconds") or (_of_epoch(where) and math.isnan(value)))
    }


def _of_epoch(where: str) -> bool:
    """Whether this is the place of a test score that an epoch may lack."""
    return where.startswith(("history", "metrics.best")) and ".test." in where


def _flatten(value: Any, where: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flatten(item, f"{where}.{key}" if where else key)
    elif isinstance(value, list | tuple):
        for place, item in enumerate(value):
            yield from _flatten(item, f"{where}[{place}]")
    elif isinstance(value, int | float):
        yield where, value


@dataclass(frozen=True)
class _LogitsDifference:
    """Differences of the logits of one split."""

    compared: int
    unequal: int = 0
    largest: float = 0.0
    first: Difference | None = None


def _compare_logits(
    recorded: Mapping[str, Predictions], now: Mapping[str, Predictions]
) -> Iterator[_LogitsDifference]:
    """Compare the logits of each split, and losses of heads on bootstrap samples if recorded.

    Those of other images or shapes all differ.
    """
    for split, before in recorded.items():
        after = now.get(split)
        for name in ("logits", "bootstrap"):
            old: Any = getattr(before, name)
            new: Any = getattr(after, name, None)
            if old is None:
                continue
            if after is None or before.images != after.images or old.shape != np.shape(new):
                other = Difference(f"{split}.images", len(before.images), None)
                yield _LogitsDifference(old.size, old.size, math.inf, other)
            else:
                yield _compare_tensors(f"{split}.{name}", old, new)


def _compare_tensors(
    name: str, old: NDArray[np.float32], new: NDArray[np.float32]
) -> _LogitsDifference:
    places = np.argwhere((old != new) & ~(np.isnan(old) & np.isnan(new)))
    if not len(places):
        return _LogitsDifference(old.size)
    before, after = (each[tuple(places.T)].astype(np.float64) for each in (old, new))
    sizes = np.nan_to_num(np.abs(before - after), nan=math.inf)
    first = Difference(f"{name}{places[0].tolist()}", float(before[0]), float(after[0]))
    return _LogitsDifference(old.size, len(places), float(sizes.max()), first)
