"""Paths of outputs, sweeps, and run directories."""

import os
import re
from pathlib import Path

from visionsweep.errors import UserError, why_no_folder
from visionsweep.installation import CHECKOUT

RECORD = "result.json"  # record of a run that has ended
CLAIM = "claim"  # claim of the process that trains a run
CHECKPOINT = "checkpoint.safetensors"  # checkpoint of an incomplete run
TRAINING_IMAGES = "training_images.jpg"  # some of them as the network sees them
MULTIRUN_FILE = "multirun.yaml"  # written by Hydra to a sweep's directory before the first run


def default_outputs() -> Path:
    """Return `outputs` of the working directory if it exists, else of the checkout."""
    here = Path("outputs")
    return here if CHECKOUT is None or here.is_dir() else CHECKOUT / "outputs"


def refuse_no_folder(folder: Path) -> None:
    """Refuse a path that is not a folder.

    Raises:
        UserError: suggests a similar name.
    """
    if not folder.is_dir():
        hint = "Runs are written under outputs/ by python src/train.py"
        if os.path.lexists(folder):
            hint = "Name the folder of a run, or of runs"
        raise UserError(why_no_folder(folder), where=folder, hint=hint)


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
        # Of events.out.tfevents.SECONDS.HOST..., the time, which copies keep.
        begun = [re.search(r"tfevents\.(\d*)", name) for name in files if "tfevents" in name]
        if begun:
            started[Path(place)] = max(int(time[1] or 0) if time else 0 for time in begun)
    if not started:
        raise UserError(f"{folder}: holds no run with events; train one with python src/train.py")
    return dict(sorted(started.items()))


def latest_sweep(folders: dict[Path, int], within: Path) -> Path:
    """Return the sweep, or the run outside a sweep, with the newest run of `event_folders`.

    A sweep that contains the folder `within` which they were found is not returned.
    """
    newest = max(folders, key=lambda place: folders[place])
    in_sweep = newest != within and (newest.parent / MULTIRUN_FILE).is_file()
    return newest.parent if in_sweep else newest


def last_entered(outputs: Path, *, sweep: bool) -> Path | None:
    """Return the sweep, or else run outside a sweep, that was started or resumed last, or None."""
    entered: dict[Path, float] = {}
    for place, folders, files in os.walk(outputs):
        is_sweep = MULTIRUN_FILE in files
        if is_sweep or ".hydra" in folders:
            folders.clear()  # the subfolders of a sweep are its runs
            if is_sweep == sweep:
                written = MULTIRUN_FILE if sweep else ".hydra/config.yaml"
                entered[Path(place)] = Path(place, written).stat().st_mtime
    return max(entered, key=lambda directory: entered[directory], default=None)


def half_done(run_dir: Path) -> bool:
    """Return whether a run would be resumed from a checkpoint."""
    return (run_dir / CHECKPOINT).is_file()


def goes_on(run_dir: Path) -> str:
    """Return what resuming an interrupted run will do."""
    if half_done(run_dir):
        return "This continues after its last checkpoint"
    return "It had no checkpoint yet; this starts it again"
