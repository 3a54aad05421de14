"""Which images are trained on, validated on and tested on: decided before training."""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from visionsweep.config import DataConfig
from visionsweep.data import address, digests, images, sample, sources
from visionsweep.data.decoding import UnreadableImageError
from visionsweep.data.division import distinct, split_by_content, stratified_part
from visionsweep.data.images import ImageFile
from visionsweep.errors import UserError, warn_loudly
from visionsweep.files import explained

log = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
_FOLDERS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}

Labelled = list[tuple[Path, str]]  # files with the names of their classes


@dataclass(frozen=True)
class Splits:
    """The images of one experiment.

    Attributes:
        dataset: what the images are called in the record; `sample` for the rendered ones.
        classes: class names, sorted; a label is an index into them.
        train, val, test: the images of each split, sorted by class and path.
        skipped: files that could not be read, with the reason.
    """

    dataset: str
    classes: tuple[str, ...]
    train: tuple[ImageFile, ...]
    val: tuple[ImageFile, ...]
    test: tuple[ImageFile, ...]
    skipped: tuple[str, ...] = field(default=())

    def __getitem__(self, split: str) -> tuple[ImageFile, ...]:
        if split not in SPLITS:
            raise KeyError(split)
        return getattr(self, split)  # type: ignore[no-any-return]

    @property
    def counts(self) -> dict[str, int]:
        """Number of images in each split."""
        return {split: len(self[split]) for split in SPLITS}

    def digest(self, split: str) -> str:
        """Name a split by its contents and classes: equal only if the images are the same."""
        lines = sorted(f"{self.classes[image.label]}\t{image.digest}" for image in self[split])
        return images.digest_of("\n".join(lines).encode())


def load_splits(config: DataConfig, memory: Path | None = None) -> Splits:
    """Make sure that the images are on disk, and divide them.

    Args:
        config: what to load. Archives that cannot be reached give way to the built-in sample,
            unless `if_unreachable` says `error`.
        memory: a file that remembers what images hold, so that they are not opened again.

    Raises:
        UserError: if images cannot be had, cannot be read, or a class or split would be empty.
    """
    root = Path(config.root)
    with explained(root, "Is it there, and may you read it? data.root=FOLDER names another."):
        splits = _load(config, memory)
    _check(splits)
    return splits


def _load(config: DataConfig, memory: Path | None) -> Splits:
    match config.source:
        case "archives":
            missing = _unreachable_archives(config)
            if not missing:
                return _from_archives(config, memory)
            # A folder that was named and lacks an archive is no network that cannot be reached.
            if config.if_unreachable == "sample" and not str(config.base_url).startswith("file:"):
                _warn_of_sample(missing)
                return _from_sample(config, memory)
            raise UserError(
                "The photographs cannot be had:\n  " + "\n  ".join(missing) + "\nConnect to "
                "the network, or name another place with data.base_url=file:///FOLDER that "
                "holds the archives, or put the archives into data.root, or use data=sample."
            )
        case "sample":
            return _from_sample(config, memory)
        case _:
            return _from_folder(config, memory)


def _unreachable_archives(config: DataConfig) -> list[str]:
    root = Path(config.root)
    absent = [
        name
        for name in config.archives
        if not sources.archive_folder(root, name).is_dir() and not (root / name).is_file()
    ]
    urls = [address.join_url(str(config.base_url), name) for name in absent]
    return [f"{url}: {reason}" for url in urls if (reason := address.why_unreachable(url))]


def _warn_of_sample(missing: list[str]) -> None:
    warn_loudly(
        log,
        "THE PHOTOGRAPHS CANNOT BE REACHED: THIS RUN USES THE BUILT-IN RENDERED SAMPLE.",
        *missing,
        "Its results say nothing about photographs; every record and table calls it `sample`.",
        "Another source: data.base_url=file:///FOLDER. To stop: data.if_unreachable=error",
    )


def _from_archives(config: DataConfig, memory: Path | None) -> Splits:
    """Test on the smallest archive's test part, validate on what the others' hold beyond it.

    So every run is scored on the same images, whatever it was trained on.
    """
    by_size = sorted(config.archives, key=lambda name: config.archives[name])
    folders = [
        sources.fetch_archive(
            str(config.base_url),
            name,
            Path(config.root),
            expected=(config.checksums or {}).get(name, ()),
            check=_check_archive,
        )
        for name in by_size
    ]
    found = {
        folder: {split: _labelled(_split_folder(folder, split)) for split in ("train", "test")}
        for folder in folders
    }
    everything = [pair for parts in found.values() for files in parts.values() for pair in files]
    reader = _Reader(everything, config, memory)
    test = reader.read(found[folders[0]]["test"])
    later = reader.read([pair for folder in folders[1:] for pair in found[folder]["test"]])
    val = distinct(later, but_not=test)
    if config.fraction == 1:
        train = distinct(
            reader.read([pair for folder in folders for pair in found[folder]["train"]]), but_not=()
        )
    else:
        archive = next(name for name in by_size if config.archives[name] >= config.fraction)
        whole = reader.read(found[sources.archive_folder(Path(config.root), archive)]["train"])
        train = stratified_part(
            whole, config.fraction / config.archives[archive], config.split_seed
        )
    return reader.splits(config.name or "archives", {"train": train, "val": val, "test": test})


def _check_archive(folder: Path) -> None:
    """Refuse an unpacked archive that does not hold `train/<class>/*` and `test/<class>/*`."""
    classes = {name for split in ("train", "test") for _, name in _labelled(folder / split)}
    if len(classes) < 2:
        raise UserError(f"only one class, {', '.join(classes)!r}; a classifier needs two")


def _from_sample(config: DataConfig, memory: Path | None) -> Splits:
    folder = sample.render_sample(Path(config.root), config.fraction)
    found = {split: sample.sample_files(folder, split, config.fraction) for split in SPLITS}
    reader = _Reader([pair for files in found.values() for pair in files], config, memory)
    return reader.splits(sample.NAME, {s: reader.read(files) for s, files in found.items()})


def _from_folder(config: DataConfig, memory: Path | None) -> Splits:
    """Load `train/<class>/*`, with `val/` and `test/` if they are there, or `<class>/*` alone."""
    root = Path(config.root)
    folders = {split: _split_folder(root, split) for split in SPLITS}
    if not folders["train"].is_dir() and not _holds_only(root, folders.values()):
        folders = {"train": root}
    found = {split: _labelled(f) for split, f in folders.items() if f.is_dir() or split == "train"}
    reader = _Reader([pair for files in found.values() for pair in files], config, memory)
    parts = {split: reader.read(files) for split, files in found.items()}
    shares = {"val": config.val_share, "test": config.test_share}
    absent = {split: share for split, share in shares.items() if split not in parts}
    if absent:
        parts |= split_by_content(parts["train"], reader.classes, absent, config.split_seed)
    parts["train"] = stratified_part(parts["train"], config.fraction, config.split_seed)
    return reader.splits(config.name or root.resolve().name, parts)


def _split_folder(root: Path, split: str) -> Path:
    candidates = [root / name for name in _FOLDERS[split]]
    return next((folder for folder in candidates if folder.is_dir()), candidates[0])


def _holds_only(root: Path, folders: Iterable[Path]) -> bool:
    """Whether there are folders in `root`, and none but these."""
    there = set(_folders_in(root))
    return bool(there) and there <= set(folders)


def _folders_in(folder: Path) -> list[Path]:
    try:
        return sorted(inner for inner in folder.iterdir() if inner.is_dir())
    except FileNotFoundError as error:
        raise UserError(f"{folder}: no such folder; it should hold one folder a class") from error


def _labelled(folder: Path) -> Labelled:
    """List the images below a folder of class folders, with the names of their classes."""
    class_folders = [f for f in _folders_in(folder) if not f.name.startswith((".", "__"))]
    if not class_folders:
        raise UserError(f"{folder}: holds no class folders; put images into {folder}/<class>/")
    pairs: Labelled = []
    for class_folder in class_folders:
        files = images.list_images(class_folder)
        if not files:
            raise UserError(
                f"{class_folder}: holds no image; add some, or remove the folder. Formats: "
                "JPEG, PNG, WebP, TIFF, BMP, GIF and whatever else Pillow reads"
            )
        pairs += [(file, class_folder.name) for file in files]
    return pairs


class _Reader:
    """Reads every file of a data set once, then turns lists of files into lists of images."""

    def __init__(self, pairs: Labelled, config: DataConfig, memory: Path | None) -> None:
        self.classes = tuple(sorted({name for _, name in pairs}))
        self._content = digests.inspect([path for path, _ in pairs], memory, verify=config.verify)
        self.bad = [c for c in self._content.values() if isinstance(c, UnreadableImageError)]
        if not self.bad:
            return
        listed = "\n  ".join(str(error) for error in self.bad[:20])
        more = f"\n  and {len(self.bad) - 20} more" if len(self.bad) > 20 else ""
        if config.on_bad_image == "error":
            raise UserError(
                f"{len(self.bad)} of {len(pairs)} images cannot be read:\n  {listed}{more}\n"
                "Repair or remove them, or leave them out with data.on_bad_image=skip."
            )
        log.warning(
            "%d images cannot be read and are skipped:\n  %s%s", len(self.bad), listed, more
        )

    def read(self, pairs: Labelled) -> tuple[ImageFile, ...]:
        return tuple(
            ImageFile(path, self.classes.index(name), content)
            for path, name in pairs
            if isinstance(content := self._content[path], str)
        )

    def splits(self, dataset: str, parts: Mapping[str, tuple[ImageFile, ...]]) -> Splits:
        skipped = tuple(str(error) for error in self.bad)
        return Splits(dataset, self.classes, parts["train"], parts["val"], parts["test"], skipped)


def _check(splits: Splits) -> None:
    if len(splits.classes) < 2:
        raise UserError(
            f"{splits.dataset}: only one class, {splits.classes[0]!r}; a classifier needs two"
        )
    trained = {image.label for image in splits.train}
    for label, name in enumerate(splits.classes):
        if label not in trained:
            raise UserError(f"{splits.dataset}: class {name!r} has no readable training image")
    for split in ("val", "test"):
        if not splits[split]:
            raise UserError(f"{splits.dataset}: no image to {split} on")
        there = {image.label for image in splits[split]}
        if lacking := [name for label, name in enumerate(splits.classes) if label not in there]:
            log.warning(
                "%s: its %s images hold none of %s: its scores there say nothing of %s",
                splits.dataset,
                split,
                ", ".join(lacking),
                "it" if len(lacking) == 1 else "them",
            )
        shared = {i.digest for i in splits.train} & {i.digest for i in splits[split]}
        if shared:
            log.warning(
                "%d images of %s are training images too: its scores are too good",
                len(shared),
                split,
            )
    labels = Counter(d for d, _ in {(i.digest, i.label) for s in SPLITS for i in splits[s]})
    if twice := sum(count > 1 for count in labels.values()):
        log.warning("%d images stand under more than one class", twice)
    log.info(
        "%s: %d training, %d validation and %d test images of %s",
        splits.dataset,
        *splits.counts.values(),
        ", ".join(splits.classes)
        if len(splits.classes) <= 10
        else f"{len(splits.classes)} classes",
    )
