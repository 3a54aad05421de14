"""Find runs below folders, and read their records."""

import math
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

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
    """A run on disk: its directory and its record, read without history by `find_runs`."""

    directory: Path
    record: RecordSummary

    @property
    def whole(self) -> Record | None:
        """The record with all of its parts, read on demand; None if it is no longer readable."""
        if isinstance(self.record, Record):
            return self.record
        try:
            return read_record(self.directory / RECORD)
        except (ValueError, OSError):
            return None

    @property
    def history(self) -> list[Epoch]:
        """Scores per epoch, read on demand; empty if the record is no longer readable."""
        return [] if (whole := self.whole) is None else whole.history


@dataclass(frozen=True)
class FoundRuns:
    """Runs below some folders."""

    runs: list[Run]  # by directory; running and crashed ones have little but their status
    skipped: list[str]  # one line per unreadable or invalid record, `FILE: reason`
    # Reused or repeated runs, each with the one in `runs` whose results are bitwise identical.
    duplicates: list[tuple[Run, Run]]

    @property
    def unfinished(self) -> list[Run]:
        """Runs that failed, were interrupted, crashed, or are running."""
        return [run for run in self.runs if run.record.status != "completed"]


def find_runs(folders: Iterable[Path]) -> FoundRuns:
    """Read every record below some folders; invalid ones are skipped and reported.

    Raises:
        UserError: if a folder does not exist.
    """
    runs: list[Run] = []
    seen: set[str] = set()
    skipped: list[str] = []
    parts: dict[str, Any] = {}  # of configurations; runs have most in common
    for folder in folders:
        refuse_no_folder(folder)
        for directory, place, claimed in _run_directories(folder):
            if place in seen:
                continue
            seen.add(place)
            try:
                if record := _read(directory, claimed=claimed):
                    record.config = {
                        name: parts.setdefault(repr(part), part)
                        for name, part in record.config.items()
                    }
                    runs.append(Run(directory, record))
            except OSError as error:
                skipped.append(f"{directory / RECORD}: {why(error)}")
            except ValueError as error:
                skipped.append(f"{directory / RECORD}: {error}")
    return _without_duplicates(runs, skipped)


def _without_duplicates(runs: Sequence[Run], skipped: list[str]) -> FoundRuns:
    """Separate duplicates, which would otherwise count as independent runs."""
    first: dict[object, Run] = {}
    duplicates = []
    for run in sorted(runs, key=lambda run: run.record.reused_from is not None):
        key, record = object(), run.record
        if record.status == "completed" and record.fingerprint is not None:
            scores = msgspec.json.encode((record.metrics, record.evaluation))
            key = record.fingerprint, scores
        if (original := first.setdefault(key, run)) is not run:
            duplicates.append((run, original))
    distinct = sorted(first.values(), key=lambda run: run.directory.parts)
    return FoundRuns(distinct, skipped, duplicates)


def _run_directories(folder: Path) -> list[tuple[Path, str, bool]]:
    """Return the run directories below a folder in order, with real path and whether claimed.

    Links to folders are not followed, so the real path of a run follows from that of the folder.
    """
    top, real_top = str(folder), os.path.realpath(folder)
    directories = []
    for directory, folders, files in os.walk(top):
        folders[:] = [name for name in folders if name != ".hydra"]  # one per run, without runs
        claimed = CLAIM in files or CLAIM in folders
        if claimed or RECORD in files or RECORD in folders:
            directories.append((Path(directory), real_top + directory[len(top) :], claimed))
    return sorted(directories, key=lambda entry: entry[0].parts)


def _read(directory: Path, *, claimed: bool) -> RecordSummary | None:
    """Return the status of a run while its process is alive, else its record, or None."""
    try:
        claim = claims.find(directory) if claimed else None
    except UntrustedFileError as error:
        raise ValueError(f"the {CLAIM} beside it {error}") from error
    if claim is None or claim.claim is None or not claim.alive:
        try:
            return read_summary(directory / RECORD)
        except FileNotFoundError:
            if claim is None:
                return None
    status: Status = "running" if claim.alive else "crashed"
    event = "is running" if claim.alive else "ended without writing a record"
    return Record(
        status=status,
        name=claim.claim.name if claim.claim else directory.name,
        config={},
        started=claim.claim.taken if claim.claim else _moment(claim.heard),
        failure=Failure(status.title(), f"{claim.holder} {event}"),
    )


def _moment(seconds: float) -> str:
    """Return a file time in ISO 8601; now if it is out of range, as in the year 30000."""
    try:
        moment = datetime.fromtimestamp(seconds).astimezone()
    except (ValueError, OverflowError, OSError):
        moment = datetime.now().astimezone()
    return moment.isoformat(timespec="seconds")


def val_loss(run: Run) -> float:
    """Return the loss that a run is ranked by; infinite if it diverged or is not completed.

    That is the final validation loss, or the cross-fitted one.
    """
    scores = run.record.compared
    if run.record.status != "completed" or scores is None or math.isnan(scores.loss):
        return math.inf
    return scores.loss


def completed(runs: Iterable[Run]) -> list[Run]:
    """Return the completed runs, lowest validation loss first."""
    return sorted((r for r in runs if r.record.status == "completed"), key=val_loss)


def comparable(runs: Iterable[Run]) -> list[list[Run]]:
    """Group completed runs by their validation images, and by the split that they are compared on.

    Only runs of one group are ranked.
    """
    groups: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in runs:
        assert run.record.data is not None
        groups[run.record.data.digests["val"], run.record.evidence].append(run)
    return list(groups.values())
