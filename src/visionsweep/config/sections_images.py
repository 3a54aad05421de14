"""The settings of the groups `data`, `transform`, and `augmentation`, declared as in `schema`."""

from dataclasses import dataclass
from functools import partial
from typing import Any

from omegaconf import MISSING

from visionsweep.config import values
from visionsweep.config.setting import ARGUMENTS, LABEL, setting
from visionsweep.config.targets import implied_target

_ADDED: dict[str, Any] = {"added": True, "hparam": True}


@dataclass
class DataConfig:
    """Images and their splits, and what to do if they are unavailable."""

    label: str = setting("short name in tables and run names", MISSING, **LABEL)
    source: str = setting(
        "published archives, a folder or a table of yours, torchvision's, or the rendered sample",
        MISSING,
        choices=("archives", "folder", "table", "torchvision", "sample"),
    )
    name: str | None = setting(
        "name of the data set, with data=torchvision which one; null: the folder's",
        None,
        role="derived",
        expected="a name",
    )
    root: str = setting("folder of the images", MISSING, role="derived", path=True, place=True)
    file: str | None = setting(
        "table of images: .csv, .tsv, .jsonl, or .parquet",
        None,
        role="derived",
        path=True,
        place=True,
        added=True,
    )
    columns: dict[str, str | None] = setting(
        "columns of the table; null: found by their usual names",
        factory=lambda: dict.fromkeys(values.TABLE_COLUMNS),
        role="derived",
        added=True,
        valid=values.are_columns,
        expected="a column for each of path, label, split, and group",
    )
    group_from: str | None = setting(
        "regular expression whose parentheses capture the group of an image in its path; groups "
        "stay together in splits and folds",
        None,
        added=True,
        valid=values.captures_group,
        expected="a regular expression with one pair of parentheses, such as '(patient\\d+)_'",
    )
    fraction: float = setting(
        "share of the training images, stratified; larger ones contain smaller ones",
        1.0,
        gt=0,
        le=1,
        expected="a number above 0 and at most 1 (0.1 is 10%)",
    )
    base_url: str | None = setting(
        "address of the folder of archives: https://, http://, or file://",
        None,
        role="runtime",
        place=True,
        expected="an address",
    )
    archives: dict[str, float] = setting(
        "archive names and the share of the training images each holds",
        factory=dict,
        place=True,
        valid=values.are_shares,
        expected="file names with the share of the training images each holds, "
        "{a.zip: 0.1, b.zip: 0.2}",
    )
    checksums: dict[str, list[str]] | None = setting(
        "archive names and their valid checksums; null: unchecked",
        None,
        role="runtime",
        place=True,
        valid=values.are_checksums,
        expected="file names with the checksums that each may have, {a.zip: ['sha256:64 digits']}",
    )
    splits: dict[str, str | None] = setting(
        "folder of each split; all null: found by their names",
        factory=lambda: dict.fromkeys(("train", "val", "test")),
        role="derived",
        place=True,
        valid=values.are_split_folders,
        expected="a folder for each split, {train: FOLDER, val: FOLDER, test: FOLDER}; train is "
        "required",
    )
    if_unreachable: str = setting(
        "if archives cannot be downloaded: use the rendered sample, or stop",
        "sample",
        role="runtime",
        recorded=True,
        choices=("sample", "error"),
    )
    on_bad_image: str = setting(
        "if an image cannot be used: stop, or leave it out", "error", choices=("error", "skip")
    )
    near_duplicates: str = setting(
        "near duplicates of training images among the validation and test images: warn, exclude "
        "them from training, or allow them",
        "warn",
        role="derived",
        added=True,
        choices=("warn", "exclude", "allow"),
    )
    gray_range: list[float] | None = setting(
        "black and white of images of more than 8 bits; null: measured",
        None,
        role="derived",
        valid=values.is_gray_range,
        expected="two numbers, the lower one first, such as [0,4095]",
    )
    verify: bool = setting(
        "read every image again, even if it seems unchanged", False, role="runtime"
    )
    split_seed: int = setting("seed of data.fraction and of splits that are made here", 42, ge=0)
    val_share: float = setting(
        "share of images for validation if there is no val/", 0.15, gt=0, lt=1
    )
    test_share: float = setting(
        "share of images for testing if there is no test/", 0.15, gt=0, lt=1
    )


@dataclass
class TransformConfig:
    """Conversion of an image to a tensor."""

    name: str = setting(
        "resize to a square, or the transform that the weights were trained with",
        MISSING,
        choices=("resize", "pretrained"),
        names_group=True,
        hparam=True,
    )
    size: int = setting("pixels per side, for transform=resize", 224, ge=8)


@dataclass
class AugmentationConfig:
    """Random transform of training images."""

    name: str = setting("short name in tables", MISSING, names_group=True, hparam=True)
    _target_: str | None = setting(
        "class in torchvision.transforms.v2; null: none",
        None,
        expected="a class in torchvision.transforms.v2",
        implied=partial(implied_target, "augmentation"),
    )
    arguments: dict[str, Any] = setting(
        "arguments of the class: +augmentation.arguments.NAME=VALUE", **ARGUMENTS
    )
    crop_scale: float = setting(
        "least share of an image's area in a random crop, which becomes the model's input; 1: none",
        1.0,
        gt=0,
        le=1,
        **_ADDED,
    )
    views: int = setting(
        "for a frozen backbone: views of each training image to store and train on, itself and "
        "random ones, for as many times the extraction; 0: new random ones in each epoch",
        0,
        ge=0,
        le=1000,
        **_ADDED,
    )
    test_views: int = setting(
        "for a frozen backbone: views of each image over which predictions are averaged, itself "
        "and random ones, for as many times the cost of a prediction",
        1,
        ge=1,
        le=1000,
        **_ADDED,
    )
