"""The page embeds an image only if its bytes have the digest that the run recorded."""

import os
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from visionsweep.data.images import digest_of
from visionsweep.report.mistakes import open_recorded
from visionsweep.runs import logits, predictions_csv
from visionsweep.runs.discovery import Run


@pytest.fixture
def image(tmp_path):
    file = tmp_path / "image.png"
    Image.new("RGB", (40, 30), (200, 10, 10)).save(file)
    return file


def test_an_image_with_the_recorded_digest_is_shown_also_by_a_link(tmp_path, image):
    digest = digest_of(image.read_bytes())
    (tmp_path / "link.png").symlink_to(image)
    for file in (image, tmp_path / "link.png"):
        shown = open_recorded(str(file), digest, None)
        assert shown.size == (40, 30) and shown.getpixel((5, 5))[0] > 150


def test_another_image_than_the_run_used_is_not_opened(image):
    digest = digest_of(image.read_bytes())
    Image.new("RGB", (40, 30), (10, 10, 200)).save(image)
    assert open_recorded(str(image), digest, None) == "not the image that the run used"


@pytest.mark.parametrize("kind", ["fifo", "device", "folder", "gone", "link to a fifo", "nul"])
def test_files_that_are_not_regular_are_neither_shown_nor_waited_for(tmp_path, kind):
    place = tmp_path / "thing"
    if "fifo" in kind:
        os.mkfifo(tmp_path / "fifo")
    file = {
        "fifo": str(tmp_path / "fifo"), "device": "/dev/zero", "folder": str(tmp_path),
        "gone": str(place), "link to a fifo": str(place), "nul": "a\0b",
    }[kind]  # fmt: skip
    if "link" in kind:
        place.symlink_to(tmp_path / "fifo")
    assert isinstance(open_recorded(file, digest_of(b""), None), str)


def test_a_huge_file_is_not_read(tmp_path):
    file = tmp_path / "huge.png"
    with file.open("wb") as sparse:
        sparse.truncate(1 << 40)
    assert isinstance(open_recorded(str(file), "0" * 32, None), str)


@pytest.mark.parametrize("name", ["a\x1b[2J.png", "a\nb.png", os.fsdecode(b"\xff.png"), "=1.png"])
def test_image_with_control_characters_in_its_name_is_found(
    tmp_path, monkeypatch, image, name, make_record
):
    monkeypatch.chdir(tmp_path)
    image.rename(name)
    predictions_csv.write(
        tmp_path, ["image", "b"], {"test": ([name], [0], np.array([[0.25, 0.75]]))}
    )
    rows = predictions_csv.read(Run(tmp_path, make_record()), "test")
    assert rows.classes == ["image (class)", "b"] and rows.labels.tolist() == [0]
    assert rows.probabilities.tolist() == [[0.25, 0.75]]
    with open(name, "rb") as file:  # noqa: PTH123
        assert open_recorded(rows.images[0], digest_of(file.read()), None).size == (40, 30)


def test_page_shows_no_file_that_only_a_foreign_table_names(written, simulated_sweep, tmp_path):
    evidence = simulated_sweep()
    secret = tmp_path / "secret.png"
    Image.new("RGB", (200, 150), "white").save(secret)
    table = evidence.chosen.directory / "predictions.csv"
    text = table.read_text().replace(str(tmp_path / "images/0.png"), str(secret))
    table.write_text(text)
    page = written(evidence)
    others = [f for f in page.every("figure") if f.every("img")]
    hidden = [f.every("div")[0].text for f in page.every("figure") if not f.every("img")]
    assert others and hidden and set(hidden) == {"not the image that the run used"}


@pytest.mark.parametrize("kept", ["none", "fewer"])
def test_a_run_without_digests_says_that_pictures_are_left_out(written, simulated_sweep, kept):
    evidence = simulated_sweep()
    directory = evidence.chosen.directory
    if kept == "none":
        (directory / logits.FILE_NAME).unlink()
    else:
        found = logits.read(directory, evidence.chosen.record)
        few = found["test"]
        few = replace(few, logits=few.logits[:, 1:], labels=few.labels[1:], images=few.images[1:])
        logits.write(directory, found | {"test": few}, 1.0)
    page = written(evidence)
    assert not page.every("img") and page.every("figure")
    assert "Pictures are left out" in page.text


def test_names_of_others_are_visible_on_the_page(written, simulated_sweep):
    page = written(simulated_sweep(classes=["a\u202eb", "\x1b[2J", "c\u200b"], epochs=(1,)))
    assert r"a\u202eb" in page.text and r"\x1b[2J" in page.text and r"c\u200b" in page.text
    assert not {"\u202e", "\x1b", "\u200b"} & set(page.text)
