"""Splits: by content, stratified, nested, and the same scored images for every run."""

import io
import logging
import shutil
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from visionsweep.config.schema import DataConfig
from visionsweep.data.split_loading import load_splits
from visionsweep.data.split_names import SPLITS
from visionsweep.data.splits import Splits
from visionsweep.data.synthetic import sample
from visionsweep.errors import UserError

SMALL, LARGE = "photos.zip", "photos_20_percent.zip"
Write = Callable[..., Path]


def png(number: int) -> bytes:
    """A tiny image that only this number has."""
    stored = io.BytesIO()
    noise = np.random.default_rng(number).integers(0, 256, (4, 4, 3), np.uint8)
    Image.fromarray(noise).save(stored, "PNG")
    return stored.getvalue()


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write `{"train/pizza": range(3)}`: images number 0, 1 and 2 in that folder."""

    def write(folders: Mapping[str, Iterable[int]], name: str = "my photos") -> Path:
        for folder, numbers in folders.items():
            (tmp_path / name / folder).mkdir(parents=True, exist_ok=True)
            for place, number in enumerate(numbers):
                (tmp_path / name / folder / f"{place:03d}.png").write_bytes(png(number))
        return tmp_path / name

    return write


def folder_config(root: Path, **settings: object) -> DataConfig:
    return DataConfig(label="folder", source="folder", root=str(root), **settings)  # type: ignore[arg-type]


def digests(splits: Splits, split: str) -> set[str]:
    return {image.digest for image in splits[split]}


def per_class(splits: Splits, split: str) -> dict[str, int]:
    return dict(Counter(splits.classes[image.label] for image in splits[split]))


# Folders -------------------------------------------------------------------------------------


@pytest.mark.parametrize("val", ["val", "valid", "validation"])
def test_existing_split_folders_are_used(write: Write, val: str) -> None:
    root = write(
        {
            "train/steak": range(0, 4),
            "train/pizza": range(10, 13),
            f"{val}/pizza": [20],
            f"{val}/steak": [21, 22],
            "test/pizza": [30, 31],
            "test/steak": [32],
        }
    )
    splits = load_splits(folder_config(root))
    assert splits.dataset == "my photos"
    assert splits.classes == ("pizza", "steak")
    assert splits.counts == {"train": 7, "val": 3, "test": 3}
    assert per_class(splits, "train") == {"pizza": 3, "steak": 4}
    for image in splits.val:
        assert image.path.parent == root / val / splits.classes[image.label]


def test_class_folders_without_splits_are_split_within_each_class(write: Write) -> None:
    root = write({"pizza": range(0, 20), "steak": range(100, 140), "sushi": range(200, 260)})
    splits = load_splits(folder_config(root))
    assert per_class(splits, "val") == per_class(splits, "test")
    assert per_class(splits, "val") == {"pizza": 3, "steak": 6, "sushi": 9}
    assert per_class(splits, "train") == {"pizza": 14, "steak": 28, "sushi": 42}
    shares = load_splits(folder_config(root, val_share=0.5, test_share=0.1))
    assert per_class(shares, "val") == {"pizza": 10, "steak": 20, "sushi": 30}
    assert per_class(shares, "test") == {"pizza": 2, "steak": 4, "sushi": 6}


def test_only_missing_splits_are_taken_from_the_training_images(write: Write) -> None:
    root = write(
        {
            "train/a": range(0, 20),
            "train/b": range(20, 40),
            "test/a": range(50, 55),
            "test/b": range(55, 60),
        }
    )
    splits = load_splits(folder_config(root))
    assert splits.counts == {"train": 34, "val": 6, "test": 10}
    assert all(image.path.parent.parent.name == "test" for image in splits.test)
    assert all(image.path.parent.parent.name == "train" for image in splits.val)


def test_split_depends_on_seed_and_contents_rather_than_names(write: Write, tmp_path: Path) -> None:
    root = write({"a": range(0, 30), "b": range(30, 60)})
    splits = load_splits(folder_config(root))
    again = load_splits(folder_config(root))
    other = load_splits(folder_config(root, split_seed=7))
    write({"a": range(29, -1, -1), "b": reversed(range(30, 60))}, "renamed")
    renamed = load_splits(folder_config(tmp_path / "renamed"))
    for split in SPLITS:
        assert splits.digest(split) == again.digest(split) == renamed.digest(split)
        assert splits.digest(split) != other.digest(split)


def test_one_more_image_moves_few_others(write: Write) -> None:
    root = write({"a": range(0, 40), "b": range(100, 140)})
    before = load_splits(folder_config(root))
    (root / "a" / "another.png").write_bytes(png(999))
    after = load_splits(folder_config(root))
    for split in SPLITS:
        assert len(digests(before, split) - digests(after, split)) <= 1


@pytest.mark.parametrize("seed", range(20))
def test_duplicates_are_never_in_two_splits(write: Write, seed: int) -> None:
    """Three copies of each of ten images per class, and five images in both classes."""
    both = list(range(500, 505))
    root = write({"a": [*range(0, 10)] * 3 + both, "b": [*range(100, 110)] * 3 + both})
    splits = load_splits(folder_config(root, split_seed=seed))
    assert sum(splits.counts.values()) == 2 * 35
    assert len(digests(splits, "train") | digests(splits, "val") | digests(splits, "test")) == 25
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        assert not digests(splits, one) & digests(splits, other)


def test_images_in_two_classes_cause_a_warning(
    write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    load_splits(folder_config(write({"a": [*range(0, 10), 50, 51], "b": [*range(20, 30), 50, 51]})))
    assert "2 images are in more than one class" in caplog.text


@pytest.mark.parametrize("cut", [False, True])
def test_ten_percent_is_contained_in_twenty_and_each_class_in_both(write: Write, cut: bool) -> None:
    sizes = {"rare": range(0, 4), "some": range(100, 130), "many": range(200, 300)}
    folders = (
        sizes
        if cut
        else {
            f"{s}/{c}": [n + 1000 * i for n in r]
            for i, s in enumerate(SPLITS)
            for c, r in sizes.items()
        }
    )
    root = write(folders)
    whole = load_splits(folder_config(root))
    parts = [load_splits(folder_config(root, fraction=f)) for f in (0.01, 0.1, 0.2, 0.5)]
    for less, more in zip(parts, [*parts[1:], whole], strict=True):
        assert digests(less, "train") < digests(more, "train")
        assert set(per_class(less, "train")) == set(sizes)
    if not cut:
        assert per_class(parts[1], "train") == {"rare": 1, "some": 3, "many": 10}
        assert per_class(parts[2], "train") == {"rare": 1, "some": 6, "many": 20}
    for part in parts:
        for split in ("val", "test"):
            assert part.digest(split) == whole.digest(split)


def test_images_in_deeper_folders_belong_to_their_class(write: Write) -> None:
    root = write({"a/2023/may": range(0, 5), "a/2024": range(5, 10), "b": range(20, 30)})
    splits = load_splits(folder_config(root))
    assert splits.classes == ("a", "b")
    assert sum(splits.counts.values()) == 20


def test_digest_of_a_split_depends_on_contents_and_classes(write: Write, tmp_path: Path) -> None:
    first = load_splits(folder_config(write({"a": range(0, 8), "b": range(10, 18)}, "one")))
    other = load_splits(folder_config(write({"a": range(10, 18), "b": range(0, 8)}, "two")))
    assert len({first.digest(split) for split in SPLITS}) == 3
    assert all(first.digest(split) != other.digest(split) for split in SPLITS)


# What cannot be loaded -----------------------------------------------------------------------


def test_empty_class_folder_is_named(write: Write) -> None:
    root = write({"pizza": range(5), "steak": []})
    with pytest.raises(UserError, match=rf"{root / 'steak'}: holds no image that can be read"):
        load_splits(folder_config(root))


def test_images_without_class_folders_are_explained(write: Write) -> None:
    root = write({".": range(5)})
    with pytest.raises(UserError) as error:
        load_splits(folder_config(root))
    assert error.value.where == str(root) and "class folders" in error.value.what
    assert f"{root}/<class>/" in str(error.value.hint)


def test_single_class_is_refused_by_name(write: Write) -> None:
    with pytest.raises(UserError, match="only one class, 'pizza'; a classifier needs two"):
        load_splits(folder_config(write({"pizza": range(10)})))


@pytest.mark.parametrize("place", ["sushi", "sushi/2024"])
def test_class_too_small_to_split_is_named(write: Write, place: str) -> None:
    root = write({"pizza": range(9), place: [50, 51, 50, 51]})
    with pytest.raises(UserError, match=r"'sushi' has 2 different images; at least 3 are needed"):
        load_splits(folder_config(root))


def test_class_without_training_images_is_named(write: Write) -> None:
    root = write(
        {"train/a": range(9), "train/b": range(10, 19), "test/a": [30], "test/unheard-of": [31]}
    )
    with pytest.raises(UserError, match="class 'unheard-of' has no readable training image"):
        load_splits(folder_config(root))


def test_test_and_val_without_train_are_not_classes(write: Write) -> None:
    root = write({"val/a": range(5), "val/b": range(5, 10), "test/a": range(10, 15)})
    with pytest.raises(
        UserError,
        match=rf"{root / 'train'}: no folder of training images; there are test/ and val/",
    ):
        load_splits(folder_config(root))


def spoil(root: Path) -> list[Path]:
    bad = [root / "a" / "000.png", root / "b" / "003.png"]
    bad[0].write_text("no image")
    bad[1].write_bytes(bad[1].read_bytes()[:60])
    return bad


def test_unreadable_images_are_an_error_with_their_names(write: Write) -> None:
    root = write({"a": range(10), "b": range(10, 20)})
    bad = spoil(root)
    with pytest.raises(UserError) as caught:
        load_splits(folder_config(root))
    message = str(caught.value)
    assert message.startswith("2 of 20 images cannot be read:")
    assert all(str(path) in message for path in bad)
    assert "data.on_bad_image=skip" in message


def test_unreadable_images_are_skipped_counted_and_listed(
    write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    root = write({"a": range(10), "b": range(10, 20)})
    bad = spoil(root)
    splits = load_splits(folder_config(root, on_bad_image="skip"))
    assert sum(splits.counts.values()) == 18
    assert [line.partition(": ")[0] for line in splits.skipped] == [str(path) for path in bad]
    assert "2 of 20 images cannot be read" in caplog.text
    assert all(str(path) in caplog.text for path in bad)
    assert not {i.path for s in SPLITS for i in splits[s]} & set(bad)


def test_class_without_readable_images_is_named(write: Write) -> None:
    root = write({"train/a": range(9), "train/b": range(10, 19), "train/c": [20]})
    (root / "train" / "c" / "000.png").write_text("no image")
    with pytest.raises(UserError, match="class 'c' has no readable training image"):
        load_splits(folder_config(root, on_bad_image="skip"))


# The published archives ----------------------------------------------------------------------


def write_archive(path: Path, folders: Mapping[str, Iterable[int]], prefix: str = "") -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for folder, numbers in folders.items():
            for number in numbers:
                archive.writestr(f"{folder}/{prefix}{number}.png", png(number))


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """Two archives that overlap like the published ones; copies bear other names.

    Training: 10 and 20 images, 8 of them in both. Test: 6 and 10, 2 of them in both.
    """
    folder = tmp_path / "published"
    folder.mkdir()
    write_archive(
        folder / SMALL,
        {
            "train/pizza": range(0, 5),
            "train/steak": range(100, 105),
            "test/pizza": range(50, 53),
            "test/steak": range(150, 153),
        },
    )
    write_archive(
        folder / LARGE,
        {
            "train/pizza": range(1, 11),
            "train/steak": range(101, 111),
            "test/pizza": range(52, 57),
            "test/steak": range(152, 157),
        },
        prefix="renamed-",
    )
    return folder


def archives_config(published: Path, fraction: float, **settings: object) -> DataConfig:
    return DataConfig(
        label="photos",
        source="archives",
        name="photos",
        root=str(published.parent / "data"),
        base_url=published.as_uri(),
        archives={LARGE: 0.2, SMALL: 0.1},
        fraction=fraction,
        **settings,  # type: ignore[arg-type]
    )


def numbers(splits: Splits, split: str) -> list[int]:
    return sorted(int(image.path.stem.removeprefix("renamed-")) for image in splits[split])


def test_test_set_is_that_of_the_small_archive_and_validation_the_rest_of_the_large_one(
    published: Path,
) -> None:
    splits = load_splits(archives_config(published, 0.1))
    assert splits.dataset == "photos" and splits.classes == ("pizza", "steak")
    assert numbers(splits, "test") == [50, 51, 52, 150, 151, 152]
    assert numbers(splits, "val") == [53, 54, 55, 56, 153, 154, 155, 156]
    assert numbers(splits, "train") == [*range(0, 5), *range(100, 105)]
    assert not digests(splits, "val") & digests(splits, "test")


def test_twenty_percent_trains_on_the_large_archive(published: Path) -> None:
    splits = load_splits(archives_config(published, 0.2))
    assert numbers(splits, "train") == [*range(1, 11), *range(101, 111)]


def test_full_training_set_is_the_deduplicated_union_of_both_archives(published: Path) -> None:
    splits = load_splits(archives_config(published, 1.0))
    assert numbers(splits, "train") == [*range(0, 11), *range(100, 111)]
    assert len(digests(splits, "train")) == len(splits.train) == 22


def test_every_fraction_is_scored_on_the_same_images(published: Path) -> None:
    runs = [load_splits(archives_config(published, f)) for f in (0.02, 0.1, 0.16, 0.2, 1.0)]
    assert (
        len({run.digest("val") for run in runs}) == len({run.digest("test") for run in runs}) == 1
    )
    assert [len(run.train) for run in runs] == [2, 10, 16, 20, 22]
    assert digests(runs[0], "train") < digests(runs[1], "train")
    assert digests(runs[2], "train") < digests(runs[3], "train")


def test_class_missing_from_a_split_causes_a_warning(
    write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    root = write({f"train/{name}": range(n, n + 9) for n, name in ((0, "a"), (20, "b"), (40, "c"))})
    write({"val/a": [60], "val/b": [61], "test/c": [62]})
    load_splits(folder_config(root))
    assert "no val images of c; val scores say nothing about it" in caplog.text
    assert "no test images of a and b; test scores say nothing about them" in caplog.text


def test_numbers_of_images_are_logged(published: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        load_splits(archives_config(published, 0.1))
    assert "photos: 10 training, 8 validation and 6 test images of pizza, steak" in caplog.text


def test_archives_on_disk_need_no_address(published: Path) -> None:
    config = archives_config(published, 0.1)
    first = load_splits(config)
    shutil.rmtree(published)
    again = load_splits(config)
    assert again.dataset == "photos"
    assert [again.digest(s) for s in SPLITS] == [first.digest(s) for s in SPLITS]


@pytest.fixture
def small_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "COUNTS", {"train": 20, "val": 3, "test": 2})
    monkeypatch.setattr(sample, "SHORT_SIDE", 32)


@pytest.mark.usefixtures("small_sample")
def test_unreachable_archives_are_replaced_by_the_sample_with_a_framed_warning(
    published: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = archives_config(published, 0.1)
    config.base_url = "http://127.0.0.1:9"  # the discard service: nobody listens there
    splits = load_splits(config)
    assert splits.dataset == "sample" and splits.classes == ("pizza", "steak", "sushi")
    assert splits.counts == {"train": 6, "val": 9, "test": 6}
    assert f"http://127.0.0.1:9/{LARGE}: ConnectionError" in caplog.text
    assert "THE PHOTOGRAPHS CANNOT BE REACHED" in caplog.text and "!!!!!!!!!!" in caplog.text
    assert any(entry.levelno >= logging.WARNING for entry in caplog.records)


@pytest.mark.usefixtures("small_sample")
def test_sample_is_nested_and_scored_on_the_same_images(tmp_path: Path) -> None:
    parts = [
        load_splits(DataConfig("sample", "sample", root=str(tmp_path), fraction=f))
        for f in (0.2, 0.1)  # the smaller one from a folder that holds more
    ]
    assert digests(parts[1], "train") < digests(parts[0], "train")
    assert parts[0].digest("val") == parts[1].digest("val")
    assert parts[0].digest("test") == parts[1].digest("test")


@pytest.mark.parametrize("if_unreachable", ["error", "sample"])
def test_named_folder_without_an_archive_is_an_error(published: Path, if_unreachable: str) -> None:
    (published / LARGE).unlink()
    with pytest.raises(UserError) as caught:
        load_splits(archives_config(published, 0.1, if_unreachable=if_unreachable))
    message = str(caught.value)
    assert f"there is no file {published / LARGE}" in message
    for way_out in ("data.base_url=file:///", "data.root", "data=sample"):
        assert way_out in message
    assert not (published.parent / "data" / "sample").exists()


def test_unreachable_archives_are_an_error_if_so_configured(published: Path) -> None:
    config = archives_config(published, 0.1, if_unreachable="error")
    config.base_url = "http://127.0.0.1:9"
    with pytest.raises(UserError, match="data=sample"):
        load_splits(config)
    assert not (published.parent / "data" / "sample").exists()
