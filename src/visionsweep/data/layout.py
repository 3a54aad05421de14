"""Find the training, validation, and test folders of a data set in any common spelling."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from visionsweep.data.listing import (
    LeftOut,
    is_folder,
    is_visible,
    pictures_beside,
    pictures_in,
    scan,
)
from visionsweep.data.picture_files import is_system
from visionsweep.errors import UserError
from visionsweep.text import shell
from visionsweep.text.paths import as_path, as_text

_STEMS = {
    "train": "train|training|trains|trn",
    "val": "val|vals|valid|validation|validate|validating|dev|devel|development",
    "test": "test|tests|testing|tst",
}
_AFFIX = "set|sets|data|dataset|split|folder|dir|images?|imgs?|photos?|pictures?|pics?|samples?"
_NAMES = {
    split: re.compile(rf"(?:{_AFFIX})*(?:{stems})(?:{_AFFIX})*") for split, stems in _STEMS.items()
}
_LIKE_A_SPLIT = re.compile("train|test|val|dev|eval|holdout", re.IGNORECASE)
_EXPLICIT = "data.splits={train: FOLDER, val: FOLDER, test: FOLDER}"
_ARE_CLASSES = "If the folders are classes, give data.splits={train: .}"

Content = Literal["classes", "images", "empty"]


@dataclass(frozen=True)
class Layout:
    """Folder of each split, unused files beside them, and a note about the choice, or None."""

    folders: dict[str, Path]
    left_out: list[LeftOut] = field(default_factory=list)
    note: str | None = None


def split_named(name: str) -> str | None:
    """Return the split that a name such as `Train`, `val2017`, or `Test-Images` stands for."""
    letters = re.sub(r"[\W\d_]+", "", name.casefold())
    return next((split for split, names in _NAMES.items() if names.fullmatch(letters)), None)


def find_layout(root: Path, splits: Mapping[str, str]) -> Layout:
    """Find the folder of each split, by name unless `splits` names them, relative to `root` or not.

    A folder named like a split is one if it holds class folders; if it holds images, it is a class.
    A single folder around everything is entered.

    Raises:
        UserError: if a folder is missing, or if the names are ambiguous.
    """
    return _explicit(root, splits) if splits else _detect(root)


def _explicit(root: Path, splits: Mapping[str, str]) -> Layout:
    folders = {split: root / shell.expanded(str(as_path(value))) for split, value in splits.items()}
    for split, folder in folders.items():
        if not folder.is_dir():
            raise UserError("no such folder", where=f"data.splits.{split}={as_text(folder)}")
    real = {split: folder.resolve() for split, folder in folders.items()}
    for split, folder in real.items():
        for other, outer in real.items():
            # A split beside the class folders of another one is not one of its classes.
            if split != other and folder.is_relative_to(outer) and folder.parent != outer:
                raise UserError(
                    f"is in or is the {other} folder {as_text(outer)}; images would be in both",
                    where=f"data.splits.{split}={as_text(folder)}",
                )
    unused = [
        folder
        for folder in _subfolders(root)
        if not any(used.is_relative_to(folder.resolve()) for used in real.values())
    ]
    note = f"{as_text(root)}: not used, as data.splits names others: {_quoted(unused, ', ')}"
    return Layout(folders, note=note if unused and root.resolve() not in real.values() else None)


def _quoted(folders: Iterable[Path], separator: str = " and ") -> str:
    return separator.join(f"{as_text(folder.name)}/" for folder in folders)


def _content(folder: Path) -> Content:
    """Return whether a folder holds class folders with images, images themselves, or neither."""
    if any(any(pictures_in(inner)) for inner in _subfolders(folder)):
        return "classes"
    return "images" if pictures_beside(folder, "") else "empty"


def _subfolders(folder: Path) -> list[Path]:
    return [Path(e.path) for e in scan(folder) if is_folder(e) and is_visible(e.name)]


def _detect(root: Path, *, wrapped: bool = False) -> Layout:
    if not root.is_dir():
        raise UserError("no such folder; expected a folder of images", where=as_text(root))
    inside = _subfolders(root)
    split_of = {folder: split for folder in inside if (split := split_named(folder.name))}
    if not split_of:
        return _without_splits(root, inside, wrapped)
    contents = {folder: _content(folder) for folder in split_of}
    others = [f for f in inside if f not in split_of and any(pictures_in(f))]
    if "classes" not in contents.values():
        return _without_classes(root, contents, others)
    return _with_splits(root, split_of, contents, others)


def _without_splits(root: Path, inside: Sequence[Path], wrapped: bool) -> Layout:
    """Use the folders as classes, or enter a single folder of class folders.

    Folders with the same class folders are refused if the name of one resembles a split: as
    classes, `my_train/` and `my_val/` would mix cats with dogs, and training with validation.
    """
    if len(inside) == 1 and not wrapped and _content(inside[0]) == "classes":
        if any(not left_out.reason for left_out in pictures_beside(inside[0], "")):
            return Layout({"train": root})  # a class with images and folders of further images
        layout = _detect(inside[0], wrapped=True)
        has_splits = any(split_named(f.name) == split for split, f in layout.folders.items())
        note = (
            f"{as_text(root)}: holds only the folder {as_text(inside[0].name)}, whose folders are "
            f"{' and '.join(layout.folders) if has_splits else 'the classes'}"
        )
        left_out = layout.left_out + pictures_beside(root, "is outside the only folder")
        return Layout(layout.folders, left_out, note)
    classes = {folder: {inner.name for inner in _subfolders(folder)} for folder in inside}
    several = [folder for folder in inside if len(classes[folder]) > 1]
    alike = [
        folder
        for folder in several
        if any(len(classes[folder] & classes[other]) > 1 for other in several if other != folder)
    ]
    if any(_LIKE_A_SPLIT.search(folder.name) for folder in alike):
        raise UserError(
            f"{_quoted(alike)}: hold class folders of the same names, but are not named train, "
            "val, or test",
            where=as_text(root),
            hint=f"If they are splits, rename them or name them: {_EXPLICIT}. {_ARE_CLASSES}.",
        )
    return Layout({"train": root})


def _without_classes(
    root: Path, contents: Mapping[Path, Content], others: Collection[Path]
) -> Layout:
    """Interpret folders named like splits that hold no class folders."""
    flat = [folder for folder, content in contents.items() if content == "images"]
    if others and len(flat) <= 1:  # an empty folder is reported as an empty class
        note = f"{as_text(root)}: {_quoted(flat)} holds images, so it is a class" if flat else None
        return Layout({"train": root}, note=note)
    if flat:
        raise UserError(
            f"{_quoted(flat)}: images without class folders",
            where=as_text(root),
            hint=f"Put them into {as_text(flat[0].name)}/<class>/. {_ARE_CLASSES}.",
        )
    raise UserError(
        "holds no class folders with images",
        where=as_text(next(iter(contents))),
        hint=f"Put images into {as_text(root)}/train/<class>/.",
    )


def _with_splits(
    root: Path,
    split_of: Mapping[Path, str],
    contents: Mapping[Path, Content],
    others: Collection[Path],
) -> Layout:
    """Use the folders that hold class folders as splits, and report everything else."""
    unnamed = f"is beside the training images but is neither of {_EXPLICIT}. {_ARE_CLASSES}"
    left_out = [LeftOut(folder, unnamed) for folder in others]
    folders: dict[str, Path] = {}
    for split in _STEMS:
        named = [folder for folder in split_of if split_of[folder] == split]
        usable = [folder for folder in named if contents[folder] == "classes"]
        if split == "train" and not usable:
            raise _no_training_folder(root, split_of, others)
        if len(named) > 1:
            raise UserError(
                f"{_quoted(named[:2])} are both named as {split} images",
                where=as_text(root),
                hint=f"Rename or remove one of them, or name the folders: {_EXPLICIT}.",
            )
        if usable:
            folders[split] = usable[0]
        elif named:
            folder = named[0]
            held = "no images" if contents[folder] == "empty" else "images without class folders"
            reason = f"holds {held}; put images into {split}/<class>/, or remove it"
            left_out.append(LeftOut(folder, reason))
    left_out += pictures_beside(root, "is outside the split folders")
    left_out += [
        LeftOut(Path(entry.path), "a hidden folder that holds images")
        for entry in scan(root)
        if is_folder(entry) and not (is_visible(entry.name) or is_system(entry.name))
        if any(pictures_in(entry.path))
    ]
    return Layout(folders, left_out)


def _no_training_folder(
    root: Path, split_of: Mapping[Path, str], others: Collection[Path]
) -> UserError:
    if not others:
        return UserError(
            f"no folder of training images; there are {_quoted(split_of)}",
            where=as_text(root / "train"),
            hint=f"Add train/<class>/, or name the folders: {_EXPLICIT}.",
        )
    splits = "".join(f", {split}: {as_text(f.name)}" for f, split in split_of.items())
    return UserError(
        f"{_quoted(split_of)}: named as validation or test images, but no folder of training "
        "images",
        where=as_text(root),
        hint="If the other folders are classes to train on, give "
        f"data.splits='{{train: .{splits}}}'. {_ARE_CLASSES} too.",
    )
