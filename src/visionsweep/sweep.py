"""Around a sweep: where it goes, and what is printed when it ends, however it ends."""

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from visionsweep import launchers


class NoteSweep(Callback):
    """Notes in the parent process where a sweep goes; Hydra calls it before the first run.

    At the end of a sweep in which a run failed it calls nothing: that is for `leaderboard_after`.
    """

    directory: Path | None = None

    def __init__(self) -> None:
        self.command = launchers.Command()

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Make the process of a launcher one of the command's."""
        self.command.join()

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Take down the sweep's directory."""
        self.command.prepare()
        NoteSweep.directory = Path(config.hydra.sweep.dir)


@contextmanager
def leaderboard_after() -> Iterator[None]:
    """Print the leaderboard and write the page when the block ends, if it was a sweep."""
    try:
        yield
    finally:
        if NoteSweep.directory is not None and NoteSweep.directory.is_dir():
            sys.stderr.flush()
            _tell(NoteSweep.directory)


def _tell(directory: Path) -> None:
    from visionsweep.report import leaderboard
    from visionsweep.report.page import write_page
    from visionsweep.tracking.runs import find_runs

    found = find_runs([directory])
    groups = leaderboard.groups_of(found.runs)
    leaderboard.show([directory], found, groups)
    if groups:
        page = directory / "report.html"
        command = shlex.join(["python", "src/compare.py", str(directory), "--html", str(page)])
        write_page(groups, found.unfinished, page, command=command)
        print(f"The same with curves and pictures, for a browser:\n  {page}")
