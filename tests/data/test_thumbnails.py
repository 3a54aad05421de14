"""Thumbnails of images: what they show, and that they are made once."""

import io
import logging
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image

from visionsweep.command_memory import forget
from visionsweep.data import thumbnails as module
from visionsweep.data.images import ImageFile, digest_of
from visionsweep.data.thumbnails import SHEET_SIDE, SIDE, Thumbnails, thumbnails

COLOURS = {"red": (255, 0, 0), "lime": (0, 255, 0), "blue": (0, 0, 255), "black": (0, 0, 0)}


@pytest.fixture
def make_files(tmp_path):
    """Make images of one colour each, or of what is given."""

    def make(*pictures: str | Image.Image) -> list[ImageFile]:
        folder = tmp_path / "images"
        folder.mkdir(exist_ok=True)
        files = []
        for number, picture in enumerate(pictures):
            path = folder / f"{number}.png"
            if isinstance(picture, str):
                picture = Image.new("RGB", (20, 16), picture)
            picture.save(path)
            files.append(ImageFile(path, 0, digest_of(path.read_bytes())))
        return files

    return make


@pytest.fixture
def cache(tmp_path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def new_process():
    """Forget what this process remembers, as a new one would."""
    return forget


def colour_of(thumbnail: Image.Image | np.ndarray) -> str:
    mean = np.asarray(thumbnail).reshape(-1, 3).mean(0)
    return min(COLOURS, key=lambda name: np.abs(mean - COLOURS[name]).sum())


def squares(made: Thumbnails) -> list[np.ndarray]:
    return [np.asarray(square) for square in made.squares(range(len(made.indices)))]


def on_the_sheet(made: Thumbnails) -> list[np.ndarray]:
    with Image.open(io.BytesIO(made.sheet)) as opened:
        sheet = np.asarray(opened)
    side, places = SHEET_SIDE, []
    for place in range(len(made.indices)):
        row, column = divmod(place, len(sheet) // side)
        places.append(sheet[row * side :, column * side :][:side, :side])
    return places


def test_every_image_has_its_thumbnail_in_order(make_files, cache):
    made = thumbnails(make_files("red", "lime", "blue", "blue", "red"), cache)
    expected = ["red", "lime", "blue", "blue", "red"]
    assert {(square.shape, square.dtype.name) for square in squares(made)} == {
        ((SIDE, SIDE, 3), "uint8")
    }
    assert [colour_of(square) for square in squares(made)] == expected
    assert [colour_of(square) for square in on_the_sheet(made)] == expected
    assert made.indices == (0, 1, 2, 3, 4)
    assert made.names == ("0.png", "1.png", "2.png", "3.png", "4.png")


def test_thumbnail_is_a_center_crop(make_files, cache):
    wide = Image.new("RGB", (300, 100), "blue")
    wide.paste("red", (100, 0, 200, 100))
    tall = wide.transpose(Image.Transpose.ROTATE_90)
    across, up = squares(thumbnails(make_files(wide, tall), cache))
    for square in (across, up):
        inner = square[8:-8, 8:-8].astype(int)
        assert inner[..., 0].min() > 200
        assert inner[..., 2].max() < 60


def test_neighbors_on_the_sheet_do_not_bleed(make_files, cache):
    for square, colour in zip(
        on_the_sheet(thumbnails(make_files("red", "blue", "lime", "red"), cache)),
        ("red", "blue", "lime", "red"),
        strict=True,
    ):
        assert np.abs(square.astype(int) - COLOURS[colour]).max() < 12


@pytest.mark.parametrize(("images", "across"), [(1, 1), (2, 2), (4, 2), (5, 4), (17, 8)])
def test_sheet_has_as_many_rows_as_columns_a_power_of_two(make_files, cache, images, across):
    made = thumbnails(make_files(*["red"] * images), cache)
    with Image.open(io.BytesIO(made.sheet)) as sheet:
        assert sheet.format == "JPEG"
        assert sheet.size == (across * SHEET_SIDE, across * SHEET_SIDE)
    assert len(squares(made)) == images


def test_next_process_opens_no_image(make_files, cache, new_process):
    files = make_files("red", "lime")
    first = thumbnails(files, cache)
    assert [path.suffix for path in (cache / "thumbnails").iterdir()] == [".zip"]
    for file in files:
        file.path.unlink()
    new_process()
    assert thumbnails(files, cache).sheet == first.sheet


def test_process_reads_nothing_twice(make_files, cache):
    files = make_files("red", "lime")
    first = thumbnails(files, cache)
    for path in (*(file.path for file in files), *(cache / "thumbnails").iterdir()):
        path.unlink()
    assert thumbnails(list(files), cache) is first


def test_cached_file_is_an_ordinary_zip_archive(make_files, cache):
    thumbnails(make_files("red", "lime"), cache)
    (path,) = (cache / "thumbnails").iterdir()
    with ZipFile(path) as archive:
        assert archive.namelist() == ["0.jpg", "1.jpg", "sheet.jpg"]
        with Image.open(archive.open("1.jpg")) as square:
            assert colour_of(square) == "lime"


@pytest.mark.parametrize("damage", ["cut short", "a byte changed", "empty"])
def test_damaged_archive_is_replaced(make_files, cache, new_process, damage):
    files = make_files("red", "lime", "blue")
    thumbnails(files, cache)
    (path,) = (cache / "thumbnails").iterdir()
    whole = path.read_bytes()
    changed = bytearray(whole)
    changed[len(whole) // 2] ^= 1
    spoilt = {"cut short": whole[:-100], "a byte changed": bytes(changed), "empty": b""}
    path.write_bytes(spoilt[damage])
    new_process()
    assert [colour_of(s) for s in squares(thumbnails(files, cache))] == ["red", "lime", "blue"]
    assert path.read_bytes() == whole


def test_sheet_depends_on_the_images_and_their_order(make_files, cache):
    red, lime = make_files("red", "lime")
    assert [colour_of(s) for s in squares(thumbnails([red, lime], cache))] == ["red", "lime"]
    assert [colour_of(s) for s in squares(thumbnails([lime, red], cache))] == ["lime", "red"]
    assert len(list((cache / "thumbnails").iterdir())) == 2


def test_evenly_spaced_images_are_used_if_there_are_too_many(make_files, cache, monkeypatch):
    monkeypatch.setattr(module, "MOST", 4)
    files = make_files(*["red"] * 5, *["lime"] * 5, *["blue"] * 5, *["black"] * 4)
    made = thumbnails(files, cache)
    assert made.indices == (0, 6, 12, 18)
    assert [colour_of(s) for s in squares(made)] == ["red", "lime", "blue", "black"]
    assert made.names == ("0.png", "6.png", "12.png", "18.png")


def test_unreadable_image_is_a_gray_square_and_is_tried_again(
    make_files, cache, new_process, caplog
):
    files = make_files("red", "lime")
    content = files[0].path.read_bytes()
    files[0].path.write_bytes(b"no image")
    with caplog.at_level(logging.WARNING):
        first, second = squares(thumbnails(files, cache))
    assert f"1 of 2 images: no thumbnail; first {files[0].path}" in caplog.text
    assert np.abs(first.astype(int) - 128).max() < 6
    assert colour_of(second) == "lime"
    files[0].path.write_bytes(content)
    new_process()
    assert colour_of(squares(thumbnails(files, cache))[0]) == "red"


def rewritten(archive: bytes, **replaced: bytes) -> bytes:
    """Write an archive of thumbnails again, with other content in some of its files."""
    stored = io.BytesIO()
    with ZipFile(io.BytesIO(archive)) as old, ZipFile(stored, "w") as new:
        for entry in old.infolist():
            new.writestr(entry, replaced.get(Path(entry.filename).stem, old.read(entry)))
    return stored.getvalue()


def jpeg(side: int) -> bytes:
    stored = io.BytesIO()
    Image.new("RGB", (side, side)).save(stored, "JPEG")
    return stored.getvalue()


def flagged(archive: bytes, flag: int) -> bytes:
    changed = bytearray(archive)
    changed[archive.find(b"PK\3\4") + 6] |= flag
    changed[archive.find(b"PK\1\2") + 8] |= flag
    return bytes(changed)


def longer_than_it_is(archive: bytes) -> bytes:
    changed, last = bytearray(archive), archive.rfind(b"PK\1\2")
    changed[last + 20 : last + 28] = (len(archive) - 1).to_bytes(4, "little") * 2
    return bytes(changed)


def cut_square(archive: bytes) -> bytes:
    square = ZipFile(io.BytesIO(archive)).read("0.jpg")
    return rewritten(archive, **{"0": square[: square.find(b"\xff\xda")]})


PLANTED = {
    "a square without pixels": cut_square,
    "a square of another size": lambda archive: rewritten(archive, **{"0": jpeg(SIDE + 1)}),
    "a sheet of 16 million pixels": lambda archive: rewritten(archive, sheet=jpeg(4000)),
    "a sheet of one pixel": lambda archive: rewritten(archive, sheet=jpeg(1)),
    "a sheet that is a page": lambda archive: rewritten(archive, sheet=b"<svg onload=alert(1)>"),
    "encrypted": lambda archive: flagged(archive, 1),
    "patched data": lambda archive: flagged(archive, 0x20),
    "longer than it is": longer_than_it_is,
}


@pytest.mark.parametrize("plant", PLANTED.values(), ids=PLANTED)
def test_planted_archive_is_replaced(make_files, cache, new_process, plant):
    files = make_files("red", "lime", "blue")
    made = thumbnails(files, cache)
    (path,) = (cache / "thumbnails").iterdir()
    archive = plant(made.archive)
    path.write_bytes(archive)
    new_process()
    again = thumbnails(files, cache)
    assert again.archive == made.archive
    assert [colour_of(square) for square in squares(again)] == ["red", "lime", "blue"]
    assert path.read_bytes() == made.archive
