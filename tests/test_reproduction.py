"""A record is read back, changed in nothing that decides numbers, and held against what is now."""

import json
from pathlib import Path

import msgspec
import pytest
import torch
from PIL import Image

from visionsweep import reproduction
from visionsweep.config import leaf_keys
from visionsweep.data.splits import load_splits
from visionsweep.devices import device_facts
from visionsweep.errors import UserError
from visionsweep.models.backbones import identify
from visionsweep.recorded import config_of, read_back
from visionsweep.reproduction import MAY_MOVE, config_for, use_threads, whats_changed
from visionsweep.tracking import provenance
from visionsweep.tracking.record import DataFacts
from visionsweep.tracking.runs import Run


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
def run(tmp_path, pictures, make_record) -> Run:
    """A run on these pictures, with an untrained backbone, as this machine would record it now."""
    made = make_record("mine", 0.9, 0.4, dataset="pictures", weights="random")
    made.config["data"] |= {"source": "folder", "label": "folder", "root": str(pictures)}
    made.config["model"] |= {"name": "resnet18", "weights": None}
    made.config["features"]["cache_dir"] = str(tmp_path / "cache")
    made.config |= {"replicates": 1, "device": "cpu"}
    made.config["training"]["replicates"] = 1
    config = config_of(made)
    splits = load_splits(config.data)
    made.data = DataFacts(
        "folder", list(splits.classes), splits.counts,
        {split: splits.digest(split) for split in ("train", "val", "test")}, [],
    )  # fmt: skip
    identity = identify(config.model, random_if_unavailable=False)
    made.model = msgspec.structs.replace(made.model, fingerprint=identity.fingerprint)
    made.versions = dict(provenance.versions())
    made.device = device_facts(torch.device("cpu"))
    return Run(tmp_path, made)


def changes(run, *settings):
    config, recorded = config_for(run, settings, Path("outputs/again"))
    return {c.what: (c.recorded, c.now) for c in whats_changed(run, config, recorded)}


@pytest.fixture(autouse=True)
def _clean_checkout(monkeypatch):
    monkeypatch.setattr(provenance, "git_state", lambda: None)


# ----------------------------------------------------------------------------- what has changed


def test_nothing_is_listed_where_nothing_differs(run):
    assert changes(run) == {}


def test_a_replaced_image_is_listed_before_anything_is_trained(run, pictures, monkeypatch):
    monkeypatch.setattr(reproduction, "run_experiment", None)
    Image.new("L", (40, 40), 77).save(pictures / "val" / "dark" / "0.png")
    found = changes(run)
    assert list(found) == ["val images"]
    assert all(text.startswith("4 (") for text in found["val images"])


def test_images_that_have_moved_and_are_the_same_are_not_listed(run, pictures, tmp_path):
    pictures.rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="no such folder"):
        changes(run)
    assert changes(run, f"data.root={tmp_path / 'elsewhere'}") == {}


def test_versions_weights_and_devices_that_differ_are_listed(run):
    run.record.versions |= {"torch": "2.0.0", "gone": "1.0"}
    run.record.device |= {"threads": 64}
    run.record.weights = "IMAGENET1K_V1"
    run.record.model = msgspec.structs.replace(run.record.model, fingerprint="abc")
    now = provenance.versions()["torch"]
    found = changes(run)
    assert found["torch"] == ("2.0.0", now) and found["gone"] == ("1.0", "not there")
    assert found["device: threads"] == ("64", str(torch.get_num_threads()))
    assert found["weights"] == ("IMAGENET1K_V1", "random")
    assert found["backbone"][0] == "abc" and len(found) == 5


def test_another_commit_is_listed_and_so_are_changes_that_no_commit_names(run, monkeypatch):
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
    config, _ = config_for(run, [], Path("outputs/again"))
    assert config.batch_size == 32 and config.model.dropout is None
    assert changes(run) == {
        "batch_size": ("not recorded", "32, the default"),
        "model.dropout": ("not recorded", "None, the default"),
        "warmup": ("3", "no such setting any more"),
        "model.depth": ("deep", "no such setting any more"),
    }


# --------------------------------------------------------------------------- what may be changed


def test_every_setting_comes_back_as_it_was_recorded(run):
    config, recorded = config_for(run, [], Path("outputs/again"))
    again = json.loads(json.dumps(msgspec.to_builtins(config)))
    assert again | {"sweep_dir": ""} == run.record.config | {"sweep_dir": ""} | {
        "data": run.record.config["data"] | {"if_unreachable": "error", "name": "pictures"}
    }
    assert again["sweep_dir"] == "outputs/again" and not recorded.absent


def test_where_and_on_what_it_runs_may_be_changed(run, tmp_path):
    settings = ["num_workers=2", "histograms=true", "data.base_url=null"]
    config, _ = config_for(run, [*settings, f"features.cache_dir={tmp_path}"], Path("again"))
    assert (config.num_workers, config.histograms, config.data.base_url) == (2, True, None)
    assert config.features.cache_dir == str(tmp_path)


@pytest.mark.parametrize("key", sorted(set(leaf_keys()) - MAY_MOVE))
def test_what_decides_numbers_is_refused(run, key):
    with pytest.raises(UserError, match="another experiment"):
        config_for(run, [f"{key}=1"], Path("again"))


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
        config_for(run, [setting], Path("again"))


def test_a_run_on_the_users_images_never_falls_back_to_the_sample(run):
    assert config_for(run, [], Path("again"))[0].data.if_unreachable == "error"
    run.record.dataset = "sample"
    assert config_for(run, [], Path("again"))[0].data.if_unreachable == "sample"


def test_it_computes_with_the_threads_of_the_run_or_as_many_as_asked_for(run):
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
