"""Ctrl-C and SIGTERM: the first ends the run in hand at a safe point, the second all at once.

Python raises `KeyboardInterrupt` wherever it happens to be. In the middle of a queue's bookkeeping
that leaves TensorBoard's writer waiting for ever, and C code may swallow it. So while a run writes
and trains, a signal is only noted; `check`, called between batches, raises.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

_FIRST = {  # by signal, and by whether it has to wait for a batch
    (signal.SIGINT, True): b"\nStopping after this batch; press Ctrl-C again to leave now.\n",
    (signal.SIGINT, False): b"\nStopping; press Ctrl-C again to leave now.\n",
    (signal.SIGTERM, True): b"\nSIGTERM: stopping after this batch; a second one leaves now.\n",
    (signal.SIGTERM, False): b"\nSIGTERM: stopping; a second one leaves now.\n",
}
_SECOND = b"\nLeft at once; a run in hand has no record and counts as crashed.\n"


class Interrupted(KeyboardInterrupt):
    """The user, or the system, wants the program to end.

    Attributes:
        status: the exit status that tells so: 130 after Ctrl-C, 143 after SIGTERM.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)  # and no more, so that it can be sent to another process
        self.status = 128 + number

    def __str__(self) -> str:
        return signal.Signals(self.status - 128).name


_asked: int | None = None  # the signal that came
_deferring = 0  # how many `deferred` blocks we are in
_acknowledging = True  # whether a first signal is answered on standard error


def install(*, acknowledge: bool = True) -> None:
    """Answer SIGINT and SIGTERM as this module says; does nothing outside the main thread.

    Args:
        acknowledge: whether the first signal is answered on standard error.
    """
    global _acknowledging
    _acknowledging = acknowledge
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, ask)


@contextmanager
def installed() -> Iterator[None]:
    """Answer signals as this module says within the block; afterwards as before.

    For a launcher's process, which does one run after the other: what was asked of one is not asked
    of the next.
    """
    global _asked, _acknowledging
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    install(acknowledge=False)  # the command does, which has the terminal
    try:
        yield
    finally:
        _asked, _acknowledging = None, True
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)


def ask(number: int, frame: FrameType | None = None) -> None:
    """Ask the program to end; this is the handler of SIGINT and SIGTERM.

    The first signal is answered on standard error at once.

    Args:
        number: of the signal.
        frame: unused.

    Raises:
        Interrupted: at once, unless within `deferred`.
    """
    global _asked
    if _asked is not None:
        os.write(2, _SECOND)
        os._exit(128 + number)
    _asked = number
    if _acknowledging and (answer := _FIRST.get((signal.Signals(number), _deferring > 0))):
        with suppress(OSError):
            os.write(2, answer)  # not print: the signal may have come in the middle of one
    if not _deferring:
        raise Interrupted(number)


def status() -> int:
    """Return the exit status that tells of the signal that came, or 0 if none has."""
    return 0 if _asked is None else 128 + _asked


def check() -> None:
    """Raise if a signal has come: here is a good place to stop.

    Raises:
        Interrupted: then.
    """
    if _asked is not None:
        raise Interrupted(_asked)


@contextmanager
def deferred() -> Iterator[None]:
    """Let no signal raise within the block but where it calls `check`."""
    global _deferring
    _deferring += 1
    try:
        yield
    finally:
        _deferring -= 1
