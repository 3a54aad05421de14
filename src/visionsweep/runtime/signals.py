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
from dataclasses import dataclass
from types import FrameType

from visionsweep.command_memory import remembered

_FIRST = {  # with "after this batch" where a batch is completed first
    signal.SIGINT: "\nStopping{}; press Ctrl-C again to leave now.\n",
    signal.SIGTERM: "\nSIGTERM: stopping{}; a second one leaves now.\n",
}
_SECOND = b"\nLeft at once; a run in progress has no record and counts as crashed.\n"


class Interrupted(KeyboardInterrupt):
    """A signal asked the program to end with a `status`: 130 after Ctrl-C, 143 after SIGTERM."""

    def __init__(self, number: int) -> None:
        super().__init__(number)  # the only argument, so that it can be pickled
        self.status = 128 + number

    def __str__(self) -> str:
        return signal.Signals(self.status - 128).name


@dataclass
class _State:
    received: int | None = None  # the first signal
    deferring: int = 0  # number of `deferred` blocks that the program is in
    acknowledging: bool = True  # the first signal on standard error


@remembered()
def _state() -> _State:
    return _State()


@contextmanager
def installed(*, acknowledge: bool = True) -> Iterator[None]:
    """Handle SIGINT and SIGTERM as described above inside the block, and as before afterwards.

    A signal that came is forgotten at the end, since a launcher's process does one run after
    another. Outside the main thread, handlers stay as they are. If `acknowledge`, the first signal
    is answered on standard error.
    """
    state = _state()
    state.acknowledging = acknowledge
    numbers = (signal.SIGINT, signal.SIGTERM)
    in_main_thread = threading.current_thread() is threading.main_thread()
    before = [signal.signal(number, ask) for number in numbers] if in_main_thread else []
    try:
        yield
    finally:
        state.received, state.acknowledging = None, True
        for number, handler in zip(numbers, before, strict=False):
            signal.signal(number, handler)


def ask(number: int, frame: FrameType | None = None) -> None:
    """Handle SIGINT or SIGTERM: record the first signal, and exit on the second.

    Raises:
        Interrupted: at once, unless inside `deferred`.
    """
    state = _state()
    if state.received is not None:
        os.write(2, _SECOND)
        os._exit(128 + number)
    state.received = number
    if state.acknowledging:
        answer = _FIRST[signal.Signals(number)].format(" after this batch" * bool(state.deferring))
        with suppress(OSError):
            os.write(2, answer.encode())  # not print, which the signal may have interrupted
    if not state.deferring:
        raise Interrupted(number)


def status() -> int:
    """Return the exit status of the signal that came, or 0 if none has."""
    received = _state().received
    return 0 if received is None else 128 + received


def check() -> None:
    """Raise `Interrupted` if a signal has come."""
    received = _state().received
    if received is not None:
        raise Interrupted(received)


@contextmanager
def deferred() -> Iterator[None]:
    """Let signals raise only where the block calls `check`."""
    state = _state()
    state.deferring += 1
    try:
        yield
    finally:
        state.deferring -= 1
