"""Where images come from: published archives, fetched once and unpacked safely."""

import errno
import logging
import os
import shutil
import sys
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit
from urllib.request import url2pathname

from visionsweep.errors import UserError
from visionsweep.files import PART, explained, remove_leftovers
from visionsweep.locks import held

log = logging.getLogger(__name__)

ELSEWHERE = (
    "Make room, or name another folder with data.root=FOLDER. Nothing half-done is left behind; "
    "the same command goes on from here."
)

CONNECT_SECONDS = 5.0  # to reach a server
READ_SECONDS = 30.0  # without a byte in the middle of a download
DECIDE_SECONDS = 8.0  # to decide whether an address can be reached, name lookup included


class UnreachableError(UserError):
    """An address that cannot be reached, or that has nothing there."""


def join_url(base_url: str, file_name: str) -> str:
    """Return the address of a file in a folder's address."""
    return f"{base_url.rstrip('/')}/{file_name}"


@cache
def why_unreachable(url: str) -> str | None:
    """Say why nothing can be had from an address, or None if it answers.

    Decides within `DECIDE_SECONDS`; the answer holds for the life of the process, so that all runs
    of a sweep see the same data.

    Args:
        url: an https://, http:// or file:// address.
    """
    if url.startswith("file:"):
        path = _local_path(url)
        return None if path.is_file() else f"there is no file {path}"
    if not url.startswith(("http://", "https://")):
        return "an address should start with https://, http:// or file://"
    answer: list[str | None] = []
    # A name lookup has no timeout of its own; a thread that is not waited for gives it one.
    asking = threading.Thread(target=lambda: answer.append(_ask(url)), daemon=True)
    asking.start()
    asking.join(DECIDE_SECONDS)
    return answer[0] if answer else f"no answer within {DECIDE_SECONDS:g} s"


def _ask(url: str) -> str | None:
    import requests

    try:
        response = requests.head(
            url, allow_redirects=True, timeout=(CONNECT_SECONDS, CONNECT_SECONDS)
        )
    except requests.RequestException as error:
        return f"{type(error).__name__}: {_root_reason(error)}"
    if response.status_code in (405, 501):  # a server that does not answer HEAD
        return None
    return f"HTTP {response.status_code} {response.reason}" if response.status_code >= 400 else None


def _root_reason(error: BaseException) -> str:
    while error.__context__ is not None:
        error = error.__context__
    return str(error)


def _local_path(url: str) -> Path:
    return Path(url2pathname(urlsplit(url).path))


def archive_folder(root: Path, file_name: str) -> Path:
    """Return the folder that an archive is unpacked into."""
    return root / Path(file_name).stem


def fetch_archive(base_url: str, file_name: str, root: Path) -> Path:
    """Make sure that an archive lies unpacked under `root`, and return its folder.

    What is there already is not fetched again: neither the folder nor the archive itself, should
    it lie in `root`. Two processes that ask at once fetch once. The folder appears under its final
    name only when it is complete. One that lies there is used even where nothing can be written.

    Args:
        base_url: address of the folder that holds the archive: https://, http:// or file://.
        file_name: the archive's name there, ending in .zip.
        root: folder to unpack below; made if missing.

    Raises:
        UnreachableError: if the archive is not here and cannot be had.
        UserError: if it is damaged, or an entry of it would leave its folder; if `root` is full or
            cannot be written. Nothing half-done is left.
    """
    folder = archive_folder(root, file_name)
    with explained(root, ELSEWHERE):
        if folder.is_dir():
            return folder
        root.mkdir(parents=True, exist_ok=True)
        with held(root / f".{file_name}.lock", f"fetching {file_name}"):
            if folder.is_dir():
                return folder
            remove_leftovers(root, age=0, of=folder.name)
            at_hand = root / file_name
            if at_hand.is_file():
                unpack(at_hand, folder)
                return folder
            url = join_url(base_url, file_name)
            if reason := why_unreachable(url):
                raise UnreachableError(f"{url}: {reason}")
            if url.startswith("file:"):
                unpack(_local_path(url), folder)
                return folder
            with _partial(folder) as downloads:
                unpack(_download(url, downloads), folder)
    return folder


def _download(url: str, folder: Path) -> Path:
    """Fetch a file over HTTP, begun afresh up to three times."""
    import pooch
    import requests

    log.info("Fetching %s", url)
    pooch.get_logger().setLevel(logging.WARNING)
    over_http = pooch.HTTPDownloader(
        progressbar=sys.stderr.isatty(), timeout=(CONNECT_SECONDS, READ_SECONDS)
    )
    file_name = url.rpartition("/")[2]
    downloads = pooch.create(
        path=folder,
        base_url="",
        registry={file_name: None},  # the zip's own checksums are verified by `unpack`
        urls={file_name: url},
        retry_if_failed=2,
    )
    try:
        return Path(downloads.fetch(file_name, downloader=over_http))
    except (requests.RequestException, ValueError) as error:
        raise UnreachableError(f"{url}: the download failed: {_root_reason(error)}") from error


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip archive into a new folder, all of it or nothing.

    Args:
        archive: the zip file. A single folder at its top that bears the archive's name is opened.
        folder: the folder to make; appears under this name only when complete.

    Raises:
        UserError: if the archive is damaged or holds an entry that would leave the folder; if
            there is no room for it, said before anything is written where that is certain.
    """
    log.info("Unpacking %s into %s", archive.name, folder)
    with _partial(folder) as partial:
        top = partial / "unpacked"  # of its own, since a temporary folder is closed to others
        try:
            with zipfile.ZipFile(archive) as opened:
                for entry in opened.infolist():
                    _refuse_escape(entry, archive)
                needed = sum(entry.file_size for entry in opened.infolist())
                with explained(folder, ELSEWHERE, needed):
                    _refuse_too_much(needed, folder)
                    top.mkdir()
                    opened.extractall(top)  # verifies each entry's checksum
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            NotImplementedError,
            RuntimeError,
        ) as error:
            raise UserError(
                f"{archive}: not a whole zip archive ({error}); delete it and fetch it again"
            ) from error
        inner = top / folder.name
        (inner if inner.is_dir() and len(list(top.iterdir())) == 1 else top).replace(folder)


@contextmanager
def _partial(folder: Path) -> Iterator[Path]:
    """Make a hidden folder beside one that is to come; if killed, the next process removes it."""
    prefix = f".{folder.name}-"
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=prefix, suffix=PART) as partial:
        yield Path(partial)


def _refuse_too_much(needed: int, folder: Path) -> None:
    """Refuse what is larger than all free space: to find out by writing would fill the disk."""
    disk = shutil.disk_usage(folder.parent)
    if disk.total > 0 and disk.free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def _refuse_escape(entry: zipfile.ZipInfo, archive: Path) -> None:
    path = PurePosixPath(entry.filename.replace("\\", "/"))
    is_link = (entry.external_attr >> 16) & 0o170000 == 0o120000
    if (
        path.is_absolute()
        or ".." in path.parts
        or ":" in entry.filename.partition("/")[0]
        or is_link
    ):
        raise UserError(
            f"{archive}: entry {entry.filename!r} would leave the folder it is unpacked into; "
            "nothing was unpacked, do not trust this archive"
        )
