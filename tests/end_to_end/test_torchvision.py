"""`data=torchvision` as a user gives it: Food-101 in its own layout, and what its runs can do."""

import json

import pytest
from PIL import Image


@pytest.fixture
def food(pictures):
    """Commands beside `data/food-101`: two classes, 12 training and 4 test images of each."""
    folder, lists = pictures.directory / "data/food-101", {"train": {}, "test": {}}
    for label, name in enumerate(("apple_pie", "waffles")):
        (folder / "images" / name).mkdir(parents=True)
        for number in range(16):
            color = (20 + 200 * label, 10 * number, 90)
            Image.new("RGB", (40, 40), color).save(folder / f"images/{name}/{number}.jpg")
            split = "train" if number < 12 else "test"
            lists[split].setdefault(name, []).append(f"{name}/{number}")
    (folder / "meta").mkdir()
    for split, by_class in lists.items():
        (folder / f"meta/{split}.json").write_text(json.dumps(by_class))
        names = [name for names in by_class.values() for name in names]
        (folder / f"meta/{split}.txt").write_text("\n".join(names))
    return pictures


TINY = (
    "model=mobilenet_v3_small", "model.weights=null", "transform.size=32", "epochs=1",
    "batch_size=4", "replicates=2", "threads=1",
)  # fmt: skip


def test_food101_trains_and_its_runs_are_scored_and_reproduced(food):
    done = food.run(
        "train.py", "-m", "data=torchvision", "data.name=Food101", "data.fraction=0.5,1.0",
        "sweep_dir=sweep", *TINY,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Food101-50pct" in done.stdout
    records = food.records("sweep")
    assert sorted(r["data"]["counts"]["train"] for r in records.values()) == [10, 20]
    name, record = next(iter(records.items()))
    assert record["dataset"] == "Food101" and record["data"]["counts"]["test"] == 8
    for settings in ((), ("data=folder", "data.root=data/food-101", "--own-images", "data")):
        found = food.run("evaluate.py", f"sweep/{name}", *settings, "--json")
        assert found.returncode == 0, found.stderr
        scores = json.loads(found.stdout)
        assert scores["as_recorded"] and scores["deployed"] == record["deployed"]["test"]
    again = food.run("reproduce.py", f"sweep/{name}")
    assert again.returncode == 0 and "identical" in again.stdout


def test_unknown_data_set_stops_the_command_before_anything_is_written(food):
    done = food.run("train.py", "data=torchvision", "data.name=Food102", "sweep_dir=sweep", *TINY)
    assert done.returncode != 0 and "did you mean 'Food101'" in done.stdout + done.stderr
    assert not (food.directory / "sweep").exists()
