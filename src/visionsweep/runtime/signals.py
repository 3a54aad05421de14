"""Ctrl-C and SIGTERM: the first ends the run at a safe point, the second ends the process at once.

Python raises `KeyboardInterrupt` at any line. In the middle of a queue's bookkeeping, TensorBoard's
writer would then wait forever, and C code may swallow it. So while a run trains and writes, a
signal is only recorded; `check`, called between batches, raises.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

_FIRST = {  # by signal, and by whether a batch is completed first
    (signal.SIGINT, True): b"\nStopping after this batch; press Ctrl-C again to leave now.\n",
    (signal.SIGINT, False): b"\nStopping; press Ctrl-C again to leave now.\n",
    (signal.SIGTERM, True): b"\nSIGTERM: stopping after this batch; a second one leaves now.\n",
    (signal.SIGTERM, False): b"\nSIGTERM: stopping; a second one leaves now.\n",
}
_SECOND = b"\nLeft at once; a run in progress has no record and counts as crashed.\n"


class Interrupted(KeyboardInterrupt):
    """A signal asked the program to end.

    Attributes:
        status: exit status, 130 after Ctrl-C, 143 after SIGTERM.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)  # the only argument, so that it can be pickled
        self.status = 128 + number

    def __str__(self) -> str:
        return signal.Signals(self.status - 128).name


_received: int | None = None  # number of the first signal
_deferring = 0  # nested `deferred` blocks
_acknowledging = True  # whether the first signal is answered on standard error


def install(*, acknowledge: bool = True) -> None:
    """Install the handler of SIGINT and SIGTERM; do nothing outside the main thread.

    Args:
        acknowledge: True to answer the first signal on standard error.
    """
    global _acknowledging
    _acknowledging = acknowledge
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, ask)


@contextmanager
def installed() -> Iterator[None]:
    """Install the handlers inside the block, and restore the earlier ones and the state afterwards.

    For the process of a launcher, in which one run follows another.
    """
    global _received, _acknowledging
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    install(acknowledge=False)  # the command's process has the terminal
    try:
        yield
    finally:
        _received, _acknowledging = None, True
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)


def ask(number: int, frame: FrameType | None = None) -> None:
    """Handle SIGINT or SIGTERM: record the first signal, and exit on the second.

    Raises:
        Interrupted: at once, unless inside `deferred`.
    """
    global _received
    if _received is not None:
        os.write(2, _SECOND)
        os._exit(128 + number)
    _received = number
    if _acknowledging and (answer := _FIRST.get((signal.Signals(number), _deferring > 0))):
        with suppress(OSError):
            os.write(2, answer)  # not print, which the signal may have interrupted
    if not _deferring:
        raise Interrupted(number)


def status() -> int:
    """Return the exit status of the signal that came, or 0 if none has."""
    return 0 if _received is None else 128 + _received


def check() -> None:
    """Raise `Interrupted` if a signal has come."""
    if _received is not None:
        raise Interrupted(_received)


@contextmanager
def deferred() -> Iterator[None]:
    """Let signals raise only where the block calls `check`."""
    global _deferring
    _deferring += 1
    try:
        yield
    finally:
        _deferring -= 1
