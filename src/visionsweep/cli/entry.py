"""What commands share: how they begin and end, without tracebacks, and kinds of arguments."""

import argparse
import gc
import logging
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path

from visionsweep.command_memory import fresh_memory
from visionsweep.errors import UserError
from visionsweep.installation import localized
from visionsweep.runtime import streams
from visionsweep.runtime.signals import Interrupted
from visionsweep.runtime.streams import OutputError
from visionsweep.storage.files import why
from visionsweep.text import shell
from visionsweep.text.escaping import make_logs_visible, visible


def command(name: str) -> Callable[[Callable[[list[str]], int]], Callable[..., int]]:
    """Make a function the `main` of a command, whose arguments default to those of the process."""

    def decorate(function: Callable[[list[str]], int]) -> Callable[..., int]:
        @wraps(function)
        def main(arguments: Sequence[str] | None = None) -> int:
            return run(function, arguments, name=name)

        return main

    return decorate


def run(
    function: Callable[[list[str]], int],
    arguments: Sequence[str] | None = None,
    *,
    name: str = "",
) -> int:
    """Run a command and return its exit status.

    A `UserError` and errors of the operating system are printed and give 1, Ctrl-C gives 130,
    SIGTERM 143, and a closed pipe, such as that of `head`, 141, as in a shell. Whatever a command
    sets in the process (streams, logging, signal handlers, threads, environment) is restored.

    Args:
        function: function from arguments to exit status.
        arguments: command-line arguments; None takes those of the process.
        name: name of the command, such as `train`, for commands to paste.
    """
    with fresh_memory(), _restored_process():
        if arguments is not None:
            sys.argv[:] = [shell.program(name), *arguments]
        streams.prepare()
        try:
            os.getcwd()  # noqa: PTH109 - what fails in Path.cwd() as well
        except OSError:
            return _failed("The current folder was deleted: change to another with cd.")
        make_logs_visible()
        logging.raiseExceptions = False  # a log that cannot be written must not end a run
        status = 0
        try:
            status = _status(function)
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
    collecting = gc.isenabled()
    try:
        with warnings.catch_warnings():
            yield
    finally:
        if collecting:
            gc.enable()
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


def _status(function: Callable[[list[str]], int]) -> int:
    try:
        return function(sys.argv[1:])
    except UserError as error:
        return _failed(str(error))
    except SystemExit as end:  # argparse: after help, or of a mistake
        return _failed(end.code) if isinstance(end.code, str) else end.code or 0
    except KeyboardInterrupt as end:
        return end.status if isinstance(end, Interrupted) else 130
    except OutputError:
        raise
    except OSError as error:
        return _failed(f"{error.filename or 'The system refused'}: {why(error)}.")


def _failed(message: str) -> int:
    print(visible(localized(message), lines=True), file=sys.stderr)
    return 1


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser whose help begins with a module's docstring as it is written."""
    return argparse.ArgumentParser(
        description=localized(description or ""),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def number(
    kind: type[int | float], low: float, high: float = math.inf
) -> Callable[[str], int | float]:
    """Return a reader of numbers from `low` to `high`, for argparse."""

    def read(text: str) -> int | float:
        value = kind(text)
        if not low <= value <= high:
            bounds = f"at least {low}" if high == math.inf else f"from {low} to {high}"
            raise argparse.ArgumentTypeError(f"{text}: should be {bounds}")
        return value

    read.__name__ = kind.__name__  # argparse writes it: invalid int value: 'x'
    return read


positive = number(int, 1)


def path_argument(text: str) -> Path:
    """Read a path, for argparse: `~` is somebody's home also where the shell left it alone."""
    if not text.strip():
        raise argparse.ArgumentTypeError("empty; is a variable of the shell not set?")
    return Path(shell.expanded(text))
