"""Messages for the person at the command line: errors they can mend, warnings they cannot miss."""

import difflib
import logging
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path

from visionsweep.command_memory import remembered
from visionsweep.installation import localized
from visionsweep.text.escaping import visible


class UserError(Exception):
    """An error that the user can fix: what is wrong, where, and what to do next.

    Entry points print it without a traceback and end with exit status 1. It is printed as
    `where: what. hint`.

    Attributes:
        what: what is wrong, without a final period if there is a hint.
        where: the file, key or image concerned, or None.
        hint: what to do next, in whole sentences, or None.
    """

    def __init__(self, what: str, *, where: object = None, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = localized(what)
        self.where = None if where is None else str(where)
        self.hint = None if hint is None else localized(hint)

    def __str__(self) -> str:
        located = self.what if self.where is None else f"{visible(self.where)}: {self.what}"
        if self.hint is None:
            return located
        return f"{located} {self.hint}" if located.endswith("?") else f"{located}. {self.hint}"


class RefusedError(UserError):
    """What is asked for contradicts what is there already; nothing was touched, nor recorded."""


def let_go(error: BaseException) -> None:
    """Let an error, and those behind it, forget the frames that they came through.

    Hydra keeps the error of a run until the sweep ends, and its traceback would keep the run's
    model in the device's memory. `traceback.clear_frames` does not do: closures keep it, too.
    """
    behind: BaseException | None = error
    while behind is not None:
        behind.__traceback__ = None
        behind = behind.__cause__ or behind.__context__


@remembered()
def _warnings() -> set[tuple[str, ...]]:
    """Return the warnings that were given in full."""
    return set()


def warn_loudly(log: logging.Logger, *lines: str) -> None:
    """Warn in a frame that stands out; a second time in a command, by the first line alone."""
    if lines in _warnings():
        log.warning("%s", lines[0])
        return
    _warnings().add(lines)
    bar, framed = "!" * 88, list(lines)
    if sys.stderr.isatty() and (columns := shutil.get_terminal_size().columns):
        width = min(119, columns - 1)
        breaking = textwrap.TextWrapper(  # addresses and settings can be copied whole
            max(20, width - 3), subsequent_indent="  ", break_long_words=False,
            break_on_hyphens=False,
        )  # fmt: skip
        bar, framed = bar[:width], [part for line in lines for part in breaking.wrap(line) or [""]]
    log.warning("%s", "\n".join(["", bar, *(f"!  {line}" for line in framed), bar]))


@remembered()
def warn_once(log: logging.Logger, text: str) -> None:
    """Log a warning the first time that a command gives it."""
    log.warning("%s", text)


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `"; did you mean 'a' or 'b'?"` for the known words closest to `word`, or nothing."""
    close = _closest(word, list(known))
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""


def _closest(word: str, known: list[str]) -> list[str]:
    """Return up to three known words: by their last part, prefix, substring, or spelling."""
    plain = word.casefold()
    ways: list[Callable[[str], bool]] = [
        lambda name: name == plain,
        lambda name: name.rpartition(".")[2] == plain,
        lambda name: len(plain) > 1 and name.startswith(plain),
        lambda name: len(plain) > 2 and plain in name,
    ]
    for fits in ways:
        if found := [name for name in known if fits(name.casefold())]:
            return found[:3]
    by_plain = {name.casefold(): name for name in known}
    return [by_plain[name] for name in difflib.get_close_matches(plain, by_plain, cutoff=0.6)]


def why_no_folder(path: Path) -> str:
    """Return why a path is not a folder, such as `"is a file"` or `"no such folder"`."""
    if path.is_file():
        return "is a file"
    if path.exists():
        return "is a device, pipe, or socket"
    if path.is_symlink():
        return f"is a broken link to {str(path.readlink())!r}"
    return f"no such folder{nearest_path(path)}"


def nearest_path(path: Path) -> str:
    """Return `"; did you mean 'DIR/photos'?"` for what there is of a similar name, or nothing."""
    while not path.parent.is_dir() and path.parent != path:
        path = path.parent
    try:
        names = sorted(entry.name for entry in path.parent.iterdir())
    except OSError:
        return ""
    close = difflib.get_close_matches(path.name, names, n=1, cutoff=0.6)
    return f"; did you mean {str(path.parent / close[0])!r}?" if close else ""
