"""What commands share: how they end, without tracebacks and complaints, and a kind of argument."""

import argparse
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from visionsweep import interruption
from visionsweep.errors import UserError


def run_command(main: Callable[[list[str]], int]) -> NoReturn:
    """Call a script's `main` with its arguments and end with the exit status it returns.

    A `UserError` is printed and ends with 1, Ctrl-C with 130, SIGTERM that is answered 143,
    and a reader of our output that has had enough, such as `head`, with 141, as the shell does.

    Args:
        main: from arguments to exit status.
    """
    try:
        status = main(sys.argv[1:])
        sys.stdout.flush()
    except UserError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(interruption.status() or 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        sys.exit(141)
    sys.exit(status)


def positive(text: str) -> int:
    """Read a whole number of at least 1, for argparse.

    Raises:
        argparse.ArgumentTypeError: if it is less.
    """
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: should be at least 1")
    return number
