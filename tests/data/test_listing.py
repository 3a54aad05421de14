"""Listing: which files are images, which are reported, and each folder once."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from visionsweep.data.listing import DEEPEST, Listing, list_folder, list_folders
from visionsweep.errors import UserError


def draw(*paths: Path) -> None:
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number % 256, 0, 0)).save(path, "PNG")


def names(listing: Listing, folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in listing.images]


def reasons(listing: Listing) -> dict[str, str]:
    return {path.name: reason for path, reason in listing.left_out}


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("a.cr2", "raw"), ("a.NEF", "raw"), ("a.dng", "raw"), ("a.arw", "raw"),
        ("a.dcm", "medical"), ("a.nii.gz", "medical"), ("a.svg", "without pixels"),
        ("a.psb", "editor"), ("a.xcf", "editor"), ("a.exr", "supported"), ("a.jxl", "supported"),
        ("a.fits", "supported"), ("a.sgi", "supported"),
    ],
)  # fmt: skip
def test_unsupported_pictures_are_reported_with_the_reason(tmp_path, name, word):
    (tmp_path / name).write_bytes(b"content")
    listing = list_folder(tmp_path)
    assert not listing.images and word in reasons(listing)[name]


@pytest.mark.parametrize(
    "name", ["photo.jpg_large", "photo", "photo.jpg!d", "photo.jpg?w=200", "photo.jpg.1", "007"]
)
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"])
def test_pictures_are_recognized_by_their_first_bytes(tmp_path, name, format_):
    Image.new("RGB", (20, 20)).save(tmp_path / name, format_)
    listing = list_folder(tmp_path)
    assert not listing.images and format_ in reasons(listing)[name].upper()


def test_dicom_files_without_a_suffix_are_recognized(tmp_path):
    (tmp_path / "IM000001").write_bytes(bytes(128) + b"DICM" + bytes(100))
    assert "DICOM" in reasons(list_folder(tmp_path))["IM000001"]


def test_other_files_are_not_reported(tmp_path):
    draw(tmp_path / "a.png")
    for name in (
        "labels.csv", "notes.txt", "Thumbs.db", ".DS_Store", "desktop.ini", "README", "a.xml",
        "model.bin", "Makefile", "Icon\r", "movie.mp4", "._a.png", "empty",
    ):  # fmt: skip
        (tmp_path / name).write_bytes(b"no picture" if name != "empty" else b"")
    listing = list_folder(tmp_path)
    assert names(listing, tmp_path) == ["a.png"]
    assert not listing.left_out and not listing.ignored


def test_hidden_pictures_are_ignored_and_reported(tmp_path):
    draw(tmp_path / "a.png", tmp_path / ".trashed-17-b.png")
    listing = list_folder(tmp_path)
    assert names(listing, tmp_path) == ["a.png"] and not listing.left_out
    assert [path.name for path, _ in listing.ignored] == [".trashed-17-b.png"]


@pytest.mark.parametrize(
    "system",
    [
        ".ipynb_checkpoints", ".thumbnails", "@eaDir", "__MACOSX", ".git", "$RECYCLE.BIN",
        ".Trash-1000", "#recycle", "lost+found", "System Volume Information", ".anything",
    ],
)  # fmt: skip
def test_hidden_and_system_folders_are_not_entered(tmp_path, system):
    draw(tmp_path / "a.png", tmp_path / "deep" / system / "copy.png", tmp_path / "deep" / "b.png")
    listing = list_folder(tmp_path)
    assert names(listing, tmp_path) == ["a.png", "deep/b.png"]
    assert [path for path, _ in listing.ignored] == [tmp_path / "deep" / system]


def test_broken_links_are_left_out(tmp_path):
    draw(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "c").symlink_to("c")  # to itself
    (tmp_path / "d.png").symlink_to(tmp_path / "a.png")
    listing = list_folder(tmp_path)
    assert names(listing, tmp_path) == ["a.png", "d.png"]
    assert {"b.png", "c"} == set(reasons(listing))
    assert str(tmp_path / "gone.png") in reasons(listing)["b.png"]


@pytest.mark.parametrize("up", ["..", ".", "../..", "../../.."])
def test_links_to_parent_folders_are_not_followed(tmp_path, up):
    draw(tmp_path / "root" / "cat" / "a.png", tmp_path / "root" / "dog" / "b.png")
    (tmp_path / "root" / "cat" / "up").symlink_to(up)
    folders = [tmp_path / "root" / "cat", tmp_path / "root" / "dog"]
    listings = list_folders(folders)
    assert [names(listings[f], tmp_path / "root") for f in folders] == [
        ["cat/a.png"],
        ["dog/b.png"],
    ]
    assert [path.name for path, _ in listings[folders[0]].ignored] == ["up"]


def test_link_to_another_class_does_not_mix_classes(tmp_path):
    """Images belong to the folder that contains them, whatever the order of names."""
    draw(tmp_path / "b" / "deep" / "1.png", tmp_path / "a" / "2.png", tmp_path / "c" / "3.png")
    (tmp_path / "a" / "other").symlink_to(tmp_path / "b" / "deep")
    (tmp_path / "c" / "other").symlink_to("../b")
    listings = list_folders([tmp_path / n for n in "abc"])
    assert [names(listings[tmp_path / n], tmp_path) for n in "abc"] == [
        ["a/2.png"], ["b/deep/1.png"], ["c/3.png"],
    ]  # fmt: skip
    assert [len(listings[tmp_path / n].ignored) for n in "abc"] == [1, 0, 1]


def test_links_out_of_the_folder_are_followed_once_and_not_back(tmp_path):
    pool, root = tmp_path / "pool", tmp_path / "root"
    draw(pool / "cats" / "1.png", pool / "cats" / "more" / "2.png", root / "dog" / "3.png")
    (pool / "cats" / "back").symlink_to(root)
    (pool / "cats" / "more" / "up").symlink_to("..")
    (root / "cat").symlink_to(pool / "cats")
    (root / "cat2").symlink_to(pool / "cats")
    listings = list_folders([root / n for n in ("cat", "cat2", "dog")])
    assert names(listings[root / "cat"], root) == ["cat/1.png", "cat/more/2.png"]
    assert names(listings[root / "cat2"], root) == []
    assert names(listings[root / "dog"], root) == ["dog/3.png"]


def test_cycle_of_links_terminates(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    draw(one / "1.png", other / "2.png", tmp_path / "root" / "0.png")
    (one / "next").symlink_to(other)
    (other / "next").symlink_to(one)
    (tmp_path / "root" / "first").symlink_to(one)
    listing = list_folder(tmp_path / "root")
    assert names(listing, tmp_path / "root") == ["0.png", "first/1.png", "first/next/2.png"]


def test_deeply_nested_folders_are_refused_by_name(tmp_path):
    deep = tmp_path.joinpath(*["d"] * (DEEPEST + 2))
    draw(deep / "a.png")
    with pytest.raises(UserError) as error:
        list_folder(tmp_path)
    assert str(error.value.where).startswith(str(tmp_path / "d")) and "deep" in error.value.what


def test_named_pipes_and_sockets_are_never_opened(tmp_path):
    draw(tmp_path / "a.png")
    os.mkfifo(tmp_path / "b.png")
    os.mkfifo(tmp_path / "no suffix")
    (tmp_path / "c.png").symlink_to(tmp_path / "b.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(tmp_path / "d.png"))  # paths of sockets are at most 108 long
        code = (
            "import sys; from pathlib import Path; from visionsweep.data.listing import *\n"
            "listing = list_folder(Path(sys.argv[1]))\n"
            "print(len(listing.images), *[path.name for path, _ in listing.left_out], sep=';')"
        )
        command = [sys.executable, "-c", code, str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "1;b.png;c.png;d.png;no suffix;zero.png\n"


def test_unreadable_folder_is_named(tmp_path, as_somebody_else):
    draw(tmp_path / "cat" / "closed" / "a.png")
    (tmp_path / "cat" / "closed").chmod(0)
    for folder in (tmp_path, *tmp_path.parents):
        folder.chmod(0o755)
        if folder.name.startswith("pytest-of-"):  # with pytest-xdist one level higher
            break
    with as_somebody_else(), pytest.raises(UserError) as error:
        list_folder(tmp_path / "cat")
    assert error.value.where == str(tmp_path / "cat" / "closed")


def test_files_with_unusual_names_are_listed(tmp_path):
    odd = [
        "line\nbreak.png", "tab\t.png", "escape\x1b[31m.png", "é" * 125 + ".png", "e\u0301.png",
        os.fsdecode(b"caf\xe9.png"), "  .png", "-rf.png", "$(x).png", "\u202egnp.png",
    ]  # fmt: skip
    draw(*(tmp_path / name for name in odd))
    assert set(names(list_folder(tmp_path), tmp_path)) == set(odd)


def test_twenty_thousand_files_are_listed_in_seconds(tmp_path):
    for number in range(20):
        (tmp_path / f"class-{number}").mkdir()
        for index in range(1000):
            (tmp_path / f"class-{number}" / f"{index}.jpg").touch()
    start = time.perf_counter()
    listings = list_folders(sorted(tmp_path.iterdir()))
    assert sum(len(listing.images) for listing in listings.values()) == 20_000
    assert time.perf_counter() - start < 5  # 0.3 s on an idle machine
