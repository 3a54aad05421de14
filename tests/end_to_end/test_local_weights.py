"""A run's own weights, and anybody's, as the backbone of further runs."""

import json

import pytest
import safetensors.torch
import torch
import torchvision

from visionsweep.inference.predictor import load_predictor
from visionsweep.runs.discovery import find_runs


@pytest.fixture(scope="module")
def tuned(tmp_path_factory, pictures_in):
    """A fine-tuned run, and the commands that made it."""
    commands = pictures_in(tmp_path_factory.mktemp("tuned"))
    settings = [s for s in commands.tiny if not s.startswith("replicates")]
    done = commands.run(
        "train.py", "model=mobilenet_v3_small", "training=fine_tuning", "epochs=1",
        "transform.size=48", *(s for s in settings if not s.startswith("transform")),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return commands, next(commands.directory.glob("outputs/*/*/model.safetensors"))


def on_local(commands, *settings):
    """Train on pictures with model=local; return the run's directory and the process."""
    tuned = ("replicates",) if "training=fine_tuning" in settings else ()
    left_out = ("model.weights", "transform", *tuned)
    tiny = [s for s in commands.tiny if not s.startswith(left_out)]
    before = set(commands.directory.glob("outputs/*/*/result.json"))
    done = commands.run("train.py", "model=local", *settings, *tiny)
    made = set(commands.directory.glob("outputs/*/*/result.json")) - before
    return (made.pop().parent if made else None), done


def record_of(directory):
    return json.loads((directory / "result.json").read_text())


def backbone_of(directory):
    (run,) = find_runs([directory]).runs
    return load_predictor(run, torch.device("cpu")).model.backbone.state_dict()


def test_a_fine_tuned_run_is_a_frozen_backbone_that_outlives_its_file(tuned, tmp_path, monkeypatch):
    commands, weights = tuned
    monkeypatch.setenv("VISIONSWEEP_CACHE", commands.environment["VISIONSWEEP_CACHE"])
    moved = tmp_path / "my weights, (2).safetensors"
    moved.write_bytes(weights.read_bytes())
    run, done = on_local(commands, f"model.weights={moved}", "epochs=2", "transform=pretrained")
    assert done.returncode == 0, done.stderr
    record = record_of(run)
    model = record["config"]["model"]
    assert (model["name"], model["library"]) == ("mobilenet_v3_small", "torchvision")
    assert record["model"]["preprocessing"]["resize"] == [48, 48]
    assert record["weights"].startswith("local@") and str(tmp_path) not in record["weights"]
    moved.unlink()
    stored, frozen = backbone_of(weights.parent), backbone_of(run)
    assert stored.keys() == frozen.keys()
    assert all(torch.equal(tensor, frozen[name]) for name, tensor in stored.items())
    photo = next(commands.root.rglob("*.png"))
    predicted = commands.run("predict.py", photo, "--run", run)
    assert predicted.returncode == 0, predicted.stderr
    again = commands.run("reproduce.py", run, *commands.own, "--to", tmp_path / "again")
    assert "identical" in again.stdout, again.stdout + again.stderr


def test_a_fine_tuned_run_can_be_fine_tuned_further(tuned):
    commands, weights = tuned
    run, done = on_local(commands, f"model.weights={weights}", "training=fine_tuning", "epochs=1")
    assert done.returncode == 0, done.stderr
    assert record_of(run)["model"]["checkpoint"] == "model.safetensors"
    photo = next(commands.root.rglob("*.png"))
    assert commands.run("predict.py", photo, "--run", run).returncode == 0


def test_equal_content_under_another_path_shares_features_and_fingerprint(tuned, tmp_path):
    commands, _ = tuned
    torch.manual_seed(0)
    state = torchvision.models.squeezenet1_1(num_classes=4).state_dict()
    fingerprints = []
    for name in ("a.safetensors", "b.safetensors"):
        safetensors.torch.save_file(state, tmp_path / name)
        run, done = on_local(
            commands, f"model.weights={tmp_path / name}", "model.name=squeezenet1_1", "epochs=2",
            "transform.size=32",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        fingerprints.append(record_of(run)["fingerprint"])
    assert "Extracting" not in done.stderr and len(set(fingerprints)) == 1


@pytest.mark.parametrize("sweeping", [[], ["-m", "epochs=1,2"]])
def test_weights_of_another_architecture_are_refused_before_anything_is_written(
    tuned, tmp_path, sweeping, pictures_in
):
    commands = pictures_in(tmp_path)
    _, weights = tuned
    _, done = on_local(commands, *sweeping, f"model.weights={weights}", "model.name=resnet18")
    assert done.returncode != 0
    assert "missing: conv1.weight" in done.stderr and "unexpected: classifier.0" in done.stderr
    assert not (tmp_path / "outputs").exists() and not (tmp_path / "cache" / "weights").exists()
