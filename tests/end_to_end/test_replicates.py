"""Replicates as a user meets them: in the record, the checkpoint, the table and the refusals."""

import json

import pytest
import torch
from safetensors.torch import load_file

from visionsweep.runs import logits
from visionsweep.runs.record_file import read_record

SMALL = ("model=mobilenet_v3_small", "model.weights=null", "data=sample", "data.fraction=0.1")


def made(commands, *settings):
    done = commands.train(*SMALL, "epochs=2", *settings)
    assert done.returncode == 0, done.stderr
    (path,) = commands.directory.glob("outputs/*/*/result.json")
    path = path.rename(path.with_name("read.json"))
    return path.parent, json.loads(path.read_text())


@pytest.mark.exhaustive
def test_the_first_of_five_is_to_the_last_bit_what_one_alone_comes_to(commands):
    five_dir, five = made(commands)
    one_dir, one = made(commands, "replicates=1")
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
        logits.read(place, read_record(place / "read.json")) for place in (five_dir, one_dir)
    )
    for split in ("val", "test"):
        assert (together[split].logits[:1] == alone[split].logits).all()
    assert "accuracy_wilson" in one["evaluation"]["test"]
    assert "accuracy_wilson" not in five["evaluation"]["test"]
    for split in ("val", "test"):
        for found in five["evaluation"][split].values():
            assert found["low"] <= found["high"]


@pytest.mark.exhaustive
def test_augmented_images_train_all_replicates_in_one_pass(commands):
    _, three = made(commands, "augmentation=trivial_augment", "replicates=3", "epochs=1")
    _, one = made(commands, "augmentation=trivial_augment", "replicates=1", "epochs=1")
    assert three["history"][0]["replicates"][0] == one["history"][0]["replicates"][0]
    assert len({each["val"]["loss"] for each in three["history"][0]["replicates"]}) == 3


def test_a_trained_backbone_has_one_replicate_and_more_are_refused(commands):
    done = commands.train(*SMALL, "training=fine_tuning", "replicates=2")
    assert done.returncode == 1
    assert "replicates=2" in done.stderr and "-m seed=1,2,3" in done.stderr
    assert not (commands.directory / "outputs").exists()
    _, record = made(commands, "training=fine_tuning", "epochs=1", "batch_size=24")
    assert record["config"]["replicates"] == 1
    assert len(record["history"][0]["replicates"]) == 1
