"""Read a folder of class folders: image files with the names of their classes."""

import logging
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from visionsweep.data.listing import (
    LeftOut,
    is_folder,
    is_visible,
    list_folders,
    pictures_beside,
    pictures_in,
    scan,
)
from visionsweep.data.picture_files import is_system
from visionsweep.errors import UserError, warn_once
from visionsweep.text.paths import as_text

log = logging.getLogger(__name__)


@dataclass
class LabeledFiles:
    """Image files with the names of their classes."""

    files: list[tuple[Path, str]] = field(default_factory=list)  # sorted by class and path
    left_out: list[LeftOut] = field(default_factory=list)  # pictures and class folders
    ignored: list[LeftOut] = field(default_factory=list)  # as in `Listing`


def read_classes(folder: Path, exclude: Collection[Path] = ()) -> LabeledFiles:
    """List the images below the class folders of a folder, except in the folders of `exclude`.

    Raises:
        UserError: if there are no class folders, if two of them spell the same name, or if a folder
            cannot be read.
    """
    if not folder.is_dir():
        raise UserError("no such folder; expected one folder per class", where=as_text(folder))
    reason = "is not in a class folder, so it has no class"
    labeled = LabeledFiles(left_out=pictures_beside(folder, reason))
    class_folders = []
    for path in (Path(entry.path) for entry in scan(folder) if is_folder(entry)):
        if path in exclude:
            continue
        if is_system(path.name):
            labeled.ignored.append(LeftOut(path, "a system folder"))
        elif is_visible(path.name):
            class_folders.append(path)
        elif any(pictures_in(path)):
            reason = f"its name begins with {path.name[0]!r}; rename it if it is a class"
            labeled.left_out.append(LeftOut(path, reason))
    if not class_folders:
        hint = f"Put images into {as_text(folder)}/<class>/."
        raise UserError("holds no class folders", where=as_text(folder), hint=hint)
    _refuse_same_spelling(folder, class_folders)
    for class_folder, listing in sorted(list_folders(class_folders).items()):
        name = as_text(class_folder.name)
        labeled.files += [(image, name) for image in listing.images]
        labeled.left_out += listing.left_out
        labeled.ignored += listing.ignored
        if not listing.images:
            reason = "holds no image that can be read; add some, or remove the folder"
            reason = next((e.reason for e in listing.ignored if e.path == class_folder), reason)
            labeled.left_out.append(LeftOut(class_folder, reason))
    return labeled


def spelling(name: str) -> str:
    """Return one form of all Unicode spellings of a name: macOS writes é as e and an accent."""
    return unicodedata.normalize("NFC", name)


def _refuse_same_spelling(folder: Path, class_folders: Iterable[Path]) -> None:
    """Refuse two spellings of one class name, and warn of names that differ in case only."""
    by_spelling, by_case = defaultdict(list), defaultdict(list)
    for path in class_folders:
        name = as_text(path.name)
        by_spelling[spelling(name)].append(path)
        by_case[spelling(name).casefold()].append(name)
    for name, paths in by_spelling.items():
        if len(paths) > 1:
            raise UserError(
                f"{len(paths)} folders spell the class {name!r}: "
                + " and ".join(ascii(path.name) for path in paths),
                where=as_text(folder),
                hint="They look the same but differ in their characters. Merge them into one.",
            )
    for names in by_case.values():
        if len(names) > 1:
            warn_once(
                log,
                f"{as_text(folder)}: the classes {' and '.join(map(repr, names))} differ in upper "
                f"and lower case only; they are used as {len(names)} classes",
            )
