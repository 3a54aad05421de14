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
    """Files below a folder, sorted."""

    images: list[Path] = field(default_factory=list)  # files that can be opened as images
    left_out: list[LeftOut] = field(default_factory=list)  # what is, or may be, a picture
    ignored: list[LeftOut] = field(default_factory=list)  # hidden, system, or listed elsewhere


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
        inside = [str(top)]
        if not top.is_symlink():
            inside = _walk(str(top), os.path.realpath(top), listings[top], seen)
        links += [(top, link) for link in sorted(inside)]
    while links:
        top, link = links.pop(0)
        real, above = os.path.realpath(link), os.path.realpath(os.path.dirname(link))  # noqa: PTH120
        if f"{above}/".startswith(f"{real.rstrip('/')}/"):
            listings[top].ignored.append(LeftOut(Path(link), "a link to a folder above it"))
        elif real in seen:
            reason = f"a link to {as_text(real)}, which is already listed"
            listings[top].ignored.append(LeftOut(Path(link), reason))
        else:
            links += [(top, inner) for inner in sorted(_walk(link, real, listings[top], seen))]
    for listing in listings.values():
        for entries in (listing.images, listing.left_out, listing.ignored):
            entries.sort()
    return listings


def _walk(folder: str, real: str, listing: Listing, seen: set[str], depth: int = 0) -> list[str]:
    """List a folder and its subfolders, and return their links to folders."""
    if real in seen:
        return []
    seen.add(real)
    if depth > DEEPEST:
        hint = "Move the images up, or name a folder closer to them."
        what = f"folders are nested more than {DEEPEST} deep"
        raise UserError(what, where=as_text(folder), hint=hint)
    links: list[str] = []
    for entry in scan(folder):
        if is_folder(entry):
            if is_system(entry.name) or is_hidden(entry.name):
                listing.ignored.append(LeftOut(Path(entry.path), "a hidden or system folder"))
            elif entry.is_symlink():
                links.append(entry.path)
            else:
                links += _walk(entry.path, f"{real}/{entry.name}", listing, seen, depth + 1)
        elif (problem := problem_of(entry)) is not None:
            if is_hidden(entry.name):
                listing.ignored.append(LeftOut(Path(entry.path), "a hidden file"))
            elif problem:
                listing.left_out.append(LeftOut(Path(entry.path), problem))
            else:
                listing.images.append(Path(entry.path))
    return links


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


def is_visible(name: str) -> bool:
    """Return whether a folder's name may be that of a class or split."""
    return not (name.startswith((".", "__")) or is_system(name))


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


def pictures_beside(folder: Path, reason: str) -> list[LeftOut]:
    """Return the visible pictures directly in a folder; `reason` is that of the usable ones."""
    files = [entry for entry in scan(folder) if not is_folder(entry) and not is_hidden(entry.name)]
    problems = {Path(entry.path): problem_of(entry) for entry in files}
    return [LeftOut(path, p or reason) for path, p in problems.items() if p is not None]


def pictures_in(folder: str | Path) -> Iterator[str]:
    """Yield the pictures below a folder, usable or not; skip hidden folders and linked ones."""
    for entry in scan(folder):
        if is_folder(entry):
            if not (is_hidden(entry.name) or is_system(entry.name) or entry.is_symlink()):
                yield from pictures_in(entry.path)
        elif not is_hidden(entry.name) and problem_of(entry) is not None:
            yield entry.path
