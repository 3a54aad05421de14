"""Standard output and error that never end a command.

A terminal without Unicode gets escapes; a reader that left, a full disk, and a closed stream are
reported at the end; control characters in untrusted text do not reach the terminal.
"""

import io
import os
import re
import sys
from pathlib import Path
from typing import TextIO, cast

from visionsweep.storage.files import why
from visionsweep.text.escaping import visible

# Escapes that rich and tqdm send to a terminal: colors and cursor movement, but not titles, the
# clipboard, or links.
_TERMINAL_CODES = re.compile(r"(\x1b\[[0-9;?]*[A-HJKhlm]|\r)")
_BAR_CODES = re.compile(r"(\r)")  # of tqdm without a terminal


class OutputError(OSError):
    """Standard output cannot be written to."""


class _Raw(io.FileIO):
    """A file descriptor that raises `OutputError`, or, if `quiet`, drops what it cannot write.

    `closed_by_shell` (`>&-`) makes it one that nothing can be written to.
    """

    def __init__(self, descriptor: int, *, quiet: bool, closed_by_shell: bool) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.quiet, self.closed_by_shell = quiet, closed_by_shell

    def write(self, data: "bytes | bytearray | memoryview") -> int:  # type: ignore[override]
        try:
            if self.closed_by_shell:
                raise OSError("it is closed")
            return super().write(data) or 0
        except OSError as error:
            if self.quiet:
                return len(data)
            raise OutputError(error.errno, why(error)) from error


class _Stream(io.TextIOWrapper):
    """A text stream that escapes control characters."""

    def write(self, text: str) -> int:
        colors = self.isatty() or os.environ.get("FORCE_COLOR")
        pieces = (_TERMINAL_CODES if colors else _BAR_CODES).split(text)
        pieces[::2] = [visible(piece, lines=True) for piece in pieces[::2]]  # others are codes
        super().write("".join(pieces))
        return len(text)


def prepare() -> None:
    """Replace standard output and error of this process, when a command starts.

    Closed streams are opened on the null device, so that no other file gets their numbers.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, this one
    sys.stdout = _wrapped(sys.stdout, 1, quiet=False)
    sys.stderr = _wrapped(sys.stderr, 2, quiet=True)


def _wrapped(stream: TextIO | None, descriptor: int, *, quiet: bool) -> TextIO:
    raw = cast(io.FileIO, _Raw(descriptor, quiet=quiet, closed_by_shell=stream is None))
    if stream is None:
        return _Stream(io.BufferedWriter(raw), "utf-8")
    try:  # a console of Windows is written otherwise
        if stream.fileno() != descriptor or sys.platform == "win32":
            return stream
    except (OSError, ValueError, AttributeError):
        return stream
    stream.flush()
    return _Stream(
        io.BufferedWriter(raw),
        stream.encoding,
        "backslashreplace",
        line_buffering=quiet or stream.isatty(),
    )


def give_up(error: OutputError) -> int:
    """Stop writing to standard output after an error, and return the exit status.

    Returns:
        141 if the reader left, such as `head`, as in a shell; else 1, after printing the reason to
        standard error.
    """
    sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the process ends
    if isinstance(error.__cause__, BrokenPipeError):
        return 141
    print(
        f"standard output: cannot be written: {error.strerror or error}. All files are complete; "
        "give the command again with its output elsewhere.",
        file=sys.stderr,
    )
    return 1
