"""Read a folder of class folders: image files with the names of their classes."""

import logging
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from visionsweep.command_memory import remembered
from visionsweep.data.listing import LeftOut, is_folder, list_folders, pictures_in, problem_of, scan
from visionsweep.data.picture_files import is_hidden, is_system
from visionsweep.errors import UserError
from visionsweep.text.paths import as_text

log = logging.getLogger(__name__)


@dataclass
class LabeledFiles:
    """Image files with the names of their classes.

    Attributes:
        files: image files and class names, sorted by class and path.
        left_out: pictures and class folders that are not used.
        ignored: hidden and system entries, and links to folders that are listed elsewhere.
    """

    files: list[tuple[Path, str]] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    ignored: list[LeftOut] = field(default_factory=list)


def read_classes(folder: Path, exclude: Collection[Path] = ()) -> LabeledFiles:
    """List the images below the class folders of a folder, except in the folders of `exclude`.

    Raises:
        UserError: if there are no class folders, if two of them spell the same name, or if a folder
            cannot be read.
    """
    if not folder.is_dir():
        raise UserError("no such folder; expected one folder per class", where=as_text(folder))
    labeled = LabeledFiles()
    class_folders = []
    for entry in scan(folder):
        path = Path(entry.path)
        if not is_folder(entry):
            reason = None if is_hidden(entry.name) else problem_of(entry)
            if reason is not None:
                reason = reason or "is not in a class folder, so it has no class"
                labeled.left_out.append(LeftOut(path, reason))
        elif path in exclude:
            continue
        elif is_system(entry.name):
            labeled.ignored.append(LeftOut(path, "a system folder"))
        elif entry.name.startswith((".", "__")):
            if any(pictures_in(path)):
                reason = f"its name begins with {entry.name[0]!r}; rename it if it is a class"
                labeled.left_out.append(LeftOut(path, reason))
        else:
            class_folders.append(path)
    if not class_folders:
        raise UserError(
            "holds no class folders", where=as_text(folder),
            hint=f"Put images into {as_text(folder)}/<class>/.",
        )  # fmt: skip
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
            _warn_of_case(as_text(folder), tuple(names))


@remembered()
def _warn_of_case(folder: str, names: tuple[str, ...]) -> None:
    """Warn once per command of class names that differ in case only."""
    log.warning(
        "%s: the classes %s differ in upper and lower case only; they are used as %d classes",
        folder,
        " and ".join(map(repr, names)),
        len(names),
    )
