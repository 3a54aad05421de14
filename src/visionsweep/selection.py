"""What a command is about: which run is asked, and about which images."""

import math
from collections.abc import Sequence
from pathlib import Path

from visionsweep.data.listing import LeftOut, Listing, list_folder
from visionsweep.errors import UserError
from visionsweep.path_text import as_text
from visionsweep.report.numbers import counted
from visionsweep.tracking import record
from visionsweep.tracking.folders import RECORD
from visionsweep.tracking.runs import Run, comparable, completed, find_runs, val_loss


def choose_run(folder: Path) -> tuple[Run, str]:
    """Choose the best run below a folder, by validation loss.

    Runs that were scored on other validation images cannot be compared: where there are several
    kinds, those of the latest run's kind take part.

    Args:
        folder: a run's directory, a sweep's, or all outputs.

    Returns:
        The run, and a sentence on how it was chosen.

    Raises:
        UserError: if there is no completed run, or all of them diverged.
    """
    finished = completed(find_runs([folder]).runs)
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
    others = len(finished) - len(group)
    chosen = f"lowest validation loss of {counted(len(group), 'run')} on {group[0].record.dataset}"
    left = f"; {counted(others, 'run')} on other images left out" if others else ""
    return group[0], chosen + left


def named_run(place: Path) -> Run:
    """Return the completed run that a directory or a `result.json` holds.

    Raises:
        UserError: if there is none, or if it did not complete.
    """
    file = place / RECORD if place.is_dir() else place
    if not file.is_file():
        raise UserError(f"{place}: no run is kept here; name a folder that holds {RECORD}")
    try:
        found = record.read(file)
    except (ValueError, OSError) as error:
        raise UserError(f"{file}: {error}") from error
    if found.status != "completed":
        reason = f" ({found.failure.type}: {found.failure.message})" if found.failure else ""
        raise UserError(
            f"{file}: this run is {found.status}{reason}; it came to nothing. Name a completed run"
        )
    return Run(file.parent, found)


def expand(paths: Sequence[Path]) -> Listing:
    """List the images that are meant: files as they are, folders with all images below them.

    Raises:
        UserError: if a folder holds no picture.
    """
    found = Listing()
    for path in paths:
        if not path.is_dir():
            if path.exists() and not path.is_file():  # reading a named pipe would wait forever
                found.left_out.append(LeftOut(path, "not a regular file"))
            else:
                found.images.append(path)
            continue
        inside = list_folder(path)
        if not (inside.images or inside.left_out):
            raise UserError("this folder holds no image", where=as_text(path))
        found.images += inside.images
        found.left_out += inside.left_out
        found.ignored += inside.ignored
    return found
