"""A folder with everything that does not belong trains on request, and its model predicts."""

import csv
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

NOT_UTF8 = os.fsdecode(b"caf\xe9")
CLASSES = (NOT_UTF8, "line\nbreak\t\x1b[31mred", "=cmd|'x'!A0", "x" * 255, "image")
NAMES = (
    os.fsdecode(b"\xff\xfe.png"), "new\nline.png", "\x1b[2J.png", "\u202egnp.png",
    "y" * 251 + ".png", "cafe\u0301.png", "-rf.png", "a$b^c_{.png",
)  # fmt: skip


def draw(path: Path, hue: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng([hue, len(os.fsencode(path)), os.fsencode(path.name)[0]])
    pixels = noise.integers(0, 120, (24, 24, 3), np.uint8)
    pixels[..., hue % 3] += 60
    Image.fromarray(pixels).save(path, "PNG")


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """40 usable images, and 12 pictures and folders to be left out."""
    root = tmp_path / "d\xe9j\xe0 vu"
    for number, name in enumerate(CLASSES):
        for index in range(4):
            draw(root / "Train" / name / f"{index}.png", number)
        for split, count in (("Valid", 2), ("TESTING", 2)):
            for index in range(count):
                draw(root / split / name / NAMES[(number + index) % len(NAMES)], number)
    inside = root / "Train" / NOT_UTF8
    (inside / "up").symlink_to("../..")
    (inside / "broken.jpg").symlink_to("gone")
    os.mkfifo(inside / "pipe.png")
    for name in ("photo.jpg_large", "no suffix", ".ipynb_checkpoints/0.png", "@eaDir/1.png"):
        draw(inside / name, 0)
    for name in ("a.cr2", "b.dcm", "empty.png", "notes.txt", "Thumbs.db", "._0.png"):
        (inside / name).touch()
    for name in ("loose.png", "Train/loose.png", "Train/.hidden/0.png", "extra/0.png"):
        draw(root / name, 1)
    draw(root / "__MACOSX" / "Train" / "cat" / "0.png", 1)
    (root / "Train" / "empty").mkdir()
    return root


@pytest.mark.exhaustive
def test_hostile_folder_trains_and_predicts_and_swapped_files_are_noticed(pictures, hostile):
    given = f"data.root='{hostile}'"
    tiny = [each for each in pictures.tiny if not each.startswith("data.root")]
    skipped = [*tiny, given, "epochs=1", "data.on_bad_image=skip", "sweep_dir=outputs/run"]
    trained = pictures.process("train.py", *skipped, errors="backslashreplace")
    assert trained.returncode == 0, trained.stderr
    run = pictures.directory / "outputs" / "run"
    record = json.loads((run / "result.json").read_text(encoding="utf-8"))
    assert record["data"]["counts"] == {"train": 20, "val": 10, "test": 10}
    classes = [r"caf\udce9", *CLASSES[1:]]
    assert record["data"]["classes"] == sorted(classes)
    reasons = "\n".join(record["data"]["skipped"])
    assert len(record["data"]["skipped"]) == 12, reasons
    for name in (
        "broken.jpg", "pipe.png", "photo.jpg_large", "no suffix", "a.cr2", "b.dcm", "empty.png",
        "vu/loose.png", "Train/loose.png", "Train/.hidden", "extra", "Train/empty",
    ):  # fmt: skip
        assert f"{name}: " in reasons, name
    rows = list(csv.reader(io.StringIO((run / "predictions.csv").read_text(encoding="utf-8"))))
    assert len(rows) == 21 and {len(row) for row in rows} == {3 + 5}

    asked = pictures.run(
        "predict.py", hostile / "TESTING", "--run", run, "--json", "--figures", "f"
    )
    assert asked.returncode == 0, asked.stderr
    predictions = json.loads(asked.stdout)["predictions"]
    paths = [Path(each["image"]) for each in predictions]
    assert len(paths) == 10 and all(path.is_file() for path in paths)
    assert list((pictures.directory / "f").glob("*.png"))

    one, other = (hostile / "Train" / name / "0.png" for name in CLASSES[-2:])
    times = [path.stat() for path in (one, other)]
    contents = one.read_bytes(), other.read_bytes()
    for path, content, facts in zip((other, one), contents, reversed(times), strict=True):
        path.write_bytes(content)
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    seen = pictures.process("train.py", *skipped, errors="backslashreplace")
    assert seen.returncode == 1 and "train images: 20 there" in seen.stderr
