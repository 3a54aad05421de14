"""Near duplicates across the splits of a group of runs."""

from collections.abc import Sequence
from dataclasses import dataclass

from visionsweep.report.evidence import Evidence
from visionsweep.runs.discovery import Run
from visionsweep.runs.near_duplicates import MOST_PAIRS, NearDuplicates, Pair

_MOST_SETS = 8  # sets of training images whose records are read


@dataclass(frozen=True)
class SharedImages:
    """Near duplicates across splits, for each set of training images of a group of runs.

    Attributes:
        found: a run and its near duplicates, for each set of training images that has some.
        pairs: at most 24 of their pairs, each once.
        excluded: digests of the training images that some run excluded.
    """

    found: Sequence[tuple[Run, NearDuplicates]]
    pairs: Sequence[Pair]
    excluded: frozenset[str]

    @property
    def kept(self) -> list[str]:
        """The counts of each set of training images from which none was excluded, in words."""
        return [self._line(*each) for each in self.found if not each[1].excluded]

    @property
    def advice(self) -> str:
        """What follows from the counts of `kept`, in a sentence; may be empty."""
        advice = (found.advice for _, found in self.found if not found.excluded)
        return next(filter(None, advice), "")

    @property
    def reduced(self) -> list[str]:
        """The counts of each set of training images from which some were excluded, in words."""
        return [self._line(*each) for each in self.found if each[1].excluded]

    def _line(self, run: Run, found: NearDuplicates) -> str:
        return f"{run.record.name}: {found.counted}" if len(self.found) > 1 else found.counted


def shared_images(evidence: Evidence) -> SharedImages:
    """Read the near duplicates of the runs of a group: of the best run of each training set."""
    runs: dict[str, Run] = {}
    for row in evidence.rows:
        assert row.run.record.data is not None
        runs.setdefault(row.run.record.data.digests["train"], row.run)
    found = [
        (run, duplicates)
        for run in list(runs.values())[:_MOST_SETS]
        if (whole := run.whole) is not None
        and (duplicates := whole.near_duplicates) is not None
        and duplicates.overlaps
    ]
    pairs: dict[tuple[str, ...], Pair] = {}
    for _, duplicates in found:
        for pair in duplicates.pairs:
            pairs.setdefault(pair.digests, pair)
    worst = sorted(pairs.values(), key=Pair.order)
    excluded = frozenset(d for _, duplicates in found for d in duplicates.excluded)
    return SharedImages(found, worst[:MOST_PAIRS], excluded)
