"""Write to the terminal during a sweep: progress bars, and log lines above them."""

import logging
import sys
from dataclasses import dataclass, field
from typing import Any

from tqdm import tqdm

from visionsweep.command_memory import remembered

# Loggers whose messages repeat the progress row of a finished run.
_SHOWN_IN_ROWS = ("visionsweep.experiment", "visionsweep.training.resume")


@dataclass
class Terminal:
    """Terminal of a command."""

    in_worker: bool = False  # in the process of a launcher, where another one has the terminal
    messages: set[str] = field(default_factory=set)  # log messages that were written


@remembered()
def terminal() -> Terminal:
    """Return the terminal of the command."""
    return Terminal()


def bar(**options: Any) -> "tqdm[Any]":
    """Return a bar of tqdm on standard error, shown only on this process's own terminal."""
    settings: dict[str, Any] = {"leave": False, "dynamic_ncols": True}
    return tqdm(**settings | options, file=sys.stderr, disable=terminal().in_worker or None)


def write(text: str) -> None:
    """Write lines to standard error, above the progress bars."""
    if terminal().in_worker and sys.stderr.isatty():
        text = "\r\x1b[K" + text  # over the live line of the command
    tqdm.write(text, file=sys.stderr)


class SweepHandler(logging.Handler):
    """Show log messages of the runs of a sweep, each once; their log files hold all of them."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a message, unless it was written before or is in the row of a finished run."""
        if getattr(record, "told", False):
            return
        hidden = record.levelno < logging.WARNING
        if hidden and (terminal().in_worker or record.name in _SHOWN_IN_ROWS):
            return
        try:
            text = self.format(record)
            if text not in terminal().messages:
                terminal().messages.add(text)
                write(text)
        except Exception:
            self.handleError(record)

    @classmethod
    def install(cls) -> None:
        """Replace Hydra's handler for the terminal by this one."""
        root = logging.getLogger()
        for handler in root.handlers[:]:
            if type(handler) is logging.StreamHandler:
                root.removeHandler(handler)
                root.addHandler(cls(handler.level))
