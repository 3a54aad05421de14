"""Load the images of a run and split them, before training."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from visionsweep.config.schema import DataConfig
from visionsweep.data import image_facts, sources
from visionsweep.data.address import join_url
from visionsweep.data.classes import Labelled, read_classes, spelling
from visionsweep.data.images import ImageFile
from visionsweep.data.layout import find_layout
from visionsweep.data.reachability import why_unreachable
from visionsweep.data.reader import ImageReader
from visionsweep.data.split_checks import check_splits
from visionsweep.data.splits import SPLITS, Splits
from visionsweep.data.stratified_split import distinct, split_by_content, stratified_part
from visionsweep.data.synthetic import sample
from visionsweep.errors import UserError, warn_loudly
from visionsweep.storage.files import explained
from visionsweep.text.paths import as_path, as_text

log = logging.getLogger(__name__)


def load_splits(config: DataConfig, memory: Path | None = None) -> Splits:
    """Make sure that the images are on disk, and divide them.

    Args:
        config: what to load. Archives that cannot be reached give way to the built-in sample,
            unless `if_unreachable` says `error`.
        memory: a file that remembers what images hold, so that they are not opened again.

    Raises:
        UserError: if images cannot be had, cannot be read, or a class or split would be empty.
    """
    root = as_path(config.root)
    with explained(root, "Is it there, and may you read it? data.root=FOLDER names another."):
        splits = _with_facts(_load(config, memory), config, memory)
    check_splits(splits)
    return splits


def _with_facts(splits: Splits, config: DataConfig, memory: Path | None) -> Splits:
    """Set the range of gray values, and warn of images whose files had to be repaired."""
    files = [image for split in SPLITS for image in splits[split]]
    kept = None if memory is None else memory.parent / "facts" / memory.name
    facts = image_facts.facts_of(files, kept)
    image_facts.warn_of_repairs(
        {file.path: f.repair for file, f in zip(files, facts, strict=True) if f.repair}
    )
    train, others = facts[: len(splits.train)], facts[len(splits.train) :]
    return replace(splits, gray_range=image_facts.gray_range_of(train, others, config.gray_range))


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
    urls = [join_url(str(config.base_url), name) for name in absent]
    return [f"{url}: {reason}" for url in urls if (reason := why_unreachable(url))]


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
    labelled = {
        folder: {split: read_classes(folder / split) for split in ("train", "test")}
        for folder in folders
    }
    everything = [part for parts in labelled.values() for part in parts.values()]
    reader = ImageReader(everything, config, memory)
    found = {
        folder: {split: part.pairs for split, part in parts.items()}
        for folder, parts in labelled.items()
    }
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
    return _splits(config.name or "archives", reader, {"train": train, "val": val, "test": test})


def _check_archive(folder: Path) -> None:
    """Refuse an unpacked archive that does not hold `train/<class>/*` and `test/<class>/*`."""
    parts = [read_classes(folder / split) for split in ("train", "test")]
    for entry in (entry for part in parts for entry in part.left_out):
        if entry.path.is_dir():
            raise UserError(entry.reason, where=as_text(entry.path))
    classes = {name for part in parts for _, name in part.pairs}
    if len(classes) < 2:
        raise UserError(f"only one class, {', '.join(classes)!r}; a classifier needs two")


def _from_sample(config: DataConfig, memory: Path | None) -> Splits:
    folder = sample.render_sample(Path(config.root), config.fraction)
    found = {s: Labelled(sample.sample_files(folder, s, config.fraction)) for s in SPLITS}
    reader = ImageReader(found.values(), config, memory)
    splits = _splits(sample.NAME, reader, {s: reader.read(f.pairs) for s, f in found.items()})
    return replace(splits, is_synthetic=True)


def _from_folder(config: DataConfig, memory: Path | None) -> Splits:
    """Load `train/<class>/*`, with `val/` and `test/` if they are there, or `<class>/*` alone."""
    root = as_path(config.root)
    layout = find_layout(root, {split: name for split, name in config.splits.items() if name})
    if layout.note:
        log.info("%s", layout.note)
    real = {folder.resolve() for folder in layout.folders.values()}
    found = {
        split: read_classes(
            folder, [f for f in folder.iterdir() if f.is_dir() and f.resolve() in real]
        )
        for split, folder in layout.folders.items()
    }
    _spell_as_in_training(found)
    reader = ImageReader(found.values(), config, memory, layout.left_out)
    parts = {split: reader.read(labelled.pairs) for split, labelled in found.items()}
    shares = {"val": config.val_share, "test": config.test_share}
    absent = {split: share for split, share in shares.items() if split not in parts}
    if absent:
        parts |= split_by_content(parts["train"], reader.classes, absent, config.split_seed)
    parts["train"] = stratified_part(parts["train"], config.fraction, config.split_seed)
    return _splits(config.name or as_text(root.resolve().name), reader, parts)


def _spell_as_in_training(found: Mapping[str, Labelled]) -> None:
    """Give classes of the other splits the Unicode spelling that they have in training."""
    known = {spelling(name): name for _, name in found["train"].pairs}
    for labelled in found.values():
        labelled.pairs = [(path, known.get(spelling(name), name)) for path, name in labelled.pairs]


def _splits(
    dataset: str, reader: ImageReader, parts: Mapping[str, tuple[ImageFile, ...]]
) -> Splits:
    return Splits(
        dataset, reader.classes, parts["train"], parts["val"], parts["test"], reader.skipped
    )
