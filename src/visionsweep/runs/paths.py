"""Where runs lie: the outputs, the sweeps in them, and the folders that TensorBoard calls runs."""

import os
from pathlib import Path

from visionsweep.errors import UserError, why_no_folder

RECORD = "result.json"  # of a run that has ended
CLAIM = "claim"  # of the process that is at work on a run
CHECKPOINT = "checkpoint.safetensors"  # of a run half-done
MULTIRUN_FILE = "multirun.yaml"  # Hydra writes it into a sweep's directory before the first run


def default_outputs() -> Path:
    """Return `outputs` of the working directory, or else of the checkout."""
    here = Path("outputs")
    return here if here.is_dir() else Path(__file__).resolve().parents[3] / "outputs"


def refuse_no_folder(folder: Path) -> None:
    """Refuse what is no folder of runs because it is a file, or is not there.

    Raises:
        UserError: naming what there is of a similar name.
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
    """List the folders that hold event files, each of which is a run to TensorBoard.

    Args:
        folder: where to look, all the way down.

    Returns:
        When the newest event file of each was begun, in seconds since 1970, by folder, sorted.

    Raises:
        UserError: if there is no such folder, or no event file in it.
    """
    refuse_no_folder(folder)
    found: dict[Path, int] = {}
    for place, _, files in os.walk(folder):
        begun = [_begun(name) for name in files if "tfevents" in name]
        if begun:
            found[Path(place)] = max(begun)
    if not found:
        raise UserError(
            f"{folder}: holds no run that could be looked at; train one with python src/train.py"
        )
    return dict(sorted(found.items()))


def latest_sweep(folders: dict[Path, int], within: Path) -> Path:
    """Return the sweep whose newest run was begun last; a run outside a sweep counts as one.

    Args:
        folders: of runs, with when each was begun; see `event_folders`.
        within: the folder that was searched; a sweep that it is a part of does not count.
    """
    newest = max(folders, key=lambda place: folders[place])
    inside = newest != within
    return newest.parent if inside and (newest.parent / MULTIRUN_FILE).is_file() else newest


def last_entered(outputs: Path, *, sweep: bool) -> Path | None:
    """Return the sweep that was begun or gone on with last, or None if there is none.

    Args:
        outputs: where sweeps lie, however deep.
        sweep: whether a sweep is meant, or a run outside one.
    """
    sweeps: dict[Path, float] = {}
    others: dict[Path, float] = {}
    for place, folders, files in os.walk(outputs):
        directory = Path(place)
        if MULTIRUN_FILE in files:
            sweeps[directory] = (directory / MULTIRUN_FILE).stat().st_mtime
            folders.clear()  # what lies in it are its runs
        elif ".hydra" in folders:
            others[directory] = (directory / ".hydra" / "config.yaml").stat().st_mtime
            folders.clear()
    found = sweeps if sweep else others
    return max(found, key=lambda directory: found[directory], default=None)


def half_done(run_dir: Path) -> bool:
    """Say whether a run would be taken up after a checkpoint, and not begun anew."""
    return (run_dir / CHECKPOINT).is_file()


def goes_on(run_dir: Path) -> str:
    """Say what the command will do that takes up an interrupted run."""
    if half_done(run_dir):
        return "This goes on after its last checkpoint"
    return "It had no checkpoint yet; this begins it anew"


def _begun(event_file: str) -> int:
    """Read the time in `events.out.tfevents.SECONDS.HOST...`; a copied file keeps its name."""
    seconds = event_file.partition("tfevents.")[2].partition(".")[0]
    return int(seconds) if seconds.isdigit() else 0
