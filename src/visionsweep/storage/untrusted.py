"""Read files that may come from somebody else: regular files of bounded size, validated as a whole.

A run's directory may have been sent, and a cache may be shared. A link, FIFO, device, or gigabyte
of brackets under the name of one of our files is refused with a reason.
"""

import os
import stat
from pathlib import Path
from typing import TypeVar

import msgspec

from visionsweep.storage.files import open_regular

MB = 2**20  # bytes

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFLNK: "a link, and links are not followed",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}

_T = TypeVar("_T")


class UntrustedFileError(ValueError):
    """A file that cannot be one of ours; the message does not name the file."""


def check_regular(path: Path, limit: int | None = None) -> os.stat_result:
    """Return the status of a regular file of at most `limit` bytes, without opening it.

    Raises:
        UntrustedFileError: if it is a link, directory, FIFO, or device, or too large.
        OSError: if there is no such file, or its status cannot be read.
    """
    status = os.lstat(path)
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "not a regular file")
        raise UntrustedFileError(f"is {kind}")
    _check_size(status.st_size, limit)
    return status


def _check_size(size: int, limit: int | None) -> None:
    if limit is not None and size > limit:
        sizes = f"{size / MB:,.1f} MB, more than the limit of {limit / MB:,g} MB"
        raise UntrustedFileError(f"has {sizes}")


def read_regular(path: Path, limit: int) -> bytes:
    """Return the content of a regular file of at most `limit` bytes; raises as `check_regular`."""
    size = check_regular(path, limit).st_size  # before opening, which may affect a device
    with open_regular(path) as file:
        content = file.read(size + 1)
        _check_size(len(content), limit)
    return content


def decode_json(content: bytes | str, kind: type[_T]) -> _T:
    """Decode JSON into a type, and check its constraints.

    Raises:
        UntrustedFileError: if the text is not JSON of this type, or is nested too deeply.
    """
    try:
        return msgspec.json.decode(content, type=kind)
    except RecursionError as error:
        raise UntrustedFileError("is nested too deeply") from error
    except (msgspec.MsgspecError, ValueError) as error:  # includes UnicodeDecodeError
        raise UntrustedFileError(str(error)) from error
