"""Paths of outputs, sweeps, and run directories."""

import os
from pathlib import Path

from visionsweep.errors import UserError, why_no_folder

RECORD = "result.json"  # record of a run that has ended
CLAIM = "claim"  # claim of the process that trains a run
CHECKPOINT = "checkpoint.safetensors"  # checkpoint of an incomplete run
MULTIRUN_FILE = "multirun.yaml"  # written by Hydra to a sweep's directory before the first run


def default_outputs() -> Path:
    """Return `outputs` of the working directory if it exists, else of the checkout."""
    here = Path("outputs")
    return here if here.is_dir() else Path(__file__).resolve().parents[3] / "outputs"


def refuse_no_folder(folder: Path) -> None:
    """Refuse a path that is not a folder.

    Raises:
        UserError: suggests a similar name.
    """
    if folder.is_dir():
        return
    if os.path.lexists(folder):
        raise UserError(
            why_no_folder(folder), where=folder, hint="Name the folder of a run, or of runs"
        )
    raise UserError(
        why_no_folder(folder),
        where=folder,
        hint="Runs are written under outputs/ by python src/train.py",
    )


def event_folders(folder: Path) -> dict[Path, int]:
    """Return the folders with event files, each a run of TensorBoard, and when they were written.

    Returns:
        Start time of the newest event file by folder, in seconds since 1970, sorted by folder.

    Raises:
        UserError: if there is no such folder, or no event file in it.
    """
    refuse_no_folder(folder)
    started: dict[Path, int] = {}
    for place, _, files in os.walk(folder):
        begun = [_begun(name) for name in files if "tfevents" in name]
        if begun:
            started[Path(place)] = max(begun)
    if not started:
        raise UserError(f"{folder}: holds no run with events; train one with python src/train.py")
    return dict(sorted(started.items()))


def latest_sweep(folders: dict[Path, int], within: Path) -> Path:
    """Return the sweep, or the run outside a sweep, with the newest run.

    Args:
        folders: run folders with their start times, from `event_folders`.
        within: folder that was searched; a sweep that contains it is not returned.
    """
    newest = max(folders, key=lambda place: folders[place])
    inside = newest != within
    return newest.parent if inside and (newest.parent / MULTIRUN_FILE).is_file() else newest


def last_entered(outputs: Path, *, sweep: bool) -> Path | None:
    """Return the sweep that was started or resumed last, or None if there is none.

    Args:
        outputs: folder that is searched recursively.
        sweep: True for a sweep, False for a run outside a sweep.
    """
    sweeps: dict[Path, float] = {}
    others: dict[Path, float] = {}
    for place, folders, files in os.walk(outputs):
        directory = Path(place)
        if MULTIRUN_FILE in files:
            sweeps[directory] = (directory / MULTIRUN_FILE).stat().st_mtime
            folders.clear()  # its subfolders are its runs
        elif ".hydra" in folders:
            others[directory] = (directory / ".hydra" / "config.yaml").stat().st_mtime
            folders.clear()
    entered = sweeps if sweep else others
    return max(entered, key=lambda directory: entered[directory], default=None)


def half_done(run_dir: Path) -> bool:
    """Return whether a run would be resumed from a checkpoint."""
    return (run_dir / CHECKPOINT).is_file()


def goes_on(run_dir: Path) -> str:
    """Return what resuming an interrupted run will do."""
    if half_done(run_dir):
        return "This continues after its last checkpoint"
    return "It had no checkpoint yet; this starts it again"


def _begun(event_file: str) -> int:
    """Return the time in the name `events.out.tfevents.SECONDS.HOST...`, which copies keep."""
    seconds = event_file.partition("tfevents.")[2].partition(".")[0]
    return int(seconds) if seconds.isdigit() else 0
