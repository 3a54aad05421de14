"""Writes files whole or not at all, and explains what a disk has against it."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from visionsweep.errors import UserError

_REMEDIES = {
    errno.ENOSPC: "the disk is full; make room, or choose another place with outputs_dir=",
    errno.EDQUOT: "your quota is used up; make room, or choose another place with outputs_dir=",
    errno.EROFS: "the disk can only be read; choose another place with outputs_dir=",
    errno.EACCES: "you may not write there; change its permissions, or choose another place with "
    "outputs_dir=",
    errno.EPERM: "you may not write there; change its permissions, or choose another place with "
    "outputs_dir=",
    errno.EIO: "the disk does not answer as it should",
}


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file under a hidden temporary name beside it, and rename it.

    A reader sees the old file, or the new one, or none: never a part of it.

    Args:
        path: the file; its folder must exist.
        content: all of it.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@contextmanager
def disk_errors_explained(place: Path) -> Iterator[None]:
    """Turn what a disk has against a run into words for the user.

    Args:
        place: the run's directory, named where the error names no file.

    Raises:
        UserError: instead of an `OSError` of a full, read-only, forbidden or failing disk.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _REMEDIES:
            raise
        raise UserError(
            f"{error.filename or place}: {_REMEDIES[error.errno]}. What was finished is kept; the "
            "same command with resume=last goes on."
        ) from error
