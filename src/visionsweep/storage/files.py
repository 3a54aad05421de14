"""Writes files whole or not at all, and says what a person can do where that is impossible."""

import errno
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from visionsweep.errors import UserError

A_DAY = 24 * 60 * 60  # seconds; nothing takes as long to write

PART = ".part"  # ends the hidden name of what is being written
_TEMPORARY = re.compile(rf"\.(.+)-[a-z0-9_]{{8}}{re.escape(PART)}")  # as `tempfile` names them
_FULL = (errno.ENOSPC, errno.EDQUOT)
_OF_DISKS = (*_FULL, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE)
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)

_RUNS_ELSEWHERE = (
    "Make room, or see that it may be written to. What was finished is kept: the same command with "
    "resume=last goes on; outputs_dir=FOLDER writes elsewhere."
)


def write_atomically(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write a file under a hidden temporary name beside it, and rename it.

    A reader sees the old file, or the new one, or none: never a part of it. The file gets the mode
    that the umask allows. A symbolic link at `path` is replaced and never followed.

    Args:
        path: the file; its folder must exist.
        content: all of it.
        durable: whether to wait until the disk has it; a note for other processes need not.

    Raises:
        OSError: if it cannot be written; names `path`. Nothing is left behind.
    """
    with replacing(path) as file:
        file.write(content)
        file.flush()
        if durable:
            os.fsync(file.fileno())


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a hidden temporary file beside a path, and rename it to the path after the block.

    Args:
        path: the file that is to appear; its folder must exist.

    Yields:
        The temporary file, writable. It is removed if the block raises.

    Raises:
        OSError: if it cannot be written; names `path`.
    """
    try:
        file, temporary = _open_beside(path)
        try:
            with file:
                yield file
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
    except OSError as error:  # the system names the temporary file, or for a full disk none
        raise OSError(error.errno, error.strerror, str(path)) from error


def _open_beside(path: Path) -> tuple[BinaryIO, Path]:
    """Create a temporary file; unlike one of `tempfile`, it is as open to others as umask says."""
    while True:
        temporary = path.with_name(f".{path.name}-{secrets.token_hex(4)}{PART}")
        with suppress(FileExistsError):  # exclusive creation follows no link
            return temporary.open("xb"), temporary


def open_regular(path: Path, *, follow_links: bool = False) -> BinaryIO:
    """Open a file for reading if it is a regular file: no link, no pipe, no device.

    Args:
        path: the file.
        follow_links: whether a symbolic link to a regular file will do.

    Raises:
        OSError: if it is something else or cannot be opened; a pipe is not waited for.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    flags |= 0 if follow_links else getattr(os, "O_NOFOLLOW", 0)
    try:
        handle = os.open(path, flags)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "is a symbolic link", str(path)) from error
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "is not a regular file", str(path))
    return os.fdopen(handle, "rb")


def remove_leftovers(folder: Path, age: float = A_DAY, of: str | None = None) -> list[Path]:
    """Remove the hidden temporary files and folders that killed processes left.

    Args:
        folder: where to look; what lies deeper stays.
        age: seconds since the last change from which on nobody can be writing it any more; 0 for
            whoever holds the lock that all writers hold.
        of: only those that were to become the file or folder of this name.

    Returns:
        What was removed.
    """
    removed = []
    with suppress(OSError):
        for path in folder.iterdir():
            named = _TEMPORARY.fullmatch(path.name)
            if named is None or of not in (None, named[1]):
                continue
            with suppress(OSError):  # another process was quicker, or may delete and we may not
                if time.time() - path.stat().st_mtime >= age:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
                    removed.append(path)
    return removed


def why(error: OSError) -> str:
    """Say what the system refused, `No space left on device`."""
    if error.errno in _NO_LOCKS:
        return "this file system cannot lock files"
    return error.strerror or str(error)


@contextmanager
def explained(place: Path, advice: str, needed: int | None = None) -> Iterator[None]:
    """Turn what the system refuses within the block into a `UserError`.

    Args:
        place: where the block writes; named if the system names no file.
        advice: what to do.
        needed: bytes that the block writes, if that is known.

    Raises:
        UserError: for any `OSError`: a full disk, a place that is read-only, missing permission.
    """
    try:
        yield
    except OSError as error:
        room = f" ({_room(place, needed)})" if error.errno in _FULL else ""
        raise UserError(f"{error.filename or place}: {why(error)}{room}. {advice}") from error


@contextmanager
def disk_errors_explained(place: Path) -> Iterator[None]:
    """Turn what a disk has against writing a run into a `UserError`; other errors stay as they are.

    Args:
        place: where the block writes; named if the system names no file.

    Raises:
        UserError: of a full, read-only, forbidden or failing disk.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _OF_DISKS:
            raise
        with explained(place, _RUNS_ELSEWHERE):
            raise


def _room(place: Path, needed: int | None) -> str:
    from rich.filesize import decimal

    there = next(folder for folder in (place, *place.absolute().parents) if folder.is_dir())
    free = f"{decimal(shutil.disk_usage(there).free)} free"
    return free if needed is None else f"{decimal(needed)} needed, {free}"
