"""Find the training, validation and test folders of a data set, however they are spelled."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from visionsweep.data.listing import LeftOut, is_folder, look_at, pictures_in, scan
from visionsweep.data.picture_files import is_hidden, is_system
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


@dataclass(frozen=True)
class Layout:
    """Folder of each split, unused files beside them, and a note on what was decided, or None."""

    folders: dict[str, Path]
    left_out: list[LeftOut] = field(default_factory=list)
    note: str | None = None


def split_named(name: str) -> str | None:
    """Return the split that a name such as `Train`, `val2017` or `Test-Images` stands for."""
    letters = re.sub(r"[\W\d_]+", "", name.casefold())
    return next((split for split, names in _NAMES.items() if names.fullmatch(letters)), None)


def find_layout(root: Path, splits: Mapping[str, str]) -> Layout:
    """Find the folder of each split.

    A folder named as a split is one if it holds class folders; one that holds images is a class
    that happens to be called so. A single folder around everything is looked through.

    Args:
        root: the data set's folder.
        splits: folders by split, relative to `root` or absolute; empty to find them by name.

    Raises:
        UserError: if a folder is missing, or the names allow more than one reading.
    """
    if splits:
        return _explicit(root, splits)
    return _detect(root, wrapped=False)


def _explicit(root: Path, splits: Mapping[str, str]) -> Layout:
    folders = {split: root / shell.expanded(str(as_path(value))) for split, value in splits.items()}
    for split, folder in folders.items():
        if not folder.is_dir():
            raise UserError("no such folder", where=f"data.splits.{split}={as_text(folder)}")
    real = {split: folder.resolve() for split, folder in folders.items()}
    for split, folder in real.items():
        for other, outer in real.items():
            inside = split != other and folder.is_relative_to(outer)
            if inside and folder.parent != outer:
                raise UserError(
                    f"lies in or is the {other} folder {as_text(outer)}; images would be in both",
                    where=f"data.splits.{split}={as_text(folder)}",
                )
    unused = [f.name for f in _folders_in(root) if not _holds_any(f, real.values())]
    names = ", ".join(f"{as_text(name)}/" for name in unused)
    note = f"{as_text(root)}: not used, as data.splits names others: {names}"
    return Layout(folders, note=note if unused and root.resolve() not in real.values() else None)


def _holds_any(folder: Path, others: Iterable[Path]) -> bool:
    return any(other.is_relative_to(folder.resolve()) for other in others)


Shape = Literal["classes", "images", "empty"]


def _shape(folder: Path) -> Shape:
    """Say whether a folder holds class folders with images, images themselves, or neither."""
    direct = False
    for entry in scan(folder):
        if is_folder(entry):
            if _is_visible(entry.name) and any(pictures_in(entry.path)):
                return "classes"
        elif not is_hidden(entry.name):
            direct = direct or look_at(entry) is not None
    return "images" if direct else "empty"


def _is_visible(name: str) -> bool:
    return not (name.startswith((".", "__")) or is_system(name))


def _folders_in(folder: Path) -> list[Path]:
    return [Path(e.path) for e in scan(folder) if is_folder(e) and _is_visible(e.name)]


def _detect(root: Path, *, wrapped: bool) -> Layout:
    if not root.is_dir():
        raise UserError("no such folder; it should hold your images", where=as_text(root))
    inside = _folders_in(root)
    named = {folder: split for folder in inside if (split := split_named(folder.name))}
    if not named:
        return _without_splits(root, inside, wrapped)
    shapes = {folder: _shape(folder) for folder in named}
    others = [f for f in inside if f not in named and any(pictures_in(f))]
    if "classes" not in shapes.values():
        return _named_as_splits_only(root, shapes, others)
    training = [f for f, split in named.items() if split == "train" and shapes[f] == "classes"]
    if not training:
        _refuse_missing_train(root, named, others)
    return _split_already(root, named, shapes, others)


def _without_splits(root: Path, inside: Sequence[Path], wrapped: bool) -> Layout:
    """Take the folders for classes, or look through a single one that holds class folders."""
    if len(inside) == 1 and not wrapped and _shape(inside[0]) == "classes":
        if any(look_at(entry) == "" for entry in scan(inside[0]) if not is_folder(entry)):
            return Layout({"train": root})  # a class with images and folders of more of them
        layout = _detect(inside[0], wrapped=True)
        note = f"{as_text(root)}: holds one folder only, {as_text(inside[0].name)}; its folders are"
        said = " and ".join(layout.folders) if _has_splits(layout) else "the classes"
        loose = [
            LeftOut(Path(entry.path), reason or "lies outside the only folder")
            for entry in scan(root)
            if not is_folder(entry) and not is_hidden(entry.name)
            if (reason := look_at(entry)) is not None
        ]
        return Layout(layout.folders, layout.left_out + loose, f"{note} {said}")
    _refuse_unrecognized_splits(root, inside)
    return Layout({"train": root})


def _refuse_unrecognized_splits(root: Path, inside: Sequence[Path]) -> None:
    """Refuse folders that hold the same class folders if one is nearly named as a split.

    Taken for classes, `my_train/` and `my_val/` would mix cats with dogs, and training images with
    validation images.
    """
    classes = {folder: {inner.name for inner in _folders_in(folder)} for folder in inside}
    alike = [
        folder
        for folder in inside
        if any(len(classes[folder] & classes[other]) > 1 for other in inside if other != folder)
    ]
    if any(_LIKE_A_SPLIT.search(folder.name) for folder in alike):
        names = " and ".join(f"{as_text(folder.name)}/" for folder in alike)
        raise UserError(
            f"{names}: hold class folders of the same names, but are not named train, val or test",
            where=as_text(root),
            hint=f"If they are splits, rename them or name them: {_EXPLICIT}. {_ARE_CLASSES}.",
        )


def _has_splits(layout: Layout) -> bool:
    return any(split_named(folder.name) == split for split, folder in layout.folders.items())


def _named_as_splits_only(
    root: Path, shapes: Mapping[Path, Shape], others: Sequence[Path]
) -> Layout:
    """Decide what folders named as splits are if they hold no class folders."""
    flat = [folder for folder, shape in shapes.items() if shape == "images"]
    names = " and ".join(f"{as_text(folder.name)}/" for folder in flat)
    if len(flat) == 1 and others:
        return Layout({"train": root}, note=f"{as_text(root)}: {names} holds images: a class")
    if flat:
        raise UserError(
            f"{names}: images without class folders",
            where=as_text(root),
            hint=f"Put them into {as_text(flat[0].name)}/<class>/. {_ARE_CLASSES}.",
        )
    if others:
        return Layout({"train": root})  # the empty folder is told of as an empty class
    raise UserError(
        "holds no class folders with images",
        where=as_text(next(iter(shapes))),
        hint=f"Put images into {as_text(root)}/train/<class>/.",
    )


def _refuse_missing_train(root: Path, named: Mapping[Path, str], others: Sequence[Path]) -> None:
    names = " and ".join(f"{as_text(folder.name)}/" for folder in named)
    if others:
        splits = ", ".join(f"{split}: {as_text(folder.name)}" for folder, split in named.items())
        raise UserError(
            f"{names}: named as validation or test images, but no folder of training images",
            where=as_text(root),
            hint=f"If the other folders are classes to train on, give data.splits='{{train: ., "
            f"{splits}}}'. {_ARE_CLASSES} too.",
        )
    raise UserError(
        f"no folder of training images; there are {names}",
        where=as_text(root / "train"),
        hint=f"Add train/<class>/, or name the folders: {_EXPLICIT}.",
    )


def _split_already(
    root: Path,
    named: Mapping[Path, str],
    shapes: Mapping[Path, Shape],
    others: Sequence[Path],
) -> Layout:
    """Use the folders that hold class folders as splits, and name all else."""
    folders: dict[str, Path] = {}
    left_out = [
        LeftOut(
            folder,
            f"lies beside the training images but is neither of {_EXPLICIT}. {_ARE_CLASSES}",
        )
        for folder in others
    ]
    for folder, split in named.items():
        if split in folders:
            raise UserError(
                f"{as_text(folders[split].name)}/ and {as_text(folder.name)}/ are both named as "
                f"{split} images",
                where=as_text(root),
                hint=f"Rename or remove one of them, or name the folders: {_EXPLICIT}.",
            )
        folders[split] = folder
    for split, folder in list(folders.items()):
        if shapes[folder] != "classes":
            del folders[split]
            held = "no images" if shapes[folder] == "empty" else "images without class folders"
            left_out.append(
                LeftOut(folder, f"holds {held}; put images into {split}/<class>/, or remove it")
            )
    for entry in scan(root):
        reason = None if is_folder(entry) or is_hidden(entry.name) else look_at(entry)
        if reason is not None:
            left_out.append(LeftOut(Path(entry.path), reason or "lies outside the split folders"))
    for path in (Path(e.path) for e in scan(root) if is_folder(e) and not _is_visible(e.name)):
        if not is_system(path.name) and any(pictures_in(path)):
            left_out.append(LeftOut(path, "a hidden folder that holds images"))
    ordered = {split: folders[split] for split in _STEMS if split in folders}
    return Layout(ordered, left_out)
