"""A record is read back, changed in nothing that decides numbers, and held against what is now."""

import copy
import json
import shlex
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
import torch
from PIL import Image

from visionsweep import reproduction
from visionsweep.config.derived import settings
from visionsweep.data.split_loading import load_splits
from visionsweep.errors import UserError
from visionsweep.models.backbone_spec import resolve_backbone
from visionsweep.reproduction import CHANGEABLE, config_for, use_threads, whats_changed
from visionsweep.runs.discovery import Run
from visionsweep.runs.record import DataFacts
from visionsweep.runs.recorded_config import config_of, not_followed, read_back
from visionsweep.runtime import provenance
from visionsweep.runtime.devices import device_facts


@pytest.fixture
def pictures(tmp_path) -> Path:
    """Two classes with pictures of one colour each, divided already."""
    for split, count in (("train", 4), ("val", 2), ("test", 2)):
        for kind in ("bright", "dark"):
            folder = tmp_path / "pictures" / split / kind
            folder.mkdir(parents=True)
            for number in range(count):
                shade = number * 9 + len(split) + (120 if kind == "bright" else 0)
                Image.new("L", (40, 40), shade).save(folder / f"{number}.png")
    return tmp_path / "pictures"


@pytest.fixture
def run(tmp_path, pictures, make_record, monkeypatch) -> Run:
    """A run on these pictures, with an untrained backbone, as this machine would record it now."""
    made = make_record("mine", 0.9, 0.4, dataset="pictures", weights="random")
    made.config["data"] |= {"source": "folder", "label": "folder", "root": str(pictures)}
    made.config["model"] |= {"name": "resnet18", "weights": None}
    monkeypatch.setenv("VISIONSWEEP_CACHE", str(tmp_path / "cache"))
    made.config["features"]["cache_dir"] = str(tmp_path / "cache")
    made.config |= {"replicates": 1, "device": "cpu"}
    made.config["training"]["replicates"] = 1
    config = config_of(made)
    splits = load_splits(replace(config.data, root=str(pictures)))
    made.data = DataFacts(
        "folder", list(splits.classes), splits.counts,
        {split: splits.digest(split) for split in ("train", "val", "test")}, [],
    )  # fmt: skip
    spec = resolve_backbone(config.model, random_if_unavailable=False)
    made.model = msgspec.structs.replace(made.model, fingerprint=spec.fingerprint)
    made.versions = dict(provenance.versions())
    made.device = device_facts(torch.device("cpu"))
    return Run(tmp_path, made)


def settings_for(run, *settings):
    """Say where the run's images are, as a person must."""
    return [f"data.root={run.directory / 'pictures'}", *settings]


def changes(run, *settings):
    config, recorded = config_for(run, settings_for(run, *settings), Path("outputs/again"))
    return {c.what: (c.recorded, c.now) for c in whats_changed(run, config, recorded)}


@pytest.fixture(autouse=True)
def _clean_checkout(monkeypatch):
    monkeypatch.setattr(provenance, "git_state", lambda: None)


# ----------------------------------------------------------------------------- what has changed


def test_identical_configurations_list_no_difference(run):
    assert changes(run) == {}


def test_a_replaced_image_is_listed_before_anything_is_trained(run, pictures, monkeypatch):
    monkeypatch.setattr(reproduction, "run_experiment", None)
    Image.new("L", (40, 40), 77).save(pictures / "val" / "dark" / "0.png")
    found = changes(run)
    assert list(found) == ["val images"]
    assert all(text.startswith("4 (") for text in found["val images"])


def test_moved_images_with_the_same_content_are_not_listed(run, pictures, tmp_path):
    pictures.rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="no such folder"):
        changes(run)
    assert changes(run, f"data.root={tmp_path / 'elsewhere'}") == {}


def test_versions_weights_and_devices_that_differ_are_listed(run):
    run.record.versions |= {"torch": "2.0.0", "gone": "1.0"}
    run.record.device |= {"threads": 64}
    run.record.weights = "IMAGENET1K_V1"
    run.record.model = msgspec.structs.replace(run.record.model, fingerprint="abc".rjust(32, "0"))
    now = provenance.versions()["torch"]
    found = changes(run)
    assert found["torch"] == ("2.0.0", now) and found["gone"] == ("1.0", "not there")
    assert found["device: threads"] == ("64", str(torch.get_num_threads()))
    assert found["weights"] == ("IMAGENET1K_V1", "random")
    assert found["backbone"][0].endswith("abc") and len(found) == 5


def test_other_commit_and_uncommitted_changes_are_listed(run, monkeypatch):
    run.record.git = {"commit": "aaa", "dirty": True}
    monkeypatch.setattr(provenance, "git_state", lambda: {"commit": "bbb", "dirty": True})
    assert changes(run) == {
        "commit": ("aaa", "bbb"),
        "uncommitted changes": ("yes", "yes, and maybe others"),
    }
    monkeypatch.setattr(provenance, "git_state", lambda: None)
    assert changes(run)["commit"] == ("aaa", "not there")


def test_what_an_earlier_version_did_not_record_of_the_device_is_not_listed(run):
    del run.record.device["instructions"]
    assert changes(run) == {}


def test_settings_that_only_one_version_knows_are_listed_and_filled_in(run):
    del run.record.config["batch_size"]
    del run.record.config["model"]["dropout"]
    run.record.config["warmup"] = 3
    run.record.config["model"]["depth"] = "deep"
    config, _ = config_for(run, settings_for(run), Path("outputs/again"))
    assert config.batch_size == 32 and config.model.dropout is None
    assert changes(run) == {
        "batch_size": ("not recorded", "32, the default"),
        "model.dropout": ("not recorded", "None, the default"),
        "warmup": ("3", "no such setting any more"),
        "model.depth": ("deep", "no such setting any more"),
    }


# --------------------------------------------------------------------------- what may be changed


def test_every_setting_comes_back_as_it_was_recorded(run):
    config, recorded = config_for(run, settings_for(run), Path("outputs/again"))
    again = json.loads(json.dumps(msgspec.to_builtins(config)))
    assert again | {"sweep_dir": ""} == run.record.config | {"sweep_dir": ""} | {
        "data": run.record.config["data"] | {"if_unreachable": "error", "name": "pictures"}
    }
    assert again["sweep_dir"] == "outputs/again" and not recorded.absent


def test_settings_of_place_and_machine_may_be_changed(run, tmp_path):
    settings = ["num_workers=2", "histograms=true", "data.base_url=null"]
    settings = settings_for(run, *settings, f"features.cache_dir={tmp_path}")
    config, _ = config_for(run, settings, Path("again"))
    assert (config.num_workers, config.histograms, config.data.base_url) == (2, True, None)
    assert config.features.cache_dir == str(tmp_path)


def test_settings_that_affect_results_are_refused(run):
    for key in set(settings()) - CHANGEABLE:
        with pytest.raises(UserError, match="another experiment") as refused:
            config_for(run, [f"{key}=1"], Path("again"))
        assert refused.value.where == f"{key}=1"


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("devise=cpu", "did you mean 'device'"),
        ("device", "no value"),
        ("device=gpu", "auto, cpu, mps, cuda"),
        ("num_workers=many", "num_workers=many"),
    ],
)
def test_a_mistyped_setting_is_refused(run, setting, said):
    with pytest.raises(UserError, match=said):
        config_for(run, settings_for(run, setting), Path("again"))


def test_a_run_on_the_users_images_never_falls_back_to_the_sample(run):
    assert config_for(run, settings_for(run), Path("again"))[0].data.if_unreachable == "error"
    run.record.dataset = "sample"
    assert config_for(run, settings_for(run), Path("again"))[0].data.if_unreachable == "sample"


def test_threads_are_those_of_the_run_unless_set(run):
    before = torch.get_num_threads()
    run.record.device["threads"] = 3
    use_threads(run, None)
    assert torch.get_num_threads() == 3
    use_threads(run, 2)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


def test_one_head_was_trained_where_the_record_does_not_know_of_replicates(run):
    del run.record.config["replicates"]
    del run.record.config["training"]["replicates"]
    assert config_of(run.record).replicates == 1
    assert read_back(run.record).absent == ["training.replicates", "replicates"]


# ------------------------------------------------------------------- a record from somebody else


def test_nothing_in_a_record_is_interpolated(run, monkeypatch):
    monkeypatch.setenv("VISIONSWEEP_TEST_SECRET", "hunter2")
    secret = "${oc.env:VISIONSWEEP_TEST_SECRET}"
    for section, key in (("data", "name"), ("model", "weights"), ("optimizer", "name")):
        sent = copy.deepcopy(run)
        sent.record.config[section][key] = secret
        with pytest.raises(UserError) as error:
            config_for(sent, settings_for(sent), Path("again"))
        assert error.value.where == f"config.{section}.{key} of the record"
        assert "hunter2" not in str(error.value)
    for section, key in (("data", "root"), ("data", "base_url"), ("features", "cache_dir")):
        sent = copy.deepcopy(run)
        sent.record.config[section][key] = secret
        with pytest.raises(UserError) as error:
            config_for(sent, [], Path("again"))
        assert "hunter2" not in str(error.value)
        assert ("python" in str(error.value.hint)) == (
            key != "root"
        )  # nothing to paste resolves it
        config, _ = config_for(sent, settings_for(sent), Path("again"))
        assert "hunter2" not in repr(config) and secret not in repr(config)
    with pytest.raises(UserError, match="interpolated"):
        config_for(run, settings_for(run, f"data.base_url={secret}"), Path("again"))


def test_places_and_addresses_of_a_record_are_listed_and_not_followed(run, tmp_path):
    planted = {
        ("data", "base_url"): "http://127.0.0.1:9/evil",
        ("model", "weights_url"): "http://127.0.0.1:9/weights",
        ("features", "cache_dir"): str(tmp_path / "elsewhere"),
    }
    for (section, key), value in planted.items():
        run.record.config[section][key] = value
    run.record.config |= {"outputs_dir": "/planted", "num_workers": 10**6}
    config, recorded = config_for(run, settings_for(run), Path("again"))
    assert "127.0.0.1" not in repr(config) and "elsewhere" not in repr(config)
    assert config.outputs_dir == "outputs" and config.num_workers is None
    said = not_followed(recorded, settings_for(run))
    for value in planted.values():
        assert value in said
    given = settings_for(run, "data.base_url=http://127.0.0.1:9/evil")
    assert config_for(run, given, Path("again"))[0].data.base_url == "http://127.0.0.1:9/evil"


def test_run_without_its_folder_prints_the_whole_command(run, pictures):
    with pytest.raises(UserError) as error:
        config_for(run, ["device=cpu"], Path("again"))
    assert error.value.where == str(run.directory)
    *_, command = error.value.hint.splitlines()
    python, script, *arguments = shlex.split(command)
    assert python == "python" and Path(script).name == "reproduce.py"
    assert arguments == [str(run.directory), "device=cpu", f"data.root={pictures}"]
    assert config_for(run, arguments[1:], Path("again"))[0].data.root == str(pictures)


def test_published_datasets_are_read_from_this_machines_folder(run):
    run.record.config["data"] |= {
        "source": "archives", "name": "pizza_steak_sushi", "label": "20pct", "fraction": 0.2,
        "root": "/usr/lib/python3/dist-packages", "base_url": "http://127.0.0.1:9/",
        "archives": {"../../x.zip": 0.1, "pizza_steak_sushi_20_percent.zip": 0.2},
    }  # fmt: skip
    config, _ = config_for(run, [], Path("again"))
    assert config.data.root == "data" and config.data.base_url.startswith("https://github.com/")
    assert len(config.data.archives) == 2 and "../../x.zip" not in config.data.archives
    assert config.data.fraction == 0.2
    run.record.config["data"]["name"] = "unheard of"
    with pytest.raises(UserError) as error:
        config_for(run, [], Path("again"))
    assert "data.archives" in error.value.what


@pytest.mark.parametrize(
    "model",
    [
        {"source": "package", "weights": "numpy", "name": "tf_efficientnet_lite0"},
        {"source": "package", "weights": None, "name": "hf-hub:somebody/model"},
        {"source": "torchvision", "name": "fasterrcnn_resnet50_fpn"},
        {"source": "pickle"},
    ],
)
def test_only_models_that_this_machine_knows_are_built(run, model):
    run.record.config["model"] |= model
    with pytest.raises(UserError) as error:
        config_for(run, settings_for(run), Path("again"))
    assert error.value.where == "config.model of the record"


@pytest.mark.parametrize(("most", "listed"), [(2, True), (100, False)])
def test_other_arithmetic_of_heads_is_listed_if_it_concerns_the_run(run, most, listed, monkeypatch):
    monkeypatch.setattr("visionsweep.reproduction.MANY_CLASSES", most)
    run.record.heads_version = 1
    assert ("arithmetic of heads (rounding)" in changes(run)) == listed
