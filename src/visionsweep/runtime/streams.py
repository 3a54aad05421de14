"""Standard output and error that cost no results: whatever they lead to, a command goes on.

A terminal that knows no Unicode gets escapes; a reader that left, a full disk and a closed stream
are noted and told at the end; what others put into a text cannot drive the terminal.
"""

import io
import os
import re
import sys
from pathlib import Path
from typing import TextIO, cast

from visionsweep.storage.files import why
from visionsweep.text.escaping import visible

# What rich and tqdm send to a terminal: colors, and moves within the last lines. No titles, no
# clipboard, no links, which begin otherwise.
_OF_TERMINALS = re.compile(r"(\x1b\[[0-9;?]*[A-HJKhlm]|\r)")
_OF_BARS = re.compile(r"(\r)")  # tqdm without a terminal


class OutputError(OSError):
    """Standard output cannot be written to."""


class _Raw(io.FileIO):
    """A file descriptor; what it refuses is raised as an `OutputError`, or noted and dropped."""

    def __init__(self, descriptor: int, *, quiet: bool) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.quiet = quiet

    def write(self, data: "bytes | bytearray | memoryview") -> int:  # type: ignore[override]
        try:
            return super().write(data) or 0
        except OSError as error:
            if self.quiet:
                return len(data)
            raise OutputError(error.errno, why(error)) from error


class _Stream(io.TextIOWrapper):
    """A text stream that writes control characters of a text as escapes."""

    def write(self, text: str) -> int:
        colors = self.isatty() or os.environ.get("FORCE_COLOR")
        pieces = (_OF_TERMINALS if colors else _OF_BARS).split(text)
        # Every second piece is one that the pattern matched.
        super().write(
            "".join(
                piece if place % 2 else visible(piece, lines=True)
                for place, piece in enumerate(pieces)
            )
        )
        return len(text)


def prepare() -> None:
    """Replace standard output and error of this process; for where a command starts.

    Where one is closed, files opened later do not get its number.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, this one
    sys.stdout = _wrapped(sys.stdout, 1, quiet=False)
    sys.stderr = _wrapped(sys.stderr, 2, quiet=True)


def _wrapped(stream: TextIO | None, descriptor: int, *, quiet: bool) -> TextIO:
    if stream is None:  # closed when Python started
        return io.TextIOWrapper(_buffered(_Closed(quiet=quiet)), "utf-8")
    if not _is_of(stream, descriptor):
        return stream
    stream.flush()
    at_once = quiet or stream.isatty()
    raw = _buffered(_Raw(descriptor, quiet=quiet))
    return _Stream(raw, stream.encoding, "backslashreplace", line_buffering=at_once)


def _buffered(raw: "_Raw | _Closed") -> io.BufferedWriter:
    return io.BufferedWriter(cast(io.FileIO, raw))


def _is_of(stream: TextIO, descriptor: int) -> bool:
    """Whether a stream is that of the process; Windows' consoles are written to in another way."""
    try:
        return stream.fileno() == descriptor and sys.platform != "win32"
    except (OSError, ValueError, AttributeError):
        return False


class _Closed(io.RawIOBase):
    """A stream that the shell closed (`>&-`)."""

    def __init__(self, *, quiet: bool) -> None:
        super().__init__()
        self.quiet = quiet

    def writable(self) -> bool:
        return True

    def write(self, data: "bytes | bytearray | memoryview") -> int:  # type: ignore[override]
        if self.quiet:
            return len(data)
        raise OutputError(None, "it is closed")


def give_up(error: OutputError) -> int:
    """Stop writing to standard output, and return the exit status that says so.

    Args:
        error: what it refused.

    Returns:
        141 where the reader left, such as `head`, as the shell has it; otherwise 1, and the reason
        is printed to standard error.
    """
    sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the process ends
    if isinstance(error.__cause__, BrokenPipeError):
        return 141
    print(
        f"standard output: cannot be written: {error.strerror or error}. What was to be printed is "
        "lost, files are not: give the command again with its output elsewhere.",
        file=sys.stderr,
    )
    return 1
