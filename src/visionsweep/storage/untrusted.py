"""Reads files that somebody else may have made: regular files of a bounded size, checked whole.

A run's directory may have been sent, and a cache may be shared. Whatever lies there under the name
of one of our files, a link, a FIFO, a device or a gigabyte of brackets, is refused with a reason.
"""

import os
import stat
from pathlib import Path
from typing import TypeVar

import msgspec

MB = 2**20  # bytes

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFLNK: "a link, and links are not followed",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
# Never wait for the writer of a FIFO, never follow a link; not every system has these flags.
_FLAGS = os.O_RDONLY | sum(
    getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY")
)

_T = TypeVar("_T")


class UntrustedFileError(ValueError):
    """A file that is not what one of ours is; says why, without naming the file."""


def check_regular(path: Path, limit: int | None = None) -> os.stat_result:
    """Refuse what is no regular file of a bounded size, without opening it.

    For files that a library opens by name.

    Args:
        path: the file.
        limit: the largest size in bytes, or None for any.

    Returns:
        What the system knows of the file.

    Raises:
        UntrustedFileError: for a link, a directory, a FIFO, a device, or a file too large.
        OSError: if there is no such file or it may not be looked at.
    """
    facts = os.lstat(path)
    _refuse(facts, limit)
    return facts


def read_regular(path: Path, limit: int) -> bytes:
    """Return the content of a regular file of a bounded size.

    Args:
        path: the file.
        limit: the largest size in bytes.

    Raises:
        UntrustedFileError: for a link, a directory, a FIFO, a device, or a file too large.
        OSError: if there is no such file or it cannot be read.
    """
    check_regular(path, limit)  # before it is opened: to open a device may do something
    opened = os.open(path, _FLAGS)
    try:
        facts = os.fstat(opened)
        _refuse(facts, limit)  # again: another may lie there by now
        parts, left = [], limit + 1
        while left > 0 and (part := os.read(opened, min(left, facts.st_size + 1))):
            parts.append(part)
            left -= len(part)
    finally:
        os.close(opened)
    content = b"".join(parts)
    if len(content) > limit:
        raise UntrustedFileError(_too_large(len(content), limit))
    return content


def _refuse(facts: os.stat_result, limit: int | None) -> None:
    if not stat.S_ISREG(facts.st_mode):
        kind = _KINDS.get(stat.S_IFMT(facts.st_mode), "no regular file")
        raise UntrustedFileError(f"is {kind}")
    if limit is not None and facts.st_size > limit:
        raise UntrustedFileError(_too_large(facts.st_size, limit))


def _too_large(size: int, limit: int) -> str:
    return f"has {size / MB:,.1f} MB, more than the {limit / MB:,g} MB that such a file may have"


def decode_json(content: bytes | str, kind: type[_T]) -> _T:
    """Decode JSON into a type, whatever it holds.

    Args:
        content: the JSON text.
        kind: a type that msgspec can decode into; its constraints are checked.

    Raises:
        UntrustedFileError: if the text is no JSON of this type, or nested too deep.
    """
    try:
        return msgspec.json.decode(content, type=kind)
    except RecursionError as error:
        raise UntrustedFileError("is nested too deep") from error
    except (msgspec.MsgspecError, ValueError) as error:  # UnicodeDecodeError is one
        raise UntrustedFileError(str(error)) from error
