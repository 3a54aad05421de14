"""Unpack untrusted zip archives: inside the folder, within bounds, completely or not at all."""

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
    "Free space, or give another folder with data.root=FOLDER, and give the same command again. "
    "Nothing incomplete is left."
)

# Per entry, zipfile allocates up to 1 kB for as few as 46 bytes of the table of contents.
TABLE_BYTES = 16_000_000
FREE_BYTES = 100_000_000  # total size that is accepted at any compression ratio
RATIO = 100  # largest compression ratio of a larger archive
NAME_BYTES = 255  # of a file name; the limit of common file systems
PATH_BYTES = 1000
DEPTH = 32  # nested folders

_PACK_AGAIN = "Nothing was unpacked. Pack it again with another program."
_DISTRUST = "Nothing was unpacked. Do not trust this archive."

# The memory that bzip2 and LZMA need is not stated in an entry.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1 | 0x40 | 0x2000  # flags: content, strong encryption, table of contents


def unpack(
    archive: Path,
    folder: Path,
    *,
    expected: Sequence[str] = (),
    check: Callable[[Path], object] | None = None,
) -> None:
    """Unpack a zip archive into a new folder, completely or not at all.

    Args:
        archive: zip file. If it holds a single folder named like `folder`, that one is used.
        folder: folder to create; it gets this name only when it is complete.
        expected: valid checksums of the archive; see `checksums`.
        check: function that raises a `UserError` if the unpacked files are unsuitable.

    Raises:
        UserError: if the archive is damaged, unexpected, unsafe, or out of bounds, or does not fit
            on the disk.
    """
    log.info("Unpacking %s into %s", archive.name, folder)
    with partial_folder(folder) as partial:
        top = partial / "unpacked"  # a temporary folder itself is not readable by others
        try:
            _extract(archive, top, folder)
        except UserError:
            raise
        except Exception as error:  # nearly any type, OSError (a seek before the start) included
            raise UserError(
                f"not a whole zip archive ({str(error) or type(error).__name__})",
                where=archive,
                hint="Nothing was unpacked. Delete it and download it again.",
            ) from error
        entries = [path for path in top.iterdir() if not is_junk(path.name)]
        inner = top / folder.name
        inner = inner if entries == [inner] and inner.is_dir() else top
        verify(archive, inner, expected)
        try:
            if check is not None:
                check(inner)
        except UserError as error:  # about files that are deleted now
            reason = str(error).replace(f"{inner}{os.sep}", "").replace(str(inner), "the archive")
            raise UserError(
                f"unexpected content: {reason}",
                where=archive,
                hint="Nothing was unpacked. It should hold train/CLASS/*.jpg and test/CLASS/*.jpg.",
            ) from error
        inner.replace(folder)


@contextmanager
def partial_folder(folder: Path) -> Iterator[Path]:
    """Create a hidden folder beside a path, which `remove_leftovers` deletes after a kill."""
    prefix = f".{folder.name}-"
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=prefix, suffix=PART) as partial:
        yield Path(partial)


def _extract(archive: Path, top: Path, folder: Path) -> None:
    with _BoundedReads(archive) as file, zipfile.ZipFile(file) as opened:
        entries = opened.infolist()
        for entry in entries:
            _refuse_unsafe(entry, archive)
        _refuse_twins(entries, archive)
        needed = _bounded_size(entries, archive)
        with explained(folder, ELSEWHERE, needed):
            disk = shutil.disk_usage(folder.parent)
            if disk.total > 0 and disk.free < needed:  # trying would fill the disk
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
            top.mkdir()
            for entry in entries:
                # This verifies checksums, and writes at most the stated size.
                written = Path(opened.extract(entry, top))
                if not entry.is_dir() and written.stat().st_size != entry.file_size:
                    raise zipfile.BadZipFile(f"{entry.filename!r} is smaller than stated")


class _BoundedReads(io.BufferedReader):
    """A file that refuses to return more at once than a reasonable table of contents takes."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self._size = path.stat().st_size

    def read(self, size: int | None = -1, /) -> bytes:
        """Return at most `size` bytes; raises `BadZipFile` if that is too much."""
        left = max(0, self._size - self.tell())
        if (left if size is None or size < 0 else min(size, left)) > TABLE_BYTES:
            raise zipfile.BadZipFile(f"its table of contents is larger than {decimal(TABLE_BYTES)}")
        return super().read(size)


def _refused(archive: Path, name: str, what: str, hint: str = _DISTRUST) -> UserError:
    return UserError(f"entry {name!r} {what}", where=archive, hint=hint)


def _refuse_unsafe(entry: zipfile.ZipInfo, archive: Path) -> None:
    """Refuse an entry that would leave the folder, or that cannot be a file or folder in it."""
    name, parts = entry.orig_filename, entry.orig_filename.split("/")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if name.startswith("/") or ".." in parts or "\\" in name or ":" in parts[0]:
        raise _refused(archive, name, "would leave the folder it is unpacked into")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _refused(archive, name, "is a link or a device and would leave the folder")
    if "\0" in name or not name:
        raise _refused(archive, name, "has an invalid name")
    if entry.flag_bits & _ENCRYPTED:
        raise _refused(archive, name, "is encrypted", "Pack it again without a password.")
    if entry.compress_type not in _METHODS:
        what = f"is compressed by method {entry.compress_type}; only deflate is read"
        raise _refused(archive, name, what, _PACK_AGAIN)
    if len(name.encode()) > PATH_BYTES or any(len(p.encode()) > NAME_BYTES for p in parts):
        what = f"has a name longer than {NAME_BYTES} bytes, or a path longer than {PATH_BYTES}"
        raise _refused(archive, f"{name[:60]}...", what, _PACK_AGAIN)


def _refuse_twins(entries: Sequence[zipfile.ZipInfo], archive: Path) -> None:
    """Refuse names of the same file, also on file systems that ignore case or Unicode forms."""
    seen: dict[str, tuple[str, bool]] = {}  # folded path -> path, is a file
    for entry in entries:
        parts = [part for part in entry.filename.split("/") if part not in ("", ".")]
        if len(parts) > DEPTH:
            raise _refused(archive, entry.filename, f"lies more than {DEPTH} folders deep")
        for depth in range(1, len(parts) + 1):
            path = "/".join(parts[:depth])
            is_file = depth == len(parts) and not entry.is_dir()
            folded = unicodedata.normalize("NFC", path).casefold()
            known = folded in seen
            spelled, was_file = seen.setdefault(folded, (path, is_file))
            if spelled != path:
                raise _refused(archive, path, f"and {spelled!r} are one file on some disks")
            if known and (was_file or is_file):
                raise _refused(archive, path, "occurs twice")


def _bounded_size(entries: Sequence[zipfile.ZipInfo], archive: Path) -> int:
    """Return the total size that the entries state; refuse overlaps and implausible sizes."""
    packed, stated = archive.stat().st_size, sum(entry.file_size for entry in entries)
    end = 0
    for entry in sorted(entries, key=lambda entry: entry.header_offset):
        if entry.header_offset < end:
            raise _refused(archive, entry.filename, "shares its bytes with another entry")
        end = entry.header_offset + 30 + entry.compress_size
    if end > packed:
        raise zipfile.BadZipFile("it ends within its last entry")
    if stated > max(FREE_BYTES, RATIO * packed):
        what = f"would grow from {decimal(packed)} to {decimal(stated)}, more than {RATIO} times"
        raise UserError(what, where=archive, hint=_DISTRUST)
    return stated
