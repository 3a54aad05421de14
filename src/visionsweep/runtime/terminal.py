"""Write to the terminal while a sweep goes on: progress bars, and log lines above them."""

import logging
import sys
from typing import Any, ClassVar

from tqdm import tqdm

# Their lines say what the row of a finished run says.
_TOLD_BY_ROWS = ("visionsweep.experiment", "visionsweep.training.resume")

in_worker = False  # whether this process is a launcher's, and another one has the terminal


def bar(**options: Any) -> "tqdm[Any]":
    """Return a progress bar on standard error; it shows nothing but on a terminal of our own.

    Args:
        options: of `tqdm.tqdm`.
    """
    settings: dict[str, Any] = {"leave": False, "dynamic_ncols": True}
    return tqdm(**settings | options, file=sys.stderr, disable=True if in_worker else None)


def write(text: str) -> None:
    """Write lines to standard error, above the progress bars."""
    if in_worker and sys.stderr.isatty():
        text = "\r\x1b[K" + text  # where the command's live line may stand
    tqdm.write(text, file=sys.stderr)


class SweepHandler(logging.Handler):
    """Shows what runs of a sweep log, each message once; their log files hold everything."""

    said: ClassVar[set[str]] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a message, unless the rows of finished runs tell it or it has been written."""
        if getattr(record, "told", False):
            return
        hidden = record.levelno < logging.WARNING
        if hidden and (in_worker or record.name in _TOLD_BY_ROWS):
            return
        try:
            text = self.format(record)
            if text not in self.said:
                self.said.add(text)
                write(text)
        except Exception:
            self.handleError(record)

    @classmethod
    def install(cls) -> None:
        """Put this handler in the place of the one that Hydra made for the terminal."""
        root = logging.getLogger()
        for handler in root.handlers[:]:
            if type(handler) is logging.StreamHandler:
                root.removeHandler(handler)
                ours = cls(handler.level)
                root.addHandler(ours)
