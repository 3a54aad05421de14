"""Write files atomically, open only regular files, and explain errors of the disk."""

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

A_DAY = 24 * 60 * 60  # seconds; no write takes as long

PART = ".part"  # suffix of hidden temporary files
_TEMPORARY = re.compile(rf"\.(.+)-[a-z0-9_]{{8}}{re.escape(PART)}")  # as `tempfile` names them
_FULL = (errno.ENOSPC, errno.EDQUOT)
_OF_DISKS = (*_FULL, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE)
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


def write_atomically(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write a hidden temporary file beside a path, and rename it to the path.

    Readers see the old file or the new one, never a part of it. The mode follows the umask. A
    symbolic link at the path is replaced, not followed. If `durable`, the file is on disk at the
    end.

    Raises:
        OSError: names `path`; no temporary file is left.
    """
    try:
        file, temporary = _open_beside(path)
        try:
            with file:
                file.write(content)
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
    except OSError as error:  # names the temporary file, or, if the disk is full, none
        raise OSError(error.errno, error.strerror, str(path)) from error


def _open_beside(path: Path) -> tuple[BinaryIO, Path]:
    """Create a temporary file whose mode, unlike `tempfile`'s, follows the umask."""
    while True:
        temporary = path.with_name(f".{path.name}-{secrets.token_hex(4)}{PART}")
        with suppress(FileExistsError):  # exclusive creation follows no link
            return temporary.open("xb"), temporary


def open_regular(path: Path, *, follow_links: bool = False) -> BinaryIO:
    """Open a regular file for reading, without waiting for a named pipe.

    Raises:
        OSError: if it cannot be opened, or is not a regular file, nor, if asked for, a link to one.
    """
    wanted = ["O_NONBLOCK", "O_CLOEXEC", "O_BINARY", *([] if follow_links else ["O_NOFOLLOW"])]
    flags = sum(getattr(os, name, 0) for name in wanted)  # each system has some of them
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
    """Delete the temporary files and folders of killed processes.

    Args:
        folder: folder that is searched, without its subfolders.
        age: seconds since the last change after which no process is still writing; 0 if the caller
            holds the lock of all writers.
        of: name of the final file or folder; None for all of them.

    Returns:
        The deleted paths.
    """
    removed = []
    with suppress(OSError):
        for path in folder.iterdir():
            named = _TEMPORARY.fullmatch(path.name)
            if named is None or of not in (None, named[1]):
                continue
            with suppress(OSError):  # deleted by another process, or not permitted
                if time.time() - path.stat().st_mtime >= age:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
                    removed.append(path)
    return removed


def why(error: OSError) -> str:
    """Return the reason of a system error, `No space left on device`."""
    if error.errno in _NO_LOCKS:
        return "this file system cannot lock files"
    return error.strerror or str(error)


@contextmanager
def explained(place: Path, advice: str, needed: int | None = None) -> Iterator[None]:
    """Turn each `OSError` of a block that writes `needed` bytes to a place into a `UserError`.

    Raises:
        UserError: instead of any `OSError`, such as a full or read-only disk.
    """
    try:
        yield
    except OSError as error:
        room = f" ({_room(place, needed)})" if error.errno in _FULL else ""
        raise UserError(f"{error.filename or place}: {why(error)}{room}. {advice}") from error


@contextmanager
def disk_errors_explained(place: Path) -> Iterator[None]:
    """Turn errors of the disk while a run is written into a `UserError`; no other `OSError`.

    Raises:
        UserError: if the disk is full, read-only, not permitted, or failing.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _OF_DISKS:
            raise
        advice = (
            "Free space, or change its permissions. Finished runs are kept: the same command with "
            "resume=last runs the rest; outputs_dir=FOLDER writes elsewhere."
        )
        with explained(place, advice):
            raise


def _room(place: Path, needed: int | None) -> str:
    from rich.filesize import decimal

    folder = next(folder for folder in (place, *place.absolute().parents) if folder.is_dir())
    free = f"{decimal(shutil.disk_usage(folder).free)} free"
    return free if needed is None else f"{decimal(needed)} needed, {free}"
