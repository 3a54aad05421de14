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
        "visionsweep.sweep.callback.SweepCallback",
        "Leave it out: the leaderboard and fail_fast need it",
    ),
}


def refuse_elsewhere(hydra: DictConfig) -> None:
    """Refuse keys of Hydra that put runs where `resume`, `force` and `fail_fast` do not look.

    Args:
        hydra: Hydra's node of a composed configuration, whichever file or argument changed it.

    Raises:
        UserError: naming the key to use instead.
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


def homes_expanded(config: DictConfig, given: Sequence[str]) -> list[str]:
    """Return settings that replace `~` in the directories that a configuration file names.

    Args:
        config: the composed configuration.
        given: the keys set on the command line, where `~` is expanded already.
    """
    found = []
    for key in ("outputs_dir", "sweep_dir"):
        value = OmegaConf.select(config, key, default="")
        if key not in given and "resume" not in given and value.startswith("~"):
            if key == "sweep_dir" and value.startswith(str(config.outputs_dir)):
                continue  # it follows from outputs_dir
            found.append(shell.setting(key, Path(shell.expanded(value))))
    return found


def earlier(named: str, outputs: Path, *, sweeping: bool) -> Path:
    """Return the directory that `resume` means.

    Args:
        named: `last`, or a directory.
        outputs: where sweeps lie.
        sweeping: whether the command is a sweep.

    Raises:
        UserError: if there is none, or if it holds no sweep, or no run, to go on with.
    """
    kind = "sweep" if sweeping else "run outside a sweep"
    if named == "last":
        last = last_entered(outputs, sweep=sweeping)
        if last is None:
            raise UserError(f"resume=last: there is no {kind} under {outputs} yet; leave it out")
        return last
    place = Path(named)
    if not place.is_dir():
        raise UserError(
            f"no such directory{nearest_path(place)}",
            where=f"resume={named}",
            hint=f"Name the directory of an earlier {kind}, or `last`",
        )
    if not (_holds_sweep(place) if sweeping else _holds_run(place)):
        inside = last_entered(place, sweep=sweeping)
        raise UserError(
            f"holds no {kind}",
            where=f"resume={named}",
            hint="Name the directory of an earlier one, or `last`"
            if inside is None
            else f"The last one in it: {shell.word(shell.setting('resume', inside))}",
        )
    return place


def _holds_run(place: Path) -> bool:
    return any((place / name).exists() for name in (RECORD, CLAIM, ".hydra"))


def _holds_sweep(place: Path) -> bool:
    return (place / MULTIRUN_FILE).is_file() or any(
        _holds_run(inside) for inside in place.iterdir() if inside.is_dir()
    )


def refuse_unwritable(directory: Path) -> None:
    """Refuse a directory that could not be made or written to.

    Raises:
        UserError: if its nearest existing parent is a file, or may not be written to.
    """
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
