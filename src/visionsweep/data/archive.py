"""Unpacks zip archives from others: within the folder, within bounds, all of it or nothing."""

import errno
import io
import logging
import os
import shutil
import stat
import tempfile
import unicodedata
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.filesize import decimal

from visionsweep.errors import UserError
from visionsweep.storage.checksums import is_junk, verify
from visionsweep.storage.files import PART, explained

log = logging.getLogger(__name__)

ELSEWHERE = (
    "Make room, or name another folder with data.root=FOLDER. Nothing half-done is left behind; "
    "the same command goes on from here."
)

# zipfile takes up to 1 kB of memory for an entry, whose line in the table may have only 46 bytes.
TABLE_BYTES = 16_000_000
FREE_BYTES = 100_000_000  # are unpacked whatever they were packed into
RATIO = 100  # of the archive's size; what goes beyond FREE_BYTES may not be more
NAME_BYTES = 255  # of a file; what every file system allows
PATH_BYTES = 1000
DEPTH = 32  # folders in one another

_PACK_AGAIN = "Nothing was unpacked. Pack it again with another program."
_DISTRUST = "Nothing was unpacked. Do not trust this archive."
_FETCH_AGAIN = "Nothing was unpacked. Delete it and get it again."

# bzip2 and LZMA would take memory that no entry states.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1 | 0x40 | 0x2000  # flags: the content, strongly, the table of contents


def unpack(
    archive: Path,
    folder: Path,
    *,
    expected: Sequence[str] = (),
    check: Callable[[Path], object] | None = None,
) -> None:
    """Unpack a zip archive into a new folder, all of it or nothing.

    Args:
        archive: the zip file. A folder at its top that bears the archive's name is opened.
        folder: the folder to make; appears under this name only when complete.
        expected: checksums, one of which the archive should have; see `checksums`.
        check: is called with the unpacked files before they get their name, and raises a
            `UserError` if they are not what they should be.

    Raises:
        UserError: if the archive is damaged, not what is expected, larger than its bounds, or holds
            an entry that would leave the folder; if there is no room for it, said before anything
            is written where that is certain.
    """
    log.info("Unpacking %s into %s", archive.name, folder)
    with partial_folder(folder) as partial:
        top = partial / "unpacked"  # of its own, since a temporary folder is closed to others
        _extract(archive, top, folder)
        inner = _opened(top, folder.name)
        verify(archive, inner, expected)
        if check is not None:
            with _named_after(archive, inner):
                check(inner)
        inner.replace(folder)


@contextmanager
def partial_folder(folder: Path) -> Iterator[Path]:
    """Make a hidden folder beside one that is to come; if killed, the next process removes it."""
    prefix = f".{folder.name}-"
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=prefix, suffix=PART) as partial:
        yield Path(partial)


def _extract(archive: Path, top: Path, folder: Path) -> None:
    with (
        _BoundedReads(archive) as file,
        _damage_explained(archive),
        zipfile.ZipFile(file) as opened,
    ):
        entries = opened.infolist()
        for entry in entries:
            _refuse_unsafe(entry, archive)
        _refuse_twins(entries, archive)
        needed = _bounded_size(entries, archive)
        with explained(folder, ELSEWHERE, needed):
            _refuse_too_much(needed, folder)
            top.mkdir()
            for entry in entries:  # `extract` writes no more than is stated; verifies the checksum
                written = Path(opened.extract(entry, top))
                if not entry.is_dir() and written.stat().st_size != entry.file_size:
                    raise zipfile.BadZipFile(f"{entry.filename!r} is smaller than stated")


class _BoundedReads(io.BufferedReader):
    """A file that gives no more at once than a reasonable table of contents takes."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self._size = path.stat().st_size

    def read(self, size: int | None = -1, /) -> bytes:
        """Read, unless it is too much."""
        left = max(0, self._size - self.tell())
        if (left if size is None or size < 0 else min(size, left)) > TABLE_BYTES:
            raise zipfile.BadZipFile(f"its table of contents is larger than {decimal(TABLE_BYTES)}")
        return super().read(size)


@contextmanager
def _damage_explained(archive: Path) -> Iterator[None]:
    """Turn every error of reading an archive into a `UserError`."""
    try:
        yield
    except UserError:
        raise
    # A broken archive ends in nearly any exception, OSError (a seek before the start) included.
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise UserError(
            f"not a whole zip archive ({reason})", where=archive, hint=_FETCH_AGAIN
        ) from error


@contextmanager
def _named_after(archive: Path, folder: Path) -> Iterator[None]:
    """Let errors about unpacked files name the archive, for the files are about to go."""
    try:
        yield
    except UserError as error:
        said = str(error).replace(f"{folder}{os.sep}", "").replace(str(folder), "the archive")
        raise UserError(
            f"holds not what it should: {said}",
            where=archive,
            hint="Nothing was unpacked. It should open on train/CLASS/*.jpg and test/CLASS/*.jpg.",
        ) from error


def _opened(top: Path, name: str) -> Path:
    """Return the folder at the top of an archive if it has the archive's name, or all of it."""
    there = [path for path in top.iterdir() if not is_junk(path.name)]
    inner = top / name
    return inner if there == [inner] and inner.is_dir() else top


def _refuse_too_much(needed: int, folder: Path) -> None:
    """Refuse what is larger than all free space: to find out by writing would fill the disk."""
    disk = shutil.disk_usage(folder.parent)
    if disk.total > 0 and disk.free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def _refuse_unsafe(entry: zipfile.ZipInfo, archive: Path) -> None:
    """Refuse an entry that would leave the folder, or that cannot be a file or a folder in it."""
    name, parts = entry.orig_filename, entry.orig_filename.split("/")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if name.startswith("/") or ".." in parts or "\\" in name or ":" in parts[0]:
        raise _unsafe(archive, name, "would leave the folder it is unpacked into")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _unsafe(archive, name, "is a link or a device and would leave the folder")
    if "\0" in name or not name:
        raise _unsafe(archive, name, "has a name that no file can have")
    if entry.flag_bits & _ENCRYPTED:
        raise UserError(
            f"entry {name!r} is encrypted", where=archive, hint="Pack it again without a password."
        )
    if entry.compress_type not in _METHODS:
        raise UserError(
            f"entry {name!r} is compressed by method {entry.compress_type}; only deflate is read",
            where=archive,
            hint=_PACK_AGAIN,
        )
    if len(name.encode()) > PATH_BYTES or any(len(p.encode()) > NAME_BYTES for p in parts):
        raise UserError(
            f"entry {name[:60]!r}... has a name longer than {NAME_BYTES} bytes, or a path longer "
            f"than {PATH_BYTES}",
            where=archive,
            hint=_PACK_AGAIN,
        )


def _unsafe(archive: Path, name: str, what: str) -> UserError:
    return UserError(f"entry {name!r} {what}", where=archive, hint=_DISTRUST)


def _refuse_twins(entries: Sequence[zipfile.ZipInfo], archive: Path) -> None:
    """Refuse names that stand for one file somewhere: on a file system that ignores case, too."""
    seen: dict[str, tuple[str, bool]] = {}  # as any file system compares -> as spelled, is a file
    for entry in entries:
        parts = [part for part in entry.filename.split("/") if part not in ("", ".")]
        if len(parts) > DEPTH:
            raise _unsafe(archive, entry.filename, f"lies more than {DEPTH} folders deep")
        for depth in range(1, len(parts) + 1):
            path = "/".join(parts[:depth])
            is_file = depth == len(parts) and not entry.is_dir()
            folded = unicodedata.normalize("NFC", path).casefold()
            if folded not in seen:
                seen[folded] = (path, is_file)
                continue
            spelled, was_file = seen[folded]
            if spelled != path:
                raise _unsafe(archive, path, f"and {spelled!r} are one file on some disks")
            if was_file or is_file:
                raise _unsafe(archive, path, "stands in it twice")


def _bounded_size(entries: Sequence[zipfile.ZipInfo], archive: Path) -> int:
    """Return how many bytes the entries state, once that is believable.

    Raises:
        UserError: if entries share bytes of the archive, or state more than its size allows.
    """
    packed, stated = archive.stat().st_size, sum(entry.file_size for entry in entries)
    end = 0
    for entry in sorted(entries, key=lambda entry: entry.header_offset):
        if entry.header_offset < end:
            raise _unsafe(archive, entry.filename, "shares its bytes with another entry")
        end = entry.header_offset + 30 + entry.compress_size
    if end > packed:
        raise zipfile.BadZipFile("it ends before its last entry does")
    if stated > max(FREE_BYTES, RATIO * packed):
        raise UserError(
            f"would grow from {decimal(packed)} to {decimal(stated)}, more than {RATIO} times",
            where=archive,
            hint=_DISTRUST,
        )
    return stated
