"""Finds the records of runs under folders, and reads them back."""

import math
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from visionsweep.errors import UserError
from visionsweep.tracking import claims, record
from visionsweep.tracking.record import Failure, Record


@dataclass(frozen=True)
class Run:
    """A run on disk: its directory and its record."""

    directory: Path
    record: Record


@dataclass(frozen=True)
class Found:
    """What lies under the folders that were asked for.

    Attributes:
        runs: in the order of their directories; those that run now or crashed have a record that
            says no more than that.
        passed_over: files that are no record, with the reason.
        counted_already: runs that were taken over from one that is among `runs`.
    """

    runs: list[Run]
    passed_over: list[str]
    counted_already: list[Run] = field(default_factory=list)

    @property
    def unfinished(self) -> list[Run]:
        """The runs that failed, were interrupted, crashed, or are not done yet."""
        return [run for run in self.runs if run.record.status != "completed"]


def find_runs(folders: Iterable[Path]) -> Found:
    """Read every record below some folders; broken and foreign files are passed over and named.

    Raises:
        UserError: if there is no such folder.
    """
    runs: list[Run] = []
    seen: set[Path] = set()
    passed_over: list[str] = []
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder; runs lie under outputs/")
        for directory, claimed in _run_directories(folder):
            if (place := directory.resolve()) in seen:
                continue
            seen.add(place)
            try:
                if found := _read(directory, claimed=claimed):
                    runs.append(Run(directory, found))
            except (ValueError, OSError) as error:
                passed_over.append(f"{directory / record.FILE_NAME}: {error}")
    again = [run for run in runs if _is_copy(run, seen)]
    return Found([run for run in runs if run not in again], passed_over, again)


def _run_directories(folder: Path) -> Iterator[tuple[Path, bool]]:
    """Yield the directories of runs, sorted, and whether each has a claim."""
    places = [
        (Path(place), claims.FILE_NAME in files)
        for place, folders, files in os.walk(folder)
        if record.FILE_NAME in [*files, *folders] or claims.FILE_NAME in files
    ]
    return iter(sorted(places))


def _read(directory: Path, *, claimed: bool) -> Record | None:
    """Say what became of a run: what its claim says while its process lives, then its record."""
    claim = claims.find(directory) if claimed else None
    if claim is not None and claim.alive:
        return _without_record(directory, claim, "running")
    try:
        return record.read(directory / record.FILE_NAME)
    except FileNotFoundError:
        return _without_record(directory, claim, "crashed") if claim is not None else None


def _without_record(directory: Path, found: claims.Found, status: record.Status) -> Record:
    said = "is at work" if status == "running" else "is gone without a word"
    return Record(
        status=status,
        name=found.claim.name if found.claim else directory.name,
        config={},
        started=found.claim.taken if found.claim else "",
        failure=Failure(status.title(), f"{found.holder} {said}"),
    )


def _is_copy(run: Run, seen: set[Path]) -> bool:
    source = run.record.reused_from
    return source is not None and Path(source).resolve() in seen


def val_loss(run: Run) -> float:
    """Return what runs are ranked by: the final validation loss.

    Infinite where the run is not completed, or diverged.
    """
    metrics = run.record.metrics
    if run.record.status != "completed" or metrics is None or math.isnan(metrics.final.val.loss):
        return math.inf
    return metrics.final.val.loss


def completed(runs: Iterable[Run]) -> list[Run]:
    """Return the completed runs, lowest validation loss first."""
    return sorted((r for r in runs if r.record.status == "completed"), key=val_loss)


def comparable(runs: Iterable[Run]) -> list[list[Run]]:
    """Group completed runs by the validation images they were scored on: only those are ranked."""
    groups: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        assert run.record.data is not None
        groups[run.record.data.digests["val"]].append(run)
    return list(groups.values())
