"""Data sets of torchvision as image files with the names of their classes, by official split."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from visionsweep.config.published_datasets import TORCHVISION_DATASETS
from visionsweep.data.archive import partial_folder
from visionsweep.data.classes import LabeledFiles
from visionsweep.data.torchvision_download import download
from visionsweep.errors import UserError
from visionsweep.runtime import terminal
from visionsweep.storage.files import remove_leftovers
from visionsweep.storage.locks import held
from visionsweep.text.paths import as_text

log = logging.getLogger(__name__)

_NAMES = "classes.json"


def torchvision_files(name: str, root: Path, *, may_download: bool) -> dict[str, LabeledFiles]:
    """Return the image files of a data set of torchvision by split.

    Images that are stored as arrays are written once to `root/NAME-images`, as BMP, whose bytes,
    and so the images' digests, depend on no library. Of several processes, one downloads
    or writes them.

    Args:
        name: one of `TORCHVISION_DATASETS`.
        root: torchvision's root, or the data set's own folder; created if images are downloaded.
        may_download: whether to download what is missing.

    Raises:
        UserError: if the data set is neither in `root` nor can be downloaded, or is damaged.
    """
    stored = root / f"{name}-images"
    if stored.is_dir():
        return _stored(stored)
    sets = _sets(name, root)
    if not sets:
        if not may_download:
            raise UserError(f"{name} is not in data.root", where=as_text(root))
        root.mkdir(parents=True, exist_ok=True)
        with held(root / f".{name}.lock", f"downloading {name}"):
            sets = _sets(name, root)
            if not sets:
                download(name, root)
                sets = _sets(name, root)
        if not sets:
            raise UserError(
                f"what is there of {name} is incomplete",
                where=as_text(root),
                hint="Delete its folder, and it is unpacked again.",
            )
    files = {split: _files(dataset) for split, dataset in sets.items()}
    if all(pairs is not None for pairs in files.values()):
        return {split: _labeled(pairs or [], sets[split]) for split, pairs in files.items()}
    with held(root / f".{name}.lock", f"writing the images of {name}"):
        if not stored.is_dir():
            remove_leftovers(root, age=0, of=stored.name)
            _store(sets, stored)
    return _stored(stored)


def _sets(name: str, root: Path) -> dict[str, Any]:
    """Return torchvision's objects by split; none if one is missing in `root` and its parent."""
    import torchvision.datasets

    for folder in (root, root.absolute().parent):
        if not folder.is_dir() or (
            name.startswith("Caltech") and not (folder / name.lower()).is_dir()  # would be made
        ):
            continue
        try:
            found = {
                split: getattr(torchvision.datasets, name)(folder, **arguments)
                for split, arguments in TORCHVISION_DATASETS[name].items()
            }
        except (RuntimeError, FileNotFoundError):
            continue
        except (ValueError, EOFError, OSError, KeyError) as error:
            raise UserError(
                f"{name} is damaged: {error}",
                where=as_text(folder),
                hint="Delete its folder, and it is unpacked or downloaded again.",
            ) from error
        files = [path for dataset in found.values() for path, _ in _files(dataset) or []]
        if folder == root or (files and all(p.is_relative_to(root.absolute()) for p in files)):
            return found
    return {}


def _files(dataset: Any) -> list[tuple[Path, int]] | None:
    """Return image files with their labels; None if the data set keeps arrays."""
    for attribute in ("samples", "_samples"):
        if hasattr(dataset, attribute):
            return [(Path(path), int(label)) for path, label in getattr(dataset, attribute)]
    for attribute in ("_image_files", "_images"):
        if hasattr(dataset, attribute):
            pairs = zip(getattr(dataset, attribute), dataset._labels, strict=True)
            return [(Path(path), int(label)) for path, label in pairs]
    if hasattr(dataset, "categories"):  # Caltech101 and Caltech256 number the files of each folder
        return [
            (path, label)
            for label, category in enumerate(dataset.categories)
            for path in Path(dataset.root).glob(f"*Categories/{category}/*.jpg")
        ]
    return None


def _class_names(dataset: Any, labels: list[int]) -> list[str]:
    """Return the name of each class: torchvision's, or numbers where it has none."""
    given = getattr(dataset, "classes", None) or getattr(dataset, "categories", None)
    if given is None:
        width = len(str(max(labels)))
        return [f"{label:0{width}}" for label in range(max(labels) + 1)]
    return [name if isinstance(name, str) else name[0] for name in given]


def _labeled(pairs: list[tuple[Path, int]], dataset: Any) -> LabeledFiles:
    names = _class_names(dataset, [label for _, label in pairs])
    return LabeledFiles(sorted(((path, names[label]) for path, label in pairs), key=_by_class))


def _by_class(pair: tuple[Path, str]) -> tuple[str, Path]:
    return pair[1], pair[0]


def _store(sets: Mapping[str, Any], folder: Path) -> None:
    """Write the images of arrays to `SPLIT/LABEL/NUMBER.bmp`, and the names of the classes."""
    count = sum(map(len, sets.values()))
    log.info("Writing %d images to %s", count, folder)
    with partial_folder(folder) as partial, terminal.bar(total=count, unit=" images") as bar:
        top = partial / "images"
        labels = []
        for split, dataset in sets.items():
            for number in range(len(dataset)):
                image, label = dataset[number]
                path = top / split / str(label) / f"{number:06}.bmp"
                path.parent.mkdir(parents=True, exist_ok=True)
                image.save(path)
                labels.append(int(label))
                bar.update()
        names = _class_names(next(iter(sets.values())), labels)
        (top / _NAMES).write_text(json.dumps(names), encoding="utf-8")
        top.replace(folder)


def _stored(folder: Path) -> dict[str, LabeledFiles]:
    """Return what `_store` wrote.

    Raises:
        UserError: if it is damaged.
    """
    try:
        names = json.loads((folder / _NAMES).read_text(encoding="utf-8"))
        return {
            split.name: LabeledFiles(
                sorted(
                    ((p, str(names[int(p.parent.name)])) for p in split.glob("*/*.bmp")),
                    key=_by_class,
                )
            )
            for split in folder.iterdir()
            if split.is_dir()
        }
    except (OSError, ValueError, LookupError, TypeError) as error:
        hint = "Delete the folder, and it is written again."
        raise UserError(f"is damaged: {error}", where=as_text(folder), hint=hint) from error
