"""The commands that a report hands over: use a run, look at all of them, run them again."""

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from visionsweep.report.evidence import Evidence
from visionsweep.runs.discovery import Run
from visionsweep.text.shell import command, script

_MOST_ORIGINS = 3  # command lines; runs gathered from many sweeps have as many


def commands(evidence: Evidence) -> list[tuple[str, str]]:
    """Return what a command does and its line, for a group of at least one run."""
    runs = [row.run for row in evidence.rows]
    which = "recommended" if evidence.recommended is not None else "best"
    use = ("python", script("predict.py"), "PHOTO.jpg", "--run", evidence.chosen.directory)
    look = ("python", script("view.py"), _common_folder(runs), "--all")
    lines = [
        (f"Predict with the {which} run", command(*use)),
        ("Look at the runs in TensorBoard", command(*look)),
    ]
    origins: dict[tuple[str, ...], list[Run]] = defaultdict(list)
    for run in runs:
        if run.record.command:
            origins[tuple(run.record.command)].append(run)
    for origin, made in list(origins.items())[:_MOST_ORIGINS]:
        what = "it" if len(origins) == 1 else f"what made {_common_folder(made)}"
        lines.append((f"Run {what} again", command("python", *origin)))
    return lines


def _common_folder(runs: Sequence[Run]) -> Path:
    """Return the deepest folder that holds all runs; a lone run's own directory."""
    return Path(os.path.commonpath([run.directory for run in runs]))
