"""Near duplicates across splits: counted, shown, and excluded from training if asked to."""

import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image, ImageOps

from visionsweep.data.images import digest_of


def scene(seed: int) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), np.uint8)
    return Image.fromarray(coarse).resize((160, 120), Image.Resampling.BICUBIC)


@pytest.fixture
def leaky(tmp_path):
    """36 different pictures of two classes, and four near duplicates across the splits."""
    root, seed = tmp_path / "leaky", 0
    for split, count in (("train", 8), ("val", 5), ("test", 5)):
        for label in ("cat", "dog"):
            (root / split / label).mkdir(parents=True)
            for number in range(count):
                scene(seed).save(root / split / label / f"{number}.png")
                seed += 1
    shutil.copy(root / "train/cat/0.png", root / "test/cat/copy.png")
    scene(1).save(root / "test/dog/wrong.jpg", quality=50)  # train/cat/1
    ImageOps.mirror(scene(8)).save(root / "val/dog/mirrored.png")  # train/dog/0
    scene(16).resize((80, 60)).save(root / "test/cat/small.png")  # val/cat/0
    return root


@pytest.fixture
def train(pictures, leaky):
    """Train on the leaky folder; return the record and what was printed."""

    def run(name: str, *settings: str):
        done = pictures.run(
            "train.py", "model=mobilenet_v3_small", *pictures.tiny, f"data.root={leaky}",
            "epochs=1", f"sweep_dir={name}", *settings,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        directory = pictures.directory / name
        return json.loads((directory / "result.json").read_text()), done.stdout + done.stderr

    return run


def lines_about(printed: str) -> list[str]:
    return [line for line in printed.splitlines() if "near duplicate" in line]


def test_default_warns_in_one_line_and_changes_no_number(train, leaky, pictures):
    record, printed = train("warned")
    (line,) = lines_about(printed)
    assert "1 validation and 2 test images" in line and "1 exact, 1 of another class" in line
    assert "train/cat/1.png" in line and "test/dog/wrong.jpg" in line and "label error" in line
    assert "--html" in line and "near_duplicates=exclude" in line
    found = record["near_duplicates"]
    assert [tuple(overlap.values()) for overlap in found["overlaps"]] == [
        (["train", "val"], 1, 0, 0), (["train", "test"], 2, 1, 1), (["val", "test"], 1, 0, 0)
    ]  # fmt: skip
    assert found["pairs"][0]["classes"] == ["cat", "dog"] and not found["excluded"]

    allowed, printed = train("allowed", "data.near_duplicates=allow")
    assert lines_about(printed) == [] and allowed["near_duplicates"] is None
    assert pictures.numbers(allowed) == pictures.numbers(record)


def test_exclude_drops_training_images_alone_and_changes_the_fingerprint(train, leaky, pictures):
    warned, _ = train("warned")
    record, printed = train("excluded", "data.near_duplicates=exclude")
    (line,) = lines_about(printed)
    assert "Excluded from training: 3" in line
    assert record["fingerprint"] != warned["fingerprint"]
    assert record["data"]["counts"] == warned["data"]["counts"] | {"train": 13}
    for split in ("val", "test"):
        assert record["data"]["digests"][split] == warned["data"]["digests"][split]
    dropped = {digest_of((leaky / "train" / name).read_bytes())
               for name in ("cat/0.png", "cat/1.png", "dog/0.png")}  # fmt: skip
    assert set(record["near_duplicates"]["excluded"]) == dropped

    for name in dropped:  # by hand, as the setting does
        for file in leaky.glob("train/*/*.png"):
            if digest_of(file.read_bytes()) == name:
                file.unlink()
    by_hand, _ = train("by_hand")
    assert pictures.numbers(by_hand) == pictures.numbers(record)


def test_run_with_excluded_images_is_reproduced_evaluated_and_returned(train, leaky, pictures):
    record, _ = train("excluded", "data.near_duplicates=exclude")
    again, printed = train("excluded", "data.near_duplicates=exclude")
    assert again == record and "Finished earlier" in printed
    run = pictures.directory / "excluded"
    done = pictures.run("reproduce.py", run, f"data.root={leaky}")
    assert done.returncode == 0 and "identical" in done.stdout, done.stdout + done.stderr
    own = ["data=folder", f"data.root={leaky}"]
    done = pictures.run("evaluate.py", run, *own, "--split", "train", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["as_recorded"] and found["images"] == 13


def test_a_class_without_training_images_left_is_refused(train, leaky, pictures):
    for number in range(8):
        shutil.copy(leaky / f"train/dog/{number}.png", leaky / f"test/dog/copy{number}.png")
    done = pictures.run(
        "train.py", "model=mobilenet_v3_small", *pictures.tiny, f"data.root={leaky}", "epochs=1",
        "sweep_dir=refused", "data.near_duplicates=exclude",
    )  # fmt: skip
    assert done.returncode == 1 and "all training images of dog" in done.stderr


def test_report_shows_pairs_and_training_images(train, leaky, pictures):
    train("warned")
    file = pictures.directory / "page.html"
    done = pictures.run("compare.py", pictures.directory / "warned", "--html", file)
    assert done.returncode == 0, done.stderr
    page = file.read_text()
    section = page[page.index("near-duplicates") :]
    section = section[: section.index("Next steps")]
    assert section.count("<li>") == 4 and section.count("data:image/jpeg") == 8
    assert section.count("probably a label error") == 1 and section.count("the same file") == 1
    assert re.search(r'class="sheet" src="data:image/jpeg', page)
    assert "Take care" in page and "1 validation and 2 test images" in page

    (leaky / "test/dog/wrong.jpg").unlink()
    pictures.run("compare.py", pictures.directory / "warned", "--html", file)
    assert "not found" in file.read_text()
