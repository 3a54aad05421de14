"""Locks between processes: one works while the others wait for what it makes.

The operating system frees the lock of a process that dies. So that it does not pass unseen, whoever
holds a lock leaves a note beside it; one that is found on taking the lock was left by the dead.
"""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import msgspec
from filelock import FileLock, Timeout

from visionsweep.storage.files import open_regular, write_atomically

log = logging.getLogger(__name__)

NOTE = ".holder"  # takes the suffix's place
_NOTE_BYTES = 4096  # more than any note holds


class Holder(msgspec.Struct, frozen=True):
    """Who holds a lock.

    Attributes:
        host: name of the machine.
        pid: number of the process there.
        since: date and time.
    """

    host: str
    pid: int
    since: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"


def lock_at(path: Path) -> FileLock:
    """Return a lock that the operating system guards, or none at all.

    The file is created as the umask allows, and a symbolic link in its place is refused.
    filelock would put up with a lock that is a mere file where the file system has no other. Left
    by a process of another machine that died, it would stop everybody for good.

    Args:
        path: the lock file, ending in `.lock`; its folder must exist.
    """
    return FileLock(path, fallback_to_soft=False)


@contextmanager
def held(path: Path, doing: str) -> Iterator[None]:
    """Hold a lock while the block runs, and wait for whoever holds it before.

    Args:
        path: the lock file, ending in `.lock`; its folder must exist.
        doing: what it is held for, "extracting features".

    Raises:
        OSError: if the file cannot be written, or the file system has no locks.
    """
    lock, note = lock_at(path), path.with_suffix(NOTE)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("Waiting for another process, %s (%s)", doing, _read(note) or "just begun")
        lock.acquire()
    try:
        if os.path.lexists(note):
            log.warning(
                "%s: who held this lock died while %s (%s); it is broken, and the work taken over",
                path,
                doing,
                _read(note) or "it did not say who it was",
            )
        here = Holder(
            socket.gethostname(), os.getpid(), datetime.now().astimezone().isoformat(" ", "seconds")
        )
        with suppress(OSError):  # a full disk does not stop what needs no more of it
            write_atomically(note, msgspec.json.encode(here), durable=False)
        yield
    finally:
        with suppress(OSError):
            note.unlink()
        lock.release()


def _read(note: Path) -> Holder | None:
    try:
        with open_regular(note) as file:  # others may write to a shared folder
            return msgspec.json.decode(file.read(_NOTE_BYTES), type=Holder)
    except (OSError, msgspec.DecodeError):
        return None
