"""Runs of two sweeps with equal settings, and their paired differences."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from visionsweep.analysis.comparison import corrected_difference
from visionsweep.analysis.contributions import mean_of
from visionsweep.analysis.intervals import Estimate
from visionsweep.config.derived import result_settings
from visionsweep.report.recipes import common_images, compared_losses
from visionsweep.runs import logits, record_diff
from visionsweep.runs.discovery import Run, val_loss
from visionsweep.runs.paths import RECORD
from visionsweep.runs.record_diff import Verdict
from visionsweep.runs.record_file import read_record


@dataclass(frozen=True)
class Pair:
    """A run and the earlier one with equal settings.

    Attributes:
        images: number of images that both were scored on; 0 if they are not compared.
        loss: difference of the deployed predictors' losses, run minus earlier run; None if they are
            not compared.
        accuracy: the same of their accuracies, a share of 1.
        agreement: whether all numbers of the two are identical; None if the images are others.
        reason: why they are not compared; empty if they are.
    """

    run: Run
    earlier: Run
    images: int = 0
    loss: Estimate | None = None
    accuracy: Estimate | None = None
    agreement: Verdict | None = None
    reason: str = ""

    @property
    def is_worse(self) -> bool:
        """Whether the loss is significantly higher, or the accuracy significantly lower."""
        return self._beyond(1)

    @property
    def is_better(self) -> bool:
        """Whether the loss is significantly lower, or the accuracy significantly higher."""
        return self._beyond(-1)

    def _beyond(self, sign: int) -> bool:
        if self.loss is None or self.accuracy is None:
            return False
        losses, accuracies = (
            [sign * low, sign * high]
            for low, high in ((e.low, e.high) for e in (self.loss, self.accuracy))
        )
        return min(losses) > 0 or max(accuracies) < 0


@dataclass(frozen=True)
class Matched:
    """Runs of two sweeps by their settings.

    Attributes:
        pairs: completed runs with equal settings, each with the earlier one.
        broken: runs that are not completed though the earlier ones are, each with it.
        added: completed runs without an earlier one.
        removed: earlier completed runs without a later one.
        changed: settings in which all runs of one sweep differ from all of the other; runs are
            paired in spite of them.
    """

    pairs: list[tuple[Run, Run]]
    broken: list[tuple[Run, Run]]
    added: list[Run]
    removed: list[Run]
    changed: frozenset[str]


def match(runs: Sequence[Run], earlier: Sequence[Run]) -> Matched:
    """Pair the runs of two sweeps whose settings are equal; of equal runs the latest counts.

    Where a setting has one value in all runs of a sweep and another in all of the other, it is what
    changed, and does not keep runs from being paired.
    """
    now, then = ([result_settings(run.record.config) for run in side] for side in (runs, earlier))
    keys = dict.fromkeys(key for given in [*now, *then] for key in given)
    changed = frozenset(key for key in keys if _replaced(key, now, then))
    ours, theirs = _by_settings(runs, now, changed), _by_settings(earlier, then, changed)
    both = [(run, theirs[key]) for key, run in ours.items() if key in theirs]
    both = [(run, before) for run, before in both if _done(before)]
    return Matched(
        [pair for pair in both if _done(pair[0])],
        [pair for pair in both if not _done(pair[0])],
        [run for key, run in ours.items() if _done(run) and not _done(theirs.get(key))],
        [run for key, run in theirs.items() if _done(run) and key not in ours],
        changed,
    )


def _done(run: Run | None) -> bool:
    return run is not None and run.record.status == "completed"


def _replaced(
    key: str, now: Sequence[Mapping[str, Any]], then: Sequence[Mapping[str, Any]]
) -> bool:
    values, before = ({repr(given.get(key)) for given in side} for side in (now, then))
    return len(values) == len(before) == 1 and values != before


def _by_settings(
    runs: Sequence[Run], settings: Sequence[Mapping[str, Any]], changed: frozenset[str]
) -> dict[str, Run]:
    """Return runs by the settings that count, completed and late ones in the place of others."""
    by_settings = {}
    pairs = zip(runs, settings, strict=True)
    for run, given in sorted(pairs, key=lambda pair: (_done(pair[0]), pair[0].record.started)):
        counting = {k: v for k, v in given.items() if k not in changed and v is not None}
        if given:  # a crashed run has no settings
            by_settings[repr(sorted(counting.items()))] = run
    return by_settings


def compare_pairs(pairs: Sequence[tuple[Run, Run]]) -> list[Pair]:
    """Return the differences of each pair, with intervals of 95% for all of them together."""
    return [_compared(*pair, tests=2 * len(pairs)) for pair in pairs]


def _compared(run: Run, earlier: Run, *, tests: int) -> Pair:
    """Return the paired differences of two runs on the images in common.

    Args:
        run: the later run.
        earlier: the earlier run.
        tests: number of differences that the 95% are for (Bonferroni).
    """
    now, then = run.record, earlier.record
    assert now.data is not None and then.data is not None
    if now.data.classes != then.data.classes:
        return Pair(run, earlier, reason="the classes differ")
    if now.evidence != then.evidence:
        return Pair(run, earlier, reason="only one of them is cross-fitted")
    if not all(map(math.isfinite, (val_loss(run), val_loss(earlier)))):
        return Pair(run, earlier, reason="training diverged")
    deployed = now.temperature is not None and then.temperature is not None
    try:
        images = common_images([earlier, run])
        if images is not None and not images:
            return Pair(run, earlier, reason="no validation image is in both")
        before, after = (
            compared_losses(each, images, deployed=deployed) for each in (earlier, run)
        )
        agreement = _agreement(run, earlier) if images is None else None
    except (ValueError, OSError) as error:
        return Pair(run, earlier, reason=f"{logits.FILE_NAME}: {error}")
    if before is None or after is None:
        return Pair(run, earlier, reason="predictions were not recorded")
    loss = corrected_difference(before, after, tests=tests)
    ours, theirs = (mean_of(each.correct, each.groups) for each in (after, before))
    accuracy = ours.minus(theirs, tests=tests)
    return Pair(run, earlier, len(after.images), loss, accuracy, agreement)


def _agreement(run: Run, earlier: Run) -> Verdict:
    before, after = (read_record(each.directory / RECORD) for each in (earlier, run))
    scored = [logits.read(each.directory, each.record) for each in (earlier, run)]
    return record_diff.compare(before, after, *scored).verdict
