"""The commands that a report hands over: run it again, look at it, use it."""

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from visionsweep.report.evidence import Evidence
from visionsweep.runs.discovery import Run
from visionsweep.text import shell

_MOST_ORIGINS = 3  # command lines; runs gathered from many sweeps have as many


@dataclass(frozen=True)
class Command:
    """A command line, and what it does."""

    does: str
    line: str


def commands(evidence: Evidence) -> list[Command]:
    """Return what a reader would want to run next, for a group of at least one run."""
    runs = [row.run for row in evidence.rows]
    which = "recommended" if evidence.recommended is not None else "best"
    found = [_predict(f"Predict with the {which} run", evidence.chosen)]
    look = shell.command("python", shell.script("view.py"), common_folder(runs), "--all")
    found.append(Command("Look at the runs in TensorBoard", look))
    origins: dict[tuple[str, ...], list[Run]] = defaultdict(list)
    for run in runs:
        if run.record.command:
            origins[tuple(run.record.command)].append(run)
    for origin, made in list(origins.items())[:_MOST_ORIGINS]:
        what = "it" if len(origins) == 1 else f"what made {common_folder(made)}"
        found.append(Command(f"Run {what} again", shell.command("python", *origin)))
    return found


def _predict(does: str, run: Run) -> Command:
    predict = shell.script("predict.py")
    return Command(does, shell.command("python", predict, "PHOTO.jpg", "--run", run.directory))


def common_folder(runs: Sequence[Run]) -> Path:
    """Return the deepest folder that holds all runs; a lone run's own directory."""
    return Path(os.path.commonpath([run.directory for run in runs]))
