"""What commands share: how they end, without tracebacks and complaints, and a kind of argument."""

import argparse
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from visionsweep.errors import UserError
from visionsweep.runtime import signals, streams
from visionsweep.runtime.streams import OutputError
from visionsweep.storage.files import why
from visionsweep.text import escaping as text
from visionsweep.text.shell import expanded


def run_command(main: Callable[[list[str]], int]) -> NoReturn:
    """Call a script's `main` with its arguments and end with the exit status it returns.

    A `UserError`, or what the system refuses, is printed and ends with 1, Ctrl-C with 130, SIGTERM
    that is answered 143, and a reader of our output that has had enough, such as `head`, with 141,
    as the shell does. Output that cannot be written otherwise ends with 1.

    Args:
        main: from arguments to exit status.
    """
    streams.prepare()
    if _current_folder_is_gone():
        sys.exit(_said("The current folder was deleted: change to another with cd."))
    text.make_logs_visible()
    logging.raiseExceptions = False  # a log that cannot be written is not what the user must know
    status = 0
    try:
        status = _status(main)
        sys.stdout.flush()
    except OutputError as error:
        lost = streams.give_up(error)
        status = status or lost
    sys.exit(status)


def _status(main: Callable[[list[str]], int]) -> int:
    try:
        return main(sys.argv[1:])
    except UserError as error:
        return _said(str(error))
    except SystemExit as end:  # argparse: after help, or of a mistake
        if isinstance(end.code, str):
            return _said(end.code)
        return end.code or 0
    except KeyboardInterrupt:
        return signals.status() or 130
    except OutputError:
        raise
    except OSError as error:
        return _said(_of_the_system(error))


def _said(message: str) -> int:
    print(text.visible(message, lines=True), file=sys.stderr)
    return 1


def _of_the_system(error: OSError) -> str:
    """Say what the system refused and where."""
    if error.filename is None:
        return f"The system refused: {why(error)}."
    return f"{error.filename}: {why(error)}."


def _current_folder_is_gone() -> bool:
    try:
        os.getcwd()  # noqa: PTH109 - what fails in Path.cwd() as well
    except OSError:
        return True
    return False


def positive(given: str) -> int:
    """Read a whole number of at least 1, for argparse.

    Raises:
        argparse.ArgumentTypeError: if it is less.
    """
    number = int(given)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{given}: should be at least 1")
    return number


def path_argument(text: str) -> Path:
    """Read a path, for argparse: `~` is somebody's home also where the shell left it alone.

    Raises:
        argparse.ArgumentTypeError: if it is empty.
    """
    if not text.strip():
        raise argparse.ArgumentTypeError("empty; is a variable of the shell not set?")
    return Path(expanded(text))
