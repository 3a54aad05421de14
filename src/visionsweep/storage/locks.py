"""Locks between processes on one machine, which wait for the holder's result.

The operating system releases the lock of a process that dies. The holder writes a note beside the
lock and deletes it at the end, so a note beside a free lock means that the holder died.
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
from msgspec import field

from visionsweep.storage.files import write_atomically
from visionsweep.storage.untrusted import decode_json, read_regular

log = logging.getLogger(__name__)

NOTE = ".holder"  # suffix of the note


class Holder(msgspec.Struct):
    """The process that holds a lock."""

    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)
    since: str = field(
        default_factory=lambda: datetime.now().astimezone().isoformat(" ", "seconds")
    )

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"


def lock_at(path: Path) -> FileLock:
    """Return a lock of the operating system; symbolic links are refused.

    filelock's fallback on file systems without locks, a plain file, is disabled: left behind by a
    process that died on another machine, it would block everyone forever.
    """
    return FileLock(path, fallback_to_soft=False)


@contextmanager
def held(path: Path, doing: str) -> Iterator[None]:
    """Hold a lock during the block; wait if another process holds it.

    Args:
        path: path of the lock file, ending in `.lock`; its folder must exist.
        doing: activity for messages, "extracting features".

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
                "%s: its holder died while %s (%s); the lock is broken, and the work is done again",
                path,
                doing,
                _read(note) or "unknown process",
            )
        with suppress(OSError):  # a full disk need not stop the block
            write_atomically(note, msgspec.json.encode(Holder()), durable=False)
        yield
    finally:
        with suppress(OSError):
            note.unlink()
        lock.release()


def _read(note: Path) -> Holder | None:
    try:
        return decode_json(read_regular(note, 4096), Holder)
    except (OSError, ValueError):
        return None
