"""Load the images of a data set and split them."""

import logging
import re
from collections import defaultdict
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from visionsweep.config.schema import DataConfig
from visionsweep.data import sources
from visionsweep.data.classes import LabeledFiles, read_classes, spelling
from visionsweep.data.gray import range_of
from visionsweep.data.image_facts import warn_of_repairs
from visionsweep.data.images import ImageFile
from visionsweep.data.layout import find_layout
from visionsweep.data.reachability import is_offline
from visionsweep.data.reader import ImageReader
from visionsweep.data.split_lists import read_split_lists
from visionsweep.data.split_names import SPLITS
from visionsweep.data.splits import Splits, check_splits
from visionsweep.data.stratified_split import distinct, split_by_content, stratified_part
from visionsweep.data.synthetic import sample
from visionsweep.data.table import read_table
from visionsweep.data.torchvision_sets import torchvision_files
from visionsweep.errors import UserError, warn_loudly, warn_once
from visionsweep.storage.files import explained
from visionsweep.text.paths import as_path, as_text

log = logging.getLogger(__name__)


def load_splits(config: DataConfig, cache_file: Path | None = None) -> Splits:
    """Return the training, validation, and test images; download or render them if necessary.

    Args:
        config: data settings. Archives that cannot be downloaded are replaced by the built-in
            sample, unless `if_unreachable` is `error`.
        cache_file: file with cached facts about images; see `image_facts.inspect`.

    Raises:
        UserError: if images are unavailable or unreadable, or if a class or split would be empty.
    """
    with explained(as_path(config.root), "Check its permissions, or give data.root=FOLDER."):
        splits = _load(config, cache_file)
    check_splits(splits)
    return splits


def _load(config: DataConfig, cache_file: Path | None) -> Splits:
    if config.source == "sample":
        return _from_sample(config, cache_file)
    if config.source == "folder":
        return _from_folder(config, cache_file)
    if config.source == "table":
        return _from_table(config, cache_file)
    if config.source == "torchvision":
        return _from_torchvision(config, cache_file)
    unreachable = sources.unreachable_archives(config)
    if not unreachable:
        return _from_archives(config, cache_file)
    # A file:// folder without the archive is a mistake, not a missing network.
    if config.if_unreachable == "error" or str(config.base_url).startswith("file:"):
        raise UserError(
            "The photographs cannot be downloaded:\n  " + "\n  ".join(unreachable) + "\nConnect to "
            "the network, give the folder of the archives with data.base_url=file:///FOLDER, put "
            "the archives into data.root, or use data=sample."
        )
    warn_loudly(
        log,
        "THE PHOTOGRAPHS CANNOT BE REACHED: THIS RUN USES THE BUILT-IN RENDERED SAMPLE.",
        *unreachable,
        "Its results say nothing about photographs; records and tables call it `sample`.",
        "Another source: data.base_url=file:///FOLDER. To stop: data.if_unreachable=error",
    )
    return _from_sample(config, cache_file)


def _from_archives(config: DataConfig, cache_file: Path | None) -> Splits:
    """Test on the smallest archive's test part, and validate on the other images of larger ones'.

    All runs are thus scored on the same images, whatever they are trained on.
    """
    by_size = sorted(config.archives, key=lambda name: config.archives[name])
    labeled: dict[str, dict[str, LabeledFiles]] = {}
    for name in by_size:
        folder = sources.fetch_archive(
            str(config.base_url),
            name,
            Path(config.root),
            expected=(config.checksums or {}).get(name, ()),
            check=_check_archive,
        )
        labeled[name] = {split: read_classes(folder / split) for split in ("train", "test")}
    reader = ImageReader(
        (part for parts in labeled.values() for part in parts.values()), config, cache_file
    )

    def read(split: str, *names: str) -> tuple[ImageFile, ...]:
        return reader.read(pair for name in names for pair in labeled[name][split].files)

    test = read("test", by_size[0])
    val = distinct(read("test", *by_size[1:]), exclude=test)
    if config.fraction == 1:
        train = distinct(read("train", *by_size))
    else:
        archive = next(name for name in by_size if config.archives[name] >= config.fraction)
        share = config.fraction / config.archives[archive]
        train = stratified_part(read("train", archive), share, config.split_seed)
    parts = {"train": train, "val": val, "test": test}
    return _splits(config.name or "archives", reader, parts, config)


def _check_archive(folder: Path) -> None:
    """Refuse an unpacked archive that does not hold `train/<class>/*` and `test/<class>/*`."""
    parts = [read_classes(folder / split) for split in ("train", "test")]
    for entry in (entry for part in parts for entry in part.left_out):
        if entry.path.is_dir():
            raise UserError(entry.reason, where=as_text(entry.path))
    classes = {name for part in parts for _, name in part.files}
    if len(classes) < 2:
        raise UserError(f"only one class, {', '.join(classes)!r}; a classifier needs two")


def _from_sample(config: DataConfig, cache_file: Path | None) -> Splits:
    folder = sample.render_sample(Path(config.root), config.fraction)
    files = {split: sample.sample_files(folder, split, config.fraction) for split in SPLITS}
    reader = ImageReader(map(LabeledFiles, files.values()), config, cache_file)
    parts = {split: reader.read(pairs) for split, pairs in files.items()}
    return _splits(sample.NAME, reader, parts, config, is_synthetic=True)


def _from_folder(config: DataConfig, cache_file: Path | None) -> Splits:
    """Load `train/<class>/*`, with `val/` and `test/` if present, `<class>/*` alone, or lists."""
    root = as_path(config.root)
    group_of = partial(_group_in_path, config.group_from, root)
    splits = {split: name for split, name in config.splits.items() if name}
    if not splits and (lists := read_split_lists(root)) is not None:
        reader = ImageReader(lists.values(), config, cache_file, group_of=group_of)
        parts = {split: reader.read(part.files) for split, part in lists.items()}
        return _completed(config.name or as_text(root.resolve().name), reader, parts, config)
    layout = find_layout(root, splits)
    if layout.note:
        log.info("%s", layout.note)
    real = {folder.resolve() for folder in layout.folders.values()}
    labeled = {
        split: read_classes(
            folder, [f for f in folder.iterdir() if f.is_dir() and f.resolve() in real]
        )
        for split, folder in layout.folders.items()
    }
    # Classes of the other splits get the Unicode spelling that they have in training.
    train_names = {spelling(name): name for _, name in labeled["train"].files}
    for part in labeled.values():
        part.files = [(path, train_names.get(spelling(name), name)) for path, name in part.files]
    reader = ImageReader(labeled.values(), config, cache_file, layout.left_out, group_of)
    parts = {split: reader.read(part.files) for split, part in labeled.items()}
    return _completed(config.name or as_text(root.resolve().name), reader, parts, config)


def _from_table(config: DataConfig, cache_file: Path | None) -> Splits:
    """Load the images that a table lists, in the splits that it names."""
    assert config.file is not None
    file, root = as_path(config.file), as_path(config.root)
    table = read_table(file, root, config.columns)
    groups = {row.path: row.group for row in table.rows}
    if config.group_from is not None:
        groups = {path: _group_in_path(config.group_from, root, path) for path in groups}
    labeled: dict[str, LabeledFiles] = defaultdict(LabeledFiles)
    for row in sorted(table.rows, key=lambda row: (row.label, row.path)):
        labeled[row.split or "train"].files.append((row.path, row.label))
    if "train" not in labeled:
        raise UserError("no row is in the split train", where=as_text(file))
    reader = ImageReader(
        labeled.values(), config, cache_file, table.left_out, lambda path: groups[path]
    )
    parts = {split: reader.read(part.files) for split, part in labeled.items()}
    return _completed(config.name or as_text(file.stem), reader, parts, config)


def _from_torchvision(config: DataConfig, cache_file: Path | None) -> Splits:
    """Load a data set of torchvision with its official splits, and make those that it lacks."""
    assert config.name is not None
    root = as_path(config.root)
    only_here = str(config.base_url).startswith("file:")  # `evaluate` downloads no training images
    labeled = torchvision_files(config.name, root, may_download=not (only_here or is_offline()))
    group_of = partial(_group_in_path, config.group_from, root)
    reader = ImageReader(labeled.values(), config, cache_file, group_of=group_of)
    parts = {split: reader.read(part.files) for split, part in labeled.items()}
    return _completed(config.name, reader, parts, config)


def _group_in_path(pattern: str | None, root: Path, path: Path) -> str:
    """Return what a regular expression captures in a path below `root`; empty without one.

    Raises:
        UserError: if it captures nothing.
    """
    if pattern is None:
        return ""
    text = as_text(path.relative_to(root) if path.is_relative_to(root) else path)
    match = re.search(pattern, text)
    if match is None or not match[1]:
        raise UserError(f"captures no group in {text}", where=f"data.group_from={pattern}")
    return match[1]


def _completed(
    dataset: str, reader: ImageReader, parts: dict[str, tuple[ImageFile, ...]], config: DataConfig
) -> Splits:
    """Make missing splits of training images, and take the configured share of these."""
    shares = {"val": config.val_share, "test": config.test_share}
    absent = {split: share for split, share in shares.items() if split not in parts}
    if absent:
        parts |= split_by_content(parts["train"], reader.classes, absent, config.split_seed)
    parts["train"] = stratified_part(parts["train"], config.fraction, config.split_seed)
    return _splits(dataset, reader, parts, config)


def _splits(
    dataset: str,
    reader: ImageReader,
    parts: Mapping[str, tuple[ImageFile, ...]],
    config: DataConfig,
    is_synthetic: bool = False,
) -> Splits:
    """Measure the range of gray values, and warn of images whose files had to be repaired."""
    train, val, test = (parts[split] for split in SPLITS)
    facts = {image: reader.facts_of(image) for image in (*train, *val, *test)}
    warn_of_repairs({image.path: f.repair for image, f in facts.items() if f.repair})
    gray_range = range_of([gray for image in train if (gray := facts[image].gray)])
    gray_range = gray_range or range_of([f.gray for f in facts.values() if f.gray])
    if config.gray_range is not None:
        if gray_range is None:
            what = "data.gray_range has no effect: no image has gray values of more than 8 bits"
            warn_once(log, what)
        else:
            gray_range = config.gray_range[0], config.gray_range[1]
    return Splits(
        dataset, reader.classes, train, val, test, reader.skipped, gray_range, is_synthetic
    )
