"""Finds the records of runs under folders, and reads them back."""

import math
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import msgspec

from visionsweep.runs import claims
from visionsweep.runs.paths import CLAIM, RECORD, refuse_no_folder
from visionsweep.runs.record import Failure, Record, RecordSummary, Status
from visionsweep.runs.record_file import read_record, read_summary
from visionsweep.runs.scores import Epoch
from visionsweep.storage.files import why
from visionsweep.storage.untrusted import UntrustedFileError


@dataclass(frozen=True)
class Run:
    """A run on disk: its directory and its record, which `find_runs` reads without its history."""

    directory: Path
    record: RecordSummary

    @property
    def history(self) -> list[Epoch]:
        """What each epoch came to, read now; empty if it cannot be read any more."""
        if isinstance(self.record, Record):
            return self.record.history
        try:
            return read_record(self.directory / RECORD).history
        except (ValueError, OSError):
            return []


@dataclass(frozen=True)
class FoundRuns:
    """What lies under the folders that were asked for.

    Attributes:
        runs: in the order of their directories; those that run now or crashed have a record that
            says no more than that.
        skipped: files that are no record, with the reason.
        duplicates: runs that are one of `runs` again, to the last digit, with that one: taken
            over from it, or trained once more.
    """

    runs: list[Run]
    skipped: list[str]
    duplicates: list[tuple[Run, Run]] = field(default_factory=list)

    @property
    def unfinished(self) -> list[Run]:
        """The runs that failed, were interrupted, crashed, or are not done yet."""
        return [run for run in self.runs if run.record.status != "completed"]


def find_runs(folders: Iterable[Path]) -> FoundRuns:
    """Read every record below some folders; broken and foreign files are passed over and named.

    Raises:
        UserError: if there is no such folder.
    """
    runs: list[Run] = []
    seen: set[str] = set()
    skipped: list[str] = []
    for folder in folders:
        refuse_no_folder(folder)
        for directory, place, claimed in _run_directories(folder):
            if place in seen:
                continue
            seen.add(place)
            try:
                if found := _read(directory, claimed=claimed):
                    runs.append(Run(directory, found))
            except OSError as error:
                skipped.append(f"{directory / RECORD}: {why(error)}")
            except ValueError as error:
                skipped.append(f"{directory / RECORD}: {error}")
    return _each_once(runs, skipped)


def _each_once(runs: Sequence[Run], skipped: list[str]) -> FoundRuns:
    """Part runs from those that say the same: counted twice they would pass for two trials."""
    first: dict[tuple[str, bytes], Run] = {}
    counted, again = [], []
    for run in sorted(runs, key=lambda run: run.record.reused_from is not None):
        known = run.record
        if known.status != "completed" or known.fingerprint is None:
            counted.append(run)
            continue
        key = known.fingerprint, msgspec.json.encode((known.metrics, known.evaluation))
        original = first.setdefault(key, run)
        if original is run:
            counted.append(run)
        else:
            again.append((run, original))
    return FoundRuns(sorted(counted, key=lambda run: run.directory.parts), skipped, again)


_NO_RUNS = {".hydra"}  # in every run's directory


def _run_directories(folder: Path) -> list[tuple[Path, str, bool]]:
    """Return the directories of runs below a folder in order, where each really is, and if claimed.

    Links to folders are not followed; so where a run really lies follows from where the folder
    does. A record that is a link is passed over when it is read.
    """
    top, real_top = str(folder), os.path.realpath(folder)
    found = []
    for directory, folders, files in os.walk(top):
        folders[:] = [name for name in folders if name not in _NO_RUNS]
        claimed = CLAIM in files or CLAIM in folders
        if claimed or RECORD in files or RECORD in folders:
            found.append((Path(directory), real_top + directory[len(top) :], claimed))
    return sorted(found, key=lambda each: each[0].parts)


def _read(directory: Path, *, claimed: bool) -> RecordSummary | None:
    """Say what became of a run: what its claim says while its process lives, then its record."""
    try:
        claim = claims.find(directory) if claimed else None
    except UntrustedFileError as error:
        raise ValueError(f"the {CLAIM} beside it {error}") from error
    if claim is not None and claim.claim is not None and claim.alive:
        return _without_record(directory, claim, "running")
    try:
        return read_summary(directory / RECORD)
    except FileNotFoundError:
        if claim is None:
            return None
        return _without_record(directory, claim, "running" if claim.alive else "crashed")


def _without_record(directory: Path, found: claims.Found, status: Status) -> Record:
    said = "is at work" if status == "running" else "is gone without a word"
    return Record(
        status=status,
        name=found.claim.name if found.claim else directory.name,
        config={},
        started=found.claim.taken if found.claim else _moment(found.heard),
        failure=Failure(status.title(), f"{found.holder} {said}"),
    )


def _moment(seconds: float) -> str:
    """Return a time of a file as a record has it; a file can claim any, in the year 30000 too."""
    try:
        moment = datetime.fromtimestamp(seconds).astimezone()
    except (ValueError, OverflowError, OSError):
        moment = datetime.now().astimezone()
    return moment.isoformat(timespec="seconds")


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
