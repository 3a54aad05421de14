"""Finds the records of runs under folders, and reads them back."""

import math
import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from visionsweep.errors import UserError
from visionsweep.scores import Epoch
from visionsweep.tracking import record
from visionsweep.tracking.record import Record, Summary


@dataclass(frozen=True)
class Run:
    """A run on disk: its directory and its record, which `find_runs` reads without its history."""

    directory: Path
    record: Summary

    @property
    def history(self) -> list[Epoch]:
        """What each epoch came to, read now; empty if it cannot be read any more."""
        if isinstance(self.record, Record):
            return self.record.history
        try:
            return record.read(self.directory / record.FILE_NAME).history
        except (ValueError, OSError):
            return []


@dataclass(frozen=True)
class Found:
    """What lies under the folders that were asked for.

    Attributes:
        runs: in the order of their directories.
        passed_over: files that are no record, with the reason.
    """

    runs: list[Run]
    passed_over: list[str]

    @property
    def unfinished(self) -> list[Run]:
        """The runs that failed or were interrupted."""
        return [run for run in self.runs if run.record.status != "completed"]


def find_runs(folders: Iterable[Path]) -> Found:
    """Read every record below some folders; broken and foreign files are passed over and named.

    Raises:
        UserError: if there is no such folder.
    """
    runs: list[Run] = []
    seen: set[str] = set()
    passed_over: list[str] = []
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder; runs lie under outputs/")
        for path, place in _result_files(folder):
            if place in seen:
                continue
            seen.add(place)
            try:
                runs.append(Run(path.parent, record.read_summary(path)))
            except (ValueError, OSError) as error:
                passed_over.append(f"{path}: {error}")
    return Found(runs, passed_over)


_NO_RUNS = {".hydra"}  # in every run's directory


def _result_files(folder: Path) -> list[tuple[Path, str]]:
    """Return the records below a folder in order, each with where it really lies.

    Links to folders are not followed; so where a file really lies follows from where the folder
    does, unless the file is a link itself.
    """
    top, real_top = str(folder), os.path.realpath(folder)
    found = []
    for directory, folders, files in os.walk(top):
        folders[:] = [name for name in folders if name not in _NO_RUNS]
        if record.FILE_NAME in files or record.FILE_NAME in folders:
            path = Path(directory, record.FILE_NAME)
            real = real_top + directory[len(top) :] + os.sep + record.FILE_NAME
            found.append((path, os.path.realpath(path) if path.is_symlink() else real))
    return sorted(found, key=lambda each: each[0].parts)


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
