"""Groups of images: recorded with a run, and what every command's intervals are over."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

BY_GROUP = r'data.group_from="(\w+)-\d+"'
BY_IMAGE = r'data.group_from="(\w+-\d+)"'


@pytest.fixture
def grouped(tmp_path, shared_cache, pictures):
    """The commands on pictures of 12, 12 and 6 groups of four that are nearly alike."""
    root, random = tmp_path / "grouped", np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 12), ("test", 6)):
        for group in range(count):
            label = ("pizza", "steak", "sushi")[group % 3]
            common = random.integers(0, 180, (40, 40, 3))
            common[..., group % 3] += 20
            for image in range(4):
                path = root / split / label / f"{split}{group}-{image}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                noise = random.integers(0, 30, (40, 40, 3))
                Image.fromarray((common + noise).astype(np.uint8)).save(path)
    commands = type(pictures)(tmp_path, root, shared_cache)
    return commands


def sweep(commands, folder: str, *settings: str):
    done = commands.train(
        "-m", "model=mobilenet_v3_small", "epochs=2", "optimizer.lr=0.001,0.01", *settings,
        f"sweep_dir={folder}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    files = (commands.directory / folder).rglob("result.json")
    records = {file.parent: json.loads(file.read_text()) for file in files}
    return done, {r["config"]["optimizer"]["lr"]: (path, r) for path, r in records.items()}


def width(measures: dict, name: str = "loss") -> float:
    return measures[name]["high"] - measures[name]["low"]


def test_groups_are_recorded_and_every_command_goes_by_them(grouped):
    done, by_group = sweep(grouped, "groups", BY_GROUP)
    assert "test intervals are over 6 groups of 24 images" in done.stderr
    assert "over 12 groups of validation images" in done.stdout
    _, single = sweep(grouped, "images")
    for rate, (_, record) in by_group.items():
        other = single[rate][1]
        assert record["data"]["groups"] == {"train": 12, "val": 12, "test": 6}
        assert record["metrics"] == other["metrics"]
        for split in ("val", "test"):
            assert width(record["deployed"][split]) > 1.3 * width(other["deployed"][split])
    run, record = by_group[0.01]
    stored = load_file(run / "logits.safetensors")
    np.testing.assert_array_equal(stored["test.groups"], np.repeat(np.arange(6), 4))
    found = json.loads(
        grouped.run(
            "evaluate.py", run, f"data.root={grouped.root}", "--json"
        ).stdout
    )  # fmt: skip
    assert found["groups"] == 6 and found["as_recorded"]
    assert found["deployed"] == record["deployed"]["test"]
    recorded = record["classes"]["test"]
    assert {k: v["recall"] for k, v in found["classes"].items()} == {
        k: v["recall"] for k, v in recorded.items()
    }
    shown = grouped.run("evaluate.py", run, f"data.root={grouped.root}").stdout
    assert "over 6 groups of images" in shown and "So few groups" in shown
    assert "With 12 groups of validation images" in done.stdout
    table = grouped.run("compare.py", "groups", "--sort", "accuracy")
    assert "over 12 groups of validation images" in table.stdout
    images = json.loads(
        grouped.run("evaluate.py", run, f"data.root={grouped.root}", "data.group_from=null",
                    "--json").stdout
    )  # fmt: skip
    assert images["groups"] is None
    assert images["deployed"] == single[0.01][1]["deployed"]["test"]


def test_each_image_its_own_group_gives_bitwise_the_numbers_without_groups(grouped):
    _, alone = sweep(grouped, "alone", BY_IMAGE)
    _, without = sweep(grouped, "without")
    for rate, (path, record) in alone.items():
        other_path, other = without[rate]
        assert "groups" not in record["data"]
        for key in ("metrics", "evaluation", "deployed", "classes"):
            assert record[key] == other[key]
        tensors, others = (load_file(f / "logits.safetensors") for f in (path, other_path))
        assert tensors.keys() == others.keys()
        assert all(tensor.tobytes() == others[name].tobytes() for name, tensor in tensors.items())


def test_cross_fitted_runs_are_compared_by_groups_of_all_images_that_were_scored(grouped):
    done, runs = sweep(grouped, "crossed", BY_GROUP, "evidence=cross_fit")
    assert "over 24 groups of cross-fitted images" in done.stdout
    for _, record in runs.values():
        assert record["data"]["groups"]["cross_fit"] == 24


@pytest.mark.parametrize(
    "broken",
    [np.zeros(24, np.int64), np.zeros(23, np.int32), np.full(24, 2, np.int32),
     np.full(24, -1, np.int32), np.zeros((24, 1), np.int32), np.zeros(0, np.int32)],
    ids=["type", "images", "gap", "negative", "axes", "none"],
)  # fmt: skip
def test_groups_that_are_no_groups_are_refused(grouped, broken):
    _, records = sweep(grouped, "groups", BY_GROUP)
    from safetensors import safe_open

    path: Path = records[0.01][0] / "logits.safetensors"
    with safe_open(path, framework="numpy") as opened:
        names = opened.metadata()
    save_file(load_file(path) | {"test.groups": broken}, path, names)
    done = grouped.run("compare.py", "groups")
    assert "groups" in done.stdout + done.stderr
