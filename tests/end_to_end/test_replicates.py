"""Replicates as a user meets them: in the record, the checkpoint, the table and the refusals."""

import json

import pytest
import torch
from safetensors.torch import load_file

from visionsweep.runs import logits
from visionsweep.runs.record_file import read_record


def train(pictures, *settings):
    """Train with the default number of replicates, unless it is among the settings."""
    tiny = [setting for setting in pictures.tiny if not setting.startswith("replicates")]
    return pictures.run("train.py", "model=mobilenet_v3_small", *tiny, *settings)


def made(pictures, name, *settings):
    """Return the folder and the record of a run."""
    done = train(pictures, f"sweep_dir={name}", *settings)
    assert done.returncode == 0, done.stderr
    folder = pictures.directory / name
    return folder, json.loads((folder / "result.json").read_text())


@pytest.mark.exhaustive
def test_first_of_five_replicates_is_bitwise_identical_to_a_single_one(pictures):
    five_dir, five = made(pictures, "five", "epochs=2")
    one_dir, one = made(pictures, "one", "epochs=2", "replicates=1")
    assert five["config"]["replicates"] == 5 and one["config"]["replicates"] == 1
    for together, alone in zip(five["history"], one["history"], strict=True):
        assert len(together["replicates"]) == 5
        assert together["replicates"][0] == alone["replicates"][0]
        losses = [each["val"]["loss"] for each in together["replicates"]]
        assert together["val"]["loss"] == pytest.approx(sum(losses) / 5) and len(set(losses)) == 5
    heads, head = (load_file(d / "head.safetensors") for d in (five_dir, one_dir))
    assert heads["head.weight"].shape[0] == 5
    assert torch.equal(heads["head.weight"][:1], head["head.weight"])
    assert (heads["temperature"] > 0).all()
    together, alone = (
        logits.read(place, read_record(place / "result.json")) for place in (five_dir, one_dir)
    )
    for split in ("val", "test"):
        assert (together[split].logits[:1] == alone[split].logits).all()
    assert "accuracy_wilson" in one["evaluation"]["test"]
    assert "accuracy_wilson" not in five["evaluation"]["test"]
    for split in ("val", "test"):
        for found in five["evaluation"][split].values():
            assert found["low"] <= found["high"]


@pytest.mark.exhaustive
def test_all_replicates_train_on_augmented_images_in_one_pass(pictures):
    settings = ("augmentation=trivial_augment", "epochs=1")
    _, three = made(pictures, "three", *settings, "replicates=3")
    _, one = made(pictures, "one", *settings, "replicates=1")
    assert three["history"][0]["replicates"][0] == one["history"][0]["replicates"][0]
    assert len({each["val"]["loss"] for each in three["history"][0]["replicates"]}) == 3


def test_fine_tuning_trains_one_replicate_and_refuses_more(pictures):
    done = train(pictures, "training=fine_tuning", "replicates=2")
    assert done.returncode == 1
    assert "replicates=2" in done.stderr and "-m seed=1,2,3" in done.stderr
    assert list(pictures.directory.iterdir()) == []
    _, record = made(pictures, "run", "training=fine_tuning", "epochs=1")
    assert record["config"]["replicates"] == 1
    assert len(record["history"][0]["replicates"]) == 1
