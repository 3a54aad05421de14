"""Around a sweep: where it goes, and what is printed when it ends, however it ends."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig


class NoteSweep(Callback):
    """Notes in the parent process where a sweep goes; Hydra calls it before the first run.

    At the end of a sweep in which a run failed it calls nothing: that is for `leaderboard_after`.
    """

    directory: Path | None = None

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Take down the sweep's directory."""
        NoteSweep.directory = Path(config.hydra.sweep.dir)


@contextmanager
def leaderboard_after() -> Iterator[None]:
    """Print the leaderboard when the block ends, if it was a sweep; failures included."""
    try:
        yield
    finally:
        if NoteSweep.directory is not None and NoteSweep.directory.is_dir():
            from visionsweep.report import leaderboard

            sys.stderr.flush()
            leaderboard.show([NoteSweep.directory])
