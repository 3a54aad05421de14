"""plan=true prints what a sweep would do, and does none of it."""

import re

import pytest

SWEEP = ["-m", "model=resnet18,mobilenet_v3_small", "epochs=1,2"]


@pytest.fixture
def pictures(pictures_in, tmp_path):
    """Commands whose cache no other test has used."""
    return pictures_in(tmp_path)


@pytest.fixture
def planned(pictures):
    """A function that plans a sweep, and returns what it printed."""

    def plan(*asked: str) -> str:
        before = set(pictures.directory.glob("outputs/**/*"))
        done = pictures.run("train.py", *asked, *pictures.tiny, "plan=true")
        assert done.returncode == 0, done.stderr
        assert set(pictures.directory.glob("outputs/**/*")) == before
        return done.stdout

    return plan


def test_plan_counts_runs_images_time_and_disk_and_writes_nothing(pictures, planned):
    text = planned(*SWEEP)
    assert "4 runs: 4 to train, 0 finished." in text
    assert "Time: not known" in text and "MB." in text
    (images,) = {row.split("│")[2].strip() for row in text.splitlines() if "32 pixels" in row}
    assert pictures.run("train.py", "-m", "model=resnet18", "epochs=1,3", *pictures.tiny)
    text = planned(*SWEEP)
    assert "4 runs: 3 to train, 1 finished." in text and "\n  resnet18_folder_1-epochs" in text
    rows = {row.split("│")[1].split(",")[0].strip(): row.split("│")[2:5] for row in
            text.splitlines() if "32 pixels" in row}  # fmt: skip
    counts = {name: [cell.strip() for cell in cells] for name, cells in rows.items()}
    assert counts == {
        "resnet18": [images, images, "0"], "mobilenet_v3_small": [images, "0", images]
    }  # fmt: skip


def test_plan_says_which_differences_the_validation_images_can_show(pictures, planned):
    text = planned("model=resnet18")
    images = int(re.search(r"With the ([\d,]+) validation images", text)[1])
    points = [float(found) for found in re.findall(r"([\d.]+) points", text)]
    expected = [100 * 2.8016 * (share / images) ** 0.5 for share in (0.05, 0.1, 0.2)]
    assert points == pytest.approx(expected, abs=0.06)
    assert "1 run: 1 to train" in text and "In loss" not in text
    pictures.run("train.py", "-m", "model=resnet18", "epochs=1,2", *pictures.tiny)
    assert re.search(r"In loss, from [\d.]+ \(by how 2 earlier runs", planned("model=resnet18"))


def test_plan_fetches_nothing_and_names_what_it_would_need(commands):
    done = commands.run(
        "train.py", "data.root=elsewhere", "plan=true", "data.base_url=http://127.0.0.1:9"
    )
    assert done.returncode == 0
    assert "1 run cannot be planned" in done.stdout and "plan=true fetches nothing" in done.stdout
    assert not (commands.directory / "elsewhere").exists()
