"""Where the runs of a command go: what `resume` means, and what would put them elsewhere."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from visionsweep.errors import UserError, nearest_path
from visionsweep.runs.paths import CLAIM, MULTIRUN_FILE, RECORD, last_entered
from visionsweep.text import shell

# Hydra's keys that decide where things are; conf/config.yaml derives them from our own.
_OURS: dict[str, tuple[object, str]] = {
    "run.dir": ("${run_dir:}", "Use sweep_dir=DIRECTORY, or outputs_dir=FOLDER"),
    "sweep.dir": ("${sweep_dir}", "Use sweep_dir=DIRECTORY, or outputs_dir=FOLDER"),
    "sweep.subdir": (
        "${run_name:}",
        "Leave it out: runs are named after their settings. sweep_dir=DIRECTORY says where they go",
    ),
    "job.chdir": (False, "Leave it out: sweep_dir=DIRECTORY says where runs go"),
    "output_subdir": (".hydra", "Leave it out: resume=last finds runs by it"),
    "callbacks.note_sweep._target_": (
        "visionsweep.sweeps.callback.SweepCallback",
        "Leave it out: the leaderboard and fail_fast need it",
    ),
}


def refuse_elsewhere(hydra: DictConfig) -> None:
    """Refuse keys of Hydra that put runs where `resume`, `force` and `fail_fast` do not look.

    Raises:
        UserError: naming the key to use instead, whichever file or argument changed it.
    """
    for key, (ours, hint) in _OURS.items():
        value: Any = OmegaConf.to_container(hydra, resolve=False)
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value != ours:
            said = "null" if value is None else str(value).lower() if value is True else value
            raise UserError(
                "runs would not be found where they are looked for",
                where=f"hydra.{key}={said}",
                hint=hint,
            )


def placed(settings: Sequence[str], config: DictConfig, *, sweeping: bool) -> list[str]:
    """Replace `resume` by the directory that it means, and `~` in directories of a file.

    Args:
        settings: settings of a command line, where `~` is expanded already.
        config: the composed configuration.
        sweeping: whether the command is a sweep.

    Raises:
        UserError: if there is nothing to resume, or if the directory could not be written to.
    """
    given = [text.partition("=")[0] for text in settings]
    outputs = config.outputs_dir
    if config.resume is not None:
        if "sweep_dir" in given:
            raise UserError(
                "sweep_dir is given too; leave one out", where=f"resume={config.resume}"
            )
        settings = [text for text in settings if text.partition("=")[0] != "resume"]
        directory = _earlier(shell.expanded(config.resume), Path(shell.expanded(outputs)), sweeping)
        homes = {"sweep_dir": directory}
    else:
        directory = Path(shell.expanded(config.sweep_dir))
        homes = {
            key: Path(shell.expanded(config[key]))
            for key in ("outputs_dir", "sweep_dir")
            if key not in given and config[key].startswith("~")
        }
        if config.sweep_dir.startswith(outputs):
            homes.pop("sweep_dir", None)  # it follows from outputs_dir
    _refuse_unwritable(directory)
    return [*settings, *(shell.setting(key, path) for key, path in homes.items())]


def _earlier(named: str, outputs: Path, sweeping: bool) -> Path:
    """Return the directory that `resume` means: the last one in `outputs`, or one by its name."""
    kind = "sweep" if sweeping else "run outside a sweep"
    if named == "last":
        last = last_entered(outputs, sweep=sweeping)
        if last is None:
            raise UserError(f"resume=last: there is no {kind} under {outputs} yet; leave it out")
        return last
    place, where = Path(named), f"resume={named}"
    if not place.is_dir():
        hint = f"Name the directory of an earlier {kind}, or `last`"
        raise UserError(f"no such directory{nearest_path(place)}", where=where, hint=hint)
    if not (_holds_sweep(place) if sweeping else _holds_run(place)):
        hint = "Name the directory of an earlier one, or `last`"
        if (inside := last_entered(place, sweep=sweeping)) is not None:
            hint = f"The last one in it: {shell.word(shell.setting('resume', inside))}"
        raise UserError(f"holds no {kind}", where=where, hint=hint)
    return place


def _holds_run(place: Path) -> bool:
    return any((place / name).exists() for name in (RECORD, CLAIM, ".hydra"))


def _holds_sweep(place: Path) -> bool:
    return (place / MULTIRUN_FILE).is_file() or any(map(_holds_run, place.iterdir()))


def _refuse_unwritable(directory: Path) -> None:
    """Refuse a directory whose nearest existing parent is a file, or may not be written to."""
    place = directory.absolute()
    if "${" in str(place):
        raise UserError(
            "Hydra reads ${...} in a directory's name as a setting",
            where=f"sweep_dir={place}",
            hint="Choose another place with outputs_dir=FOLDER",
        )
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        raise UserError(f"sweep_dir={directory}: {place} is a file, and runs want a directory")
    if not os.access(place, os.W_OK | os.X_OK):
        raise UserError(
            f"sweep_dir={directory}: {place} may not be written to; change its permissions, or "
            "choose another place with outputs_dir="
        )
