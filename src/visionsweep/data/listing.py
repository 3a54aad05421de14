"""List the image files below folders, and what is left out and why."""

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from visionsweep.data.picture_files import is_hidden, is_system, picture_problem
from visionsweep.errors import UserError
from visionsweep.storage.files import why
from visionsweep.text.paths import as_text

DEEPEST = 40  # nested folders


class LeftOut(NamedTuple):
    """A file or folder that is not used, and the reason."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{as_text(self.path)}: {self.reason}"


@dataclass
class Listing:
    """Files below a folder.

    Attributes:
        images: files that can be opened as images, sorted.
        left_out: pictures that cannot be opened, and what may be pictures, such as broken links.
        ignored: hidden and system entries, and folders already listed elsewhere.
    """

    images: list[Path] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    ignored: list[LeftOut] = field(default_factory=list)


class Folder(NamedTuple):
    """A folder: the path by which it was reached, its real path, and its depth."""

    path: str
    real: str
    depth: int = 0


def list_folder(folder: Path) -> Listing:
    """List a folder and its subfolders; see `list_folders`."""
    return list_folders([folder])[folder]


def list_folders(folders: Sequence[Path]) -> dict[Path, Listing]:
    """List several folders and their subfolders, each folder once by its real path.

    A folder reached directly and by links is listed where it is; of several links, the first
    counts. A link to a folder above itself is not followed.

    Raises:
        UserError: if a folder cannot be read, or if folders are nested more than 40 deep.
    """
    listings = {folder: Listing() for folder in folders}
    seen: set[str] = set()
    links: list[tuple[Path, str]] = []  # top folder, and a link to a folder in it
    for top in folders:
        if top.is_symlink():
            links.append((top, str(top)))
        else:
            links += _walk(Folder(str(top), os.path.realpath(top)), top, listings[top], seen)
    while links:
        top, link = links.pop(0)
        real = os.path.realpath(link)
        if reason := _why_not_followed(link, real, seen):
            listings[top].ignored.append(LeftOut(Path(link), reason))
        else:
            links += _walk(Folder(link, real), top, listings[top], seen)
    for listing in listings.values():
        listing.images.sort()
        listing.left_out.sort()
        listing.ignored.sort()
    return listings


def _why_not_followed(link: str, real: str, seen: set[str]) -> str | None:
    here = os.path.realpath(os.path.dirname(link))  # noqa: PTH120 - strings, for speed
    if f"{here}/".startswith(f"{real.rstrip('/')}/"):
        return "a link to a folder above it"
    if real in seen:
        return f"a link to {as_text(real)}, which is already listed"
    return None


def _walk(start: Folder, top: Path, listing: Listing, seen: set[str]) -> list[tuple[Path, str]]:
    """List a folder and its subfolders, and return their links to folders."""
    links: list[tuple[Path, str]] = []
    waiting = [start]
    while waiting:
        folder = waiting.pop()
        if folder.real in seen:
            continue
        seen.add(folder.real)
        if folder.depth > DEEPEST:
            raise UserError(
                f"folders are nested more than {DEEPEST} deep", where=as_text(folder.path),
                hint="Move the images up, or name a folder closer to them.",
            )  # fmt: skip
        for entry in scan(folder.path):
            if not is_folder(entry):
                _add_file(entry, listing)
            elif is_system(entry.name) or is_hidden(entry.name):
                listing.ignored.append(LeftOut(Path(entry.path), "a hidden or system folder"))
            elif entry.is_symlink():
                links.append((top, entry.path))
            else:
                waiting.append(Folder(entry.path, f"{folder.real}/{entry.name}", folder.depth + 1))
    return sorted(links)


def scan(folder: str | Path) -> list[os.DirEntry[str]]:
    """List the entries of a folder, sorted by name.

    Raises:
        UserError: if the folder cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(
            f"this folder cannot be read: {why(error)}", where=as_text(folder)
        ) from error


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or into a folder that may not be read
        return False


def _add_file(entry: os.DirEntry[str], listing: Listing) -> None:
    problem = problem_of(entry)
    if problem is None:
        return
    path = Path(entry.path)
    if is_hidden(entry.name):
        listing.ignored.append(LeftOut(path, "a hidden file"))
    elif problem:
        listing.left_out.append(LeftOut(path, problem))
    else:
        listing.images.append(path)


def problem_of(entry: os.DirEntry[str]) -> str | None:
    """Return the `picture_problem` of a file; only regular files are opened."""
    if entry.is_file(follow_symlinks=False):
        return picture_problem(entry.path, entry.name)
    try:
        mode = entry.stat().st_mode
    except OSError as error:
        target = Path(entry.path).readlink() if entry.is_symlink() else None
        return f"a broken link to {as_text(target)}: {why(error)}" if target else why(error)
    if stat.S_ISREG(mode):
        return picture_problem(entry.path, entry.name)
    return "not a regular file: a named pipe, socket, or device"


def pictures_in(folder: str | Path) -> Iterator[str]:
    """Yield the pictures below a folder, usable or not; skip hidden folders and linked ones."""
    for entry in scan(folder):
        if is_folder(entry):
            if not (is_hidden(entry.name) or is_system(entry.name) or entry.is_symlink()):
                yield from pictures_in(entry.path)
        elif not is_hidden(entry.name) and problem_of(entry) is not None:
            yield entry.path
