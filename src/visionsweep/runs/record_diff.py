"""Whether two runs came to the same numbers, and where they first do not; imports no torch."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from visionsweep.analysis.predictions import Predictions
from visionsweep.runs.record import Record
from visionsweep.runs.scores import Epoch

TOLERANCE = 1e-6  # of a score; absolute
_SPLITS = ("train", "val", "test")

Verdict = Literal["identical", "within tolerance", "different"]


@dataclass(frozen=True)
class Place:
    """Where a number stands.

    Attributes:
        part: `history`, `metrics.final`, `metrics.best`, `evaluation` or `logits`.
        metric: what it is, `loss` and the like; `value` of a logit.
        split: of the images; None for what belongs to none, as the learning rate.
        epoch: its number, from 1.
        replicate: its number, from 1; None for what is the mean of all.
        image: its number in its split, from 1.
    """

    part: str
    metric: str
    split: str | None = None
    epoch: int | None = None
    replicate: int | None = None
    image: int | None = None

    def __str__(self) -> str:
        numbered = [
            f"{name} {number}"
            for name, number in (
                ("epoch", self.epoch), ("replicate", self.replicate), ("image", self.image)
            )
            if number is not None
        ]  # fmt: skip
        what = f"{self.split} {self.metric}" if self.split else self.metric
        where = [] if self.part == "history" else [self.part]
        return ", ".join([*where, *numbered, what])


@dataclass(frozen=True)
class Difference:
    """One number that came out otherwise.

    Attributes:
        where: which number.
        recorded: what it was; None for one that was not there.
        now: what it is; None for one that is not there.
    """

    where: Place
    recorded: float | None
    now: float | None

    @property
    def size(self) -> float:
        """How far apart they are: infinite where one of them is missing or no number."""
        if self.recorded is None or self.now is None:
            return math.inf
        apart = abs(self.recorded - self.now)
        return math.inf if math.isnan(apart) else apart

    def __str__(self) -> str:
        then, now = ("nothing" if v is None else repr(v) for v in (self.recorded, self.now))
        return f"{self.where}: {then} was recorded, now {now}"


@dataclass(frozen=True)
class Agreement:
    """What comparing two runs came to.

    Attributes:
        verdict: `identical` to the last bit; `within tolerance` where scores differ by `TOLERANCE`
            at most; or `different`.
        compared: how many numbers, scores and logits.
        unequal: how many of them are not the same to the last bit.
        first: the first that differs: by more than the tolerance, where the verdict is `different`.
        largest: the score that differs most.
        logits: by how much logits differ at most; None where the record kept none.
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
    """Compare two runs, number by number.

    What the record does not keep, since an earlier version wrote it, is not compared.

    Args:
        recorded: the record of a completed run.
        now: the record of the same run, made again.
        recorded_logits: the predictions of each split beside the record.
        logits_now: those of now.
    """
    before, after = dict(_scores(recorded)), dict(_scores(now))
    replicated = any(epoch.replicates for epoch in recorded.history)
    after = {
        where: value
        for where, value in after.items()
        if where in before or (where.part != "evaluation" and (replicated or not where.replicate))
    }
    places = sorted({**before, **after}, key=_in_order)
    pairs = [Difference(where, before.get(where), after.get(where)) for where in places]
    scores = [pair for pair in pairs if not _same(pair.recorded, pair.now)]
    seen = _Logits([], 0.0, 0, 0)
    if recorded_logits is not None:
        seen = _compare_logits(recorded_logits, logits_now or {})
    found = [*scores, *seen.first]
    beyond = [d for d in scores if d.size > TOLERANCE] + [d for d in seen.first if d.now is None]
    return Agreement(
        "different" if beyond else "within tolerance" if found else "identical",
        len(places) + seen.compared,
        len(scores) + seen.unequal,
        next(iter(beyond or found), None),
        max(scores, key=lambda d: d.size, default=None),
        None if recorded_logits is None else seen.apart,
    )


def _same(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return one == other or (math.isnan(one) and math.isnan(other))


def _in_order(where: Place) -> tuple[int, ...]:
    """Sort numbers as they came about: epoch by epoch, then what was made of them."""
    parts = ("history", "metrics.final", "metrics.best", "evaluation")
    split = _SPLITS.index(where.split) if where.split else -1
    last = 10**9
    return (parts.index(where.part), where.epoch or 0, where.replicate or last, split)


def _scores(record: Record) -> Iterator[tuple[Place, float]]:
    """List every score of a record with its place."""
    for epoch in record.history:
        yield Place("history", "learning rate", epoch=epoch.epoch), epoch.learning_rate
        yield from _of_epoch(epoch)
    if record.metrics is not None:
        for when, scores in (("final", record.metrics.final), ("best", record.metrics.best)):
            yield Place(f"metrics.{when}", "epoch"), scores.epoch
            for split in _SPLITS:
                for metric in ("loss", "accuracy"):
                    value = getattr(getattr(scores, split), metric)
                    yield Place(f"metrics.{when}", metric, split), value
    for split, measures in record.evaluation.items():
        for metric, measure in measures.items():
            for bound in ("value", "low", "high"):
                name = metric if bound == "value" else f"{metric} ({bound})"
                yield Place("evaluation", name, split), getattr(measure, bound)
            for number, value in enumerate(measure.replicates, 1):
                yield Place("evaluation", metric, split, replicate=number), value


def _of_epoch(epoch: Epoch) -> Iterator[tuple[Place, float]]:
    everyone = [*enumerate(epoch.replicates, 1), (None, epoch)]
    for number, of in everyone:
        for split in _SPLITS:
            scores = getattr(of, split)
            for metric in ("loss", "accuracy"):
                where = Place("history", metric, split, epoch.epoch, number)
                yield where, getattr(scores, metric)


@dataclass
class _Logits:
    """The first logit of each split that differs, by how much at most, and how many there are."""

    first: list[Difference]
    apart: float
    compared: int
    unequal: int


def _compare_logits(recorded: Mapping[str, Predictions], now: Mapping[str, Predictions]) -> _Logits:
    """Compare logits; a split of other images, replicates or classes differs as a whole."""
    seen = _Logits([], 0.0, 0, 0)
    for split, before in recorded.items():
        seen.compared += before.logits.size
        after = now.get(split)
        if after is None or not _comparable(before, after):
            place = Place("logits", "images", split)
            seen.first.append(Difference(place, len(before.images), None))
            seen.apart, seen.unequal = math.inf, seen.unequal + before.logits.size
            continue
        both_nan = np.isnan(before.logits) & np.isnan(after.logits)
        unequal = (before.logits != after.logits) & ~both_nan
        if not unequal.any():
            continue
        sizes = np.abs(before.logits[unequal].astype(np.float64) - after.logits[unequal])
        seen.apart = max(seen.apart, math.inf if np.isnan(sizes).any() else float(sizes.max()))
        seen.unequal += len(sizes)
        replicate, image, label = (int(k) for k in np.argwhere(unequal)[0])
        place = Place("logits", "value", split, replicate=replicate + 1, image=image + 1)
        old, new = (float(each.logits[replicate, image, label]) for each in (before, after))
        seen.first.append(Difference(place, old, new))
    return seen


def _comparable(one: Predictions, other: Predictions) -> bool:
    return one.images == other.images and one.logits.shape == other.logits.shape
