"""What commands share: how they begin and end, without tracebacks, and kinds of arguments."""

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from visionsweep.command_memory import fresh_memory
from visionsweep.errors import UserError
from visionsweep.runtime import streams
from visionsweep.runtime.signals import Interrupted
from visionsweep.runtime.streams import OutputError
from visionsweep.storage.files import why
from visionsweep.text import escaping as text
from visionsweep.text import shell


def run(
    command: Callable[[list[str]], int], arguments: Sequence[str] | None = None, *, script: str = ""
) -> int:
    """Run a command and return its exit status.

    A `UserError` and errors of the operating system are printed and give 1, Ctrl-C gives 130,
    SIGTERM 143, and a closed pipe, such as that of `head`, 141, as in a shell. Whatever a command
    sets in the process (streams, logging, signal handlers, threads, environment) is restored.

    Args:
        command: function from arguments to exit status.
        arguments: command-line arguments; None takes those of the process.
        script: name of the command's script, `train.py`, for commands to paste.
    """
    if arguments is not None:
        arguments = [str(shell.script(script)), *arguments]
    with fresh_memory(), _restored_process():
        sys.argv[:] = sys.argv if arguments is None else arguments
        streams.prepare()
        if _current_folder_is_gone():
            return _failed("The current folder was deleted: change to another with cd.")
        text.make_logs_visible()
        logging.raiseExceptions = False  # a log that cannot be written must not end a run
        status = 0
        try:
            status = _status(command)
            sys.stdout.flush()
        except OutputError as error:
            lost = streams.give_up(error)
            status = status or lost
        return status


@contextmanager
def _restored_process() -> Iterator[None]:
    """Restore what a command changes in its process."""
    arguments, environment = [*sys.argv], dict(os.environ)
    out, error = sys.stdout, sys.stderr
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    record_factory, raising = logging.getLogRecordFactory(), logging.raiseExceptions
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else None
    try:
        with warnings.catch_warnings():
            yield
    finally:
        sys.argv[:], sys.stdout, sys.stderr = arguments, out, error
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.setLogRecordFactory(record_factory)
        logging.raiseExceptions = raising
        if dict(os.environ) != environment:
            os.environ.clear()
            os.environ.update(environment)
        if torch:
            torch.set_num_threads(threads)


def _status(command: Callable[[list[str]], int]) -> int:
    try:
        return command(sys.argv[1:])
    except UserError as error:
        return _failed(str(error))
    except SystemExit as end:  # argparse: after help, or of a mistake
        if isinstance(end.code, str):
            return _failed(end.code)
        return end.code or 0
    except KeyboardInterrupt as end:
        return end.status if isinstance(end, Interrupted) else 130
    except OutputError:
        raise
    except OSError as error:
        return _failed(_refusal(error))


def _failed(message: str) -> int:
    print(text.visible(message, lines=True), file=sys.stderr)
    return 1


def _refusal(error: OSError) -> str:
    """Return what the operating system refused, and where."""
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
    return Path(shell.expanded(text))
