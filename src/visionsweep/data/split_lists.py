"""Folders of class folders whose splits are lists of files, as Food-101 is published."""

from pathlib import Path

from visionsweep.data.classes import LabeledFiles, read_classes
from visionsweep.data.listing import LeftOut
from visionsweep.errors import UserError
from visionsweep.storage.files import why
from visionsweep.text.paths import as_path, as_text

_LISTS = ("train", "val", "test")


def read_split_lists(root: Path) -> dict[str, LabeledFiles] | None:
    """Return the images of `images/CLASS/*` in the splits of `meta/train.txt` and `meta/test.txt`.

    A line of a list is `CLASS/NAME`, with the suffix or without. `meta/val.txt` is read, too.

    Returns:
        Images by split; None if the folder is laid out otherwise.

    Raises:
        UserError: if a list cannot be read, or lists no image.
    """
    lists = {split: root / "meta" / f"{split}.txt" for split in _LISTS}
    lists = {split: path for split, path in lists.items() if path.is_file()}
    images = root / "images"
    if not {"train", "test"} <= lists.keys() or not images.is_dir():
        return None
    everything = read_classes(images)
    by_name: dict[Path, tuple[Path, str]] = {}
    for path, label in everything.files:
        name = path.relative_to(images)
        by_name[name] = by_name[name.with_suffix("")] = (path, label)
    parts, listed = {}, set()
    for split, file in lists.items():
        part = LabeledFiles()
        for number, line in enumerate(_lines(file), 1):
            pair = by_name.get(as_path(line))
            if pair is None:
                reason = f"no such image ({as_text(file)}, line {number})"
                part.left_out.append(LeftOut(images / as_path(line), reason))
            elif pair in listed:
                reason = f"is listed twice ({as_text(file)}, line {number})"
                part.left_out.append(LeftOut(pair[0], reason))
            else:
                listed.add(pair)
                part.files.append(pair)
        if not part.files and not part.left_out:
            raise UserError("lists no image", where=as_text(file))
        part.files.sort(key=lambda pair: (pair[1], pair[0]))
        parts[split] = part
    unlisted = sorted(set(everything.files) - listed)
    beside = parts["train"]
    beside.left_out += everything.left_out
    beside.left_out += [LeftOut(path, "is in no list of meta/") for path, _ in unlisted]
    beside.ignored += everything.ignored
    return parts


def _lines(file: Path) -> list[str]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UserError(
            why(error) if isinstance(error, OSError) else "is no text", where=as_text(file)
        ) from error
    return [line.strip() for line in text.splitlines() if line.strip()]
