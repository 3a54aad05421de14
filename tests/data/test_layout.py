"""Which folders are splits and which are classes, and that nothing beside them is lost silently."""

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from visionsweep.config.schema import DataConfig
from visionsweep.data.layout import split_named
from visionsweep.data.split_loading import load_splits
from visionsweep.data.splits import Splits
from visionsweep.errors import UserError

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write `{"train/cat": range(3)}`: images number 0, 1 and 2 in that folder."""

    def write(folders: Mapping[str, Iterable[int]]) -> Path:
        root = tmp_path / "root"
        for folder, numbers in folders.items():
            (root / folder).mkdir(parents=True, exist_ok=True)
            for number in numbers:
                noise = np.random.default_rng(number).integers(0, 256, (4, 4, 3), np.uint8)
                Image.fromarray(noise).save(root / folder / f"{number}.png")
        return root

    return write


def load(root: Path, **settings: object) -> Splits:
    return load_splits(DataConfig("folder", "folder", root=str(root), **settings))


def refused(root: Path, **settings: object) -> UserError:
    with pytest.raises(UserError) as error:
        load(root, **settings)
    return error.value


def split_folders(train: str = "train", val: str = "val", test: str = "test") -> dict:
    return {
        f"{train}/cat": range(9), f"{train}/dog": range(10, 19),
        f"{val}/cat": [20, 21], f"{val}/dog": [22],
        f"{test}/cat": [30], f"{test}/dog": [31],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("split", "names"),
    {
        "train": "train Train TRAIN training Training_Set train_set trainset TrainSet train-images "
        "train_images images_train train2017 Train.Data 01_train",
        "val": "val Val VALID validation Validation_set valset dev Dev devset val2017 val-imgs",
        "test": "test Test TESTING testing test_set testset TestSet test-images imgs_test",
        None: "cat trained trainer values validity device eval testimony contest data dataset set "
        "images image 2017 restrain",
    }.items(),
)  # fmt: skip
def test_splits_are_recognized_in_any_spelling(split: str | None, names: str):
    assert {name: split_named(name) for name in names.split()} == dict.fromkeys(
        names.split(), split
    )


@pytest.mark.parametrize(
    "names",
    [("Train", "Valid", "Test"), ("TRAIN", "DEV", "TEST"), ("training", "val_set", "Testing")],
)
def test_split_folders_in_other_spellings_are_used(write: Write, names):
    splits = load(write(split_folders(*names)))
    assert splits.classes == ("cat", "dog")
    assert splits.counts == {"train": 18, "val": 3, "test": 2}


def test_two_spellings_of_one_split_are_refused_by_name(write: Write):
    error = refused(write(split_folders() | {"Validation/cat": [40]}), on_bad_image="skip")
    assert "val/" in error.what and "Validation/" in error.what


def test_folders_named_almost_like_splits_are_not_classes(write: Write):
    root = write(split_folders("my_train", "my_val", "holdout"))
    error = refused(root)
    assert error.where == str(root) and "data.splits" in str(error.hint)
    assert all(name in error.what for name in ("my_train/", "my_val/", "holdout/"))
    named = load(root, splits={"train": "my_train", "val": "my_val", "test": "holdout"})
    assert named.counts == {"train": 18, "val": 3, "test": 2}


def test_classes_with_folders_of_the_same_names_are_classes(write: Write):
    years = {f"{kind}/{year}": range(9 * n, 9 * n + 9) for n, (kind, year) in enumerate(
        (kind, year) for kind in ("cat", "dog") for year in ("2024", "2025"))}  # fmt: skip
    assert load(write(years)).classes == ("cat", "dog")


@pytest.mark.parametrize("aside", ["extra/cat", "unlabeled", "eval/dog", ".hidden"])
def test_images_beside_the_splits_are_refused_or_left_out(write: Write, aside: str):
    root = write(split_folders() | {aside: [40]})
    folder = root / aside.partition("/")[0]
    error = refused(root)
    assert str(folder) in error.what and "on_bad_image=skip" in str(error.hint)
    splits = load(root, on_bad_image="skip")
    assert splits.counts == {"train": 18, "val": 3, "test": 2}
    (line,) = splits.skipped
    assert line.startswith(f"{folder}: ")


def test_folders_without_pictures_beside_the_splits_are_ignored(write: Write):
    root = write(split_folders() | {"annotations": [], ".git": [7], "__MACOSX/train/cat": [8]})
    (root / "annotations" / "cat.xml").write_text("<xml/>")
    assert not load(root).skipped


def test_class_called_train_is_a_class(write: Write):
    root = write({"car": range(9), "train": range(10, 19), "plane": range(20, 29)})
    splits = load(root)
    assert splits.classes == ("car", "plane", "train")
    assert sum(splits.counts.values()) == 27


def test_class_called_train_with_subfolders_is_refused_with_both_readings(write: Write):
    root = write({"car": range(9), "train/steam": range(10, 15), "train/diesel": range(20, 25)})
    error = refused(root)
    assert str(root / "car") in error.what and "data.splits={train: .}" in error.what
    assert load(root, splits={"train": "."}).classes == ("car", "train")


@pytest.mark.parametrize("folders", [("train",), ("train", "test"), ("Train", "valid", "extra")])
def test_split_folders_without_class_folders_are_explained(write: Write, folders):
    root = write({name: range(10 * k, 10 * k + 9) for k, name in enumerate(folders)})
    error = refused(root)
    assert error.where == str(root) and "<class>" in str(error.hint)
    assert f"{folders[0]}/" in error.what


def test_test_folder_without_classes_is_left_out_by_name(write: Write):
    root = write({"train/cat": range(9), "train/dog": range(10, 19), "test": range(30, 33)})
    assert str(root / "test") in refused(root).what
    splits = load(root, on_bad_image="skip")
    assert splits.skipped[0].startswith(str(root / "test"))
    assert all("train" in image.path.parts for image in splits.test)


def test_test_images_without_training_images_are_refused(write: Write):
    error = refused(write({"Testing/cat": [1], "Testing/dog": [2], "dev/cat": [3]}))
    assert "Testing/" in error.what and "dev/" in error.what


def test_test_folders_beside_class_folders_can_be_named(write: Write):
    root = write({"cat": range(9), "dog": range(10, 19), "Test/cat": [30], "Test/dog": [31]})
    error = refused(root)
    assert "Test/" in error.what and "{train: ., test: Test}" in str(error.hint)
    splits = load(root, splits={"train": ".", "test": "Test"})
    assert splits.classes == ("cat", "dog") and splits.counts["test"] == 2


@pytest.mark.parametrize("inner", ["", "Train"])
def test_single_folder_around_everything_is_entered_and_reported(write: Write, inner, caplog):
    folders = split_folders(inner) if inner else {"cat": range(9), "dog": range(10, 19)}
    root = write({f"My Data Set/{name}": numbers for name, numbers in folders.items()})
    (root / "__MACOSX").mkdir()
    with caplog.at_level("INFO"):
        splits = load(root)
    assert splits.classes == ("cat", "dog") and splits.dataset == "root"
    assert "My Data Set" in caplog.text


def test_single_class_folder_is_not_entered(write: Write):
    root = write({"cat": [1, 2], "cat/2023": [3, 4], "cat/2024": [5, 6]})
    assert "only one class" in str(refused(root))


def test_pictures_outside_class_folders_are_named(write: Write):
    root = write({"cat": range(9), "dog": range(10, 19), ".": [50]})
    assert str(root / "50.png") in refused(root).what
    assert load(root, on_bad_image="skip").skipped[0].startswith(str(root / "50.png"))
    (root / "50.png").rename(root / "notes.txt")
    assert not load(root).skipped


@pytest.mark.parametrize("name", [".cat", "__cat", "__"])
def test_class_folders_with_hidden_names_are_reported(write: Write, name: str):
    root = write({"cat": range(9), "dog": range(10, 19), name: [50]})
    assert str(root / name) in refused(root).what
    splits = load(root, on_bad_image="skip")
    assert splits.classes == ("cat", "dog") and splits.skipped[0].startswith(str(root / name))


def test_link_to_another_class_is_not_a_class(write: Write):
    root = write({"cat": range(9), "dog": range(10, 19)})
    (root / "alias").symlink_to("dog")
    assert str(root / "alias") in refused(root).what
    splits = load(root, on_bad_image="skip")
    assert splits.classes == ("cat", "dog") and sum(splits.counts.values()) == 18


def test_empty_class_folder_is_left_out_on_request(write: Write):
    root = write({"cat": range(9), "dog": range(10, 19), "empty": []})
    assert load(root, on_bad_image="skip").classes == ("cat", "dog")


def test_everything_left_out_is_counted_but_only_some_is_listed(write: Write, caplog):
    root = write({"cat": range(9), "dog": range(10, 19)})
    for number in range(1100):
        (root / "cat" / f"{number}.nef").touch()
    message = refused(root).what
    assert message.startswith("1100 files or folders are not used")
    assert "and 1080 more" in message and len(message.splitlines()) == 22
    splits = load(root, on_bad_image="skip")
    assert len(splits.skipped) == 1001 and splits.skipped[-1] == "and 100 more"
    assert sum(splits.counts.values()) == 18


# What is said explicitly -----------------------------------------------------------------------


def test_folders_can_be_named(write: Write, tmp_path: Path):
    root = write(split_folders("A", "B", "elsewhere/C") | {"D/cat": [99]})
    absolute = tmp_path / "moved"
    (root / "elsewhere" / "C").rename(absolute)
    splits = load(root, splits={"train": "A", "val": "B", "test": str(absolute)})
    assert splits.counts == {"train": 18, "val": 3, "test": 2} and not splits.skipped
    assert load(root, splits={"train": "A"}).counts == {"train": 14, "val": 2, "test": 2}


def test_missing_named_folder_is_refused(write: Write):
    error = refused(write(split_folders()), splits={"train": "train", "val": "vla"})
    assert str(error.where).startswith("data.splits.val=") and "no such folder" in error.what


@pytest.mark.parametrize("test", ["train", "train/cat", "./train/../train"])
def test_folder_cannot_be_two_splits(write: Write, test: str):
    error = refused(write(split_folders()), splits={"train": "train", "test": test})
    if test == "train/cat":
        assert "class folders" in error.what  # images lie right in it
    else:
        assert "both" in error.what


# Names -----------------------------------------------------------------------------------------


def test_two_unicode_spellings_of_one_class_are_refused(write: Write):
    error = refused(write({"caf\u00e9": range(9), "cafe\u0301": range(10, 19), "tea": [40]}))
    assert r"caf\xe9" in error.what and r"cafe\u0301" in error.what


def test_another_unicode_spelling_in_validation_is_the_same_class(write: Write):
    root = write(
        {"train/caf\u00e9": range(9), "train/tea": range(10, 19),
         "val/cafe\u0301": [20], "val/tea": [21]}
    )  # fmt: skip
    splits = load(root)
    assert splits.classes == ("caf\u00e9", "tea") and splits.counts["val"] == 2


def test_classes_that_differ_only_in_case_are_two_with_a_warning(write: Write, caplog):
    splits = load(write({"Cat": range(9), "cat": range(10, 19)}))
    assert splits.classes == ("Cat", "cat")
    assert "'Cat'" in caplog.text and "'cat'" in caplog.text


def test_class_spelled_differently_in_validation_is_refused_with_a_suggestion(write: Write):
    root = write({"train/cat": range(9), "train/dog": range(10, 19), "val/Cat": [20]})
    error = refused(root)
    assert "'Cat'" in error.what and "'cat'" in error.what


def test_names_that_are_not_utf8_become_writable_text(write: Write):
    root = write({os.fsdecode(b"caf\xe9"): range(9), "tea": range(10, 19)})
    splits = load(root)
    assert splits.classes == (r"caf\udce9", "tea")
    assert all(image.path.exists() for image in splits.train)
