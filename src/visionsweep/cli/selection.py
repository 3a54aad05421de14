"""What a command is about: which run is asked, and about which images."""

import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from visionsweep.data.listing import LeftOut, Listing, list_folder
from visionsweep.errors import UserError, nearest_path, why_no_folder
from visionsweep.report.evidence import gather
from visionsweep.report.numbers import counted
from visionsweep.report.recommendation import SHORT
from visionsweep.runs.discovery import Run, comparable, completed, find_runs, val_loss
from visionsweep.runs.paths import RECORD
from visionsweep.runs.record_file import read_record
from visionsweep.text import shell
from visionsweep.text.escaping import one_line
from visionsweep.text.paths import as_text

_MOST_LISTED = 10  # runs in a message


def choose_run(folder: Path) -> tuple[Run, str]:
    """Choose the recommended run below a folder, or the best one, and say how it was chosen.

    Runs that were scored on other validation images cannot be compared: where there are several
    kinds, those of the latest run's kind take part. Records and predictions that cannot be used are
    named on standard error.

    Raises:
        UserError: if there is no completed run, or all of them diverged.
    """
    discovered = find_runs([folder])
    _name_unused(discovered.skipped)
    finished = completed(discovered.runs)
    if not finished:
        raise UserError(f"{folder}: holds no completed run; train one with python src/train.py")
    finished = [run for run in finished if math.isfinite(val_loss(run))]
    if not finished:
        raise UserError(
            f"{folder}: training diverged, so there is no model to ask; train again with a smaller "
            "optimizer.lr"
        )
    latest = max(finished, key=lambda run: run.record.started)
    group = next(group for group in comparable(finished) if latest in group)
    if (folder / RECORD).is_file():
        return group[0], "as named"
    if len(finished) == 1:
        return group[0], "the only completed run"
    others = [run for run in finished if run not in group]
    evidence = gather(group)
    if not evidence.rows:
        raise UserError("; ".join(evidence.passed_over), where=folder)
    _name_unused(evidence.passed_over)
    compared = sum(len(row.runs) for row in evidence.rows)
    of_all = f"of {counted(compared, 'run')} on {group[0].record.dataset}"
    chosen = f"recommended {of_all}"
    if evidence.recommended is None:
        chosen = (
            f"lowest {evidence.kind} loss {of_all}; none is recommended: {SHORT[evidence.withheld]}"
        )
    left = f"; {counted(len(others), 'run')} {_apart(group[0], others)} left out" if others else ""
    return evidence.chosen, chosen + left


def _name_unused(files: Sequence[str]) -> None:
    for line in files:
        print(f"passed over {one_line(line)}", file=sys.stderr)


def _apart(run: Run, others: Sequence[Run]) -> str:
    """Return why other runs cannot be compared with a run."""
    kinds = {other.record.evidence for other in others} - {run.record.evidence}
    return "on other images or evidence" if kinds else "on other images"


def named_run(place: Path, command: str = "evaluate") -> Run:
    """Return the completed run that a directory or a `result.json` holds.

    Raises:
        UserError: if there is none, or if it did not complete; of a folder of runs, with their
            commands to paste.
    """
    file = place / RECORD if place.is_dir() else place
    if not file.is_file():
        raise _no_run(place, command)
    if file.name != RECORD:
        raise UserError(
            "is no record of a run", where=file, hint=f"Name a run's directory or its {RECORD}"
        )
    try:
        record = read_record(file)
    except (ValueError, OSError) as error:
        raise UserError(f"{file}: {error}") from error
    if record.status != "completed":
        reason = f" ({record.failure.type}: {record.failure.message})" if record.failure else ""
        raise UserError(f"{file}: this run is {record.status}{reason}; name a completed one")
    return Run(file.parent, record)


def _no_run(place: Path, command: str) -> UserError:
    """Say what a place is that holds no record: a folder of runs, of images, or nothing."""
    what, hint = "this folder holds no run", f"Name a folder that holds {RECORD}"
    runs = find_runs([place]).runs if place.is_dir() else []
    if not os.path.lexists(place):
        what = f"no such folder or file{nearest_path(place)}"
    elif not place.is_dir():
        what = why_no_folder(place)
    elif best_first := completed(runs):
        shown = best_first[:_MOST_LISTED]
        lines = [shell.run(command, run.directory) for run in shown]
        if more := len(best_first) - len(shown):
            lines.append(f"and {more} more")
        unfinished = len(runs) - len(best_first)
        others = f" ({unfinished} more did not complete)" if unfinished else ""
        what = f"is a folder of {counted(len(best_first), 'completed run')}{others}, not a run"
        hint = "\n  ".join(["Name one of them, lowest validation loss first:", *lines])
    elif runs:
        what = f"is a folder of {counted(len(runs), 'run')}, none of which completed"
        hint = "python src/compare.py says why"
    elif list_folder(place).images:
        what = "is a folder of images, not a run"
    return UserError(what, where=place, hint=hint)


def expand(paths: Sequence[Path]) -> Listing:
    """List the images that are meant: files as they are, folders with all images below them.

    A file that is not there is kept in the list, to be reported, unless none of them is there.

    Raises:
        UserError: if a folder holds no picture, or if nothing of what is named is there.
    """
    if not any(os.path.lexists(path) for path in paths):
        first = paths[0]
        also = f" (nor are the {len(paths) - 1} others)" if len(paths) > 1 else ""
        raise UserError(
            f"no such file{also}{nearest_path(first)}",
            where=first,
            hint="Name an image or a folder of images",
        )
    listing = Listing()
    for path in paths:
        if not path.is_dir():
            if path.exists() and not path.is_file():  # reading a named pipe would wait forever
                listing.left_out.append(LeftOut(path, "not a regular file"))
            else:
                listing.images.append(path)
            continue
        inside = list_folder(path)
        if not (inside.images or inside.left_out):
            raise UserError("this folder holds no image", where=as_text(path))
        listing.images += inside.images
        listing.left_out += inside.left_out
        listing.ignored += inside.ignored
    return listing
