"""Pretrained weights: found, fetched, verified, or refused with what to do instead."""

import hashlib
import io
import logging
import multiprocessing
import os
import pickle
import re
import threading
import zipfile

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models._api import Weights, WeightsEnum

from visionsweep.config.schema import ModelConfig
from visionsweep.errors import UserError
from visionsweep.models import pretrained_weights, weights_files
from visionsweep.models.backbone_spec import resolve_backbone
from visionsweep.models.backbones import Backbone, build
from visionsweep.models.pretrained_weights import WeightsUnavailableError, ensure_cached

MODEL = "shufflenet_v2_x0_5"  # torchvision's smallest with BatchNorm
FILE = "shufflenetv2_x0.5-f707e7126e.pth"  # torchvision's name for IMAGENET1K_V1


def load(
    name: str = MODEL,
    *,
    chosen: str | None = "IMAGENET1K_V1",
    url: str = "http://127.0.0.1:9",
    random_if_unavailable: bool = False,
) -> Backbone:
    config = ModelConfig(label=name, name=name, weights=chosen, weights_url=url)
    return build(resolve_backbone(config, random_if_unavailable=random_if_unavailable), 32)


def trained_state(name: str = MODEL) -> dict[str, torch.Tensor]:
    """Return tensors such as no network with random weights has here."""
    torch.manual_seed(123)
    return torchvision.models.get_model(name).state_dict()


def holds(module: nn.Module, state: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(tensor, state[name]) for name, tensor in module.state_dict().items())


# -------------------------------------------------------------------------------- in the cache


def test_a_file_in_torchs_cache_is_used_and_nothing_is_fetched(plant):
    state = trained_state()
    plant(state, FILE)
    backbone = load(url="http://127.0.0.1:9")
    assert holds(backbone.module, state)
    assert backbone.spec.weights == "IMAGENET1K_V1"
    assert backbone.spec.preprocessing is not None


def test_other_weights_are_another_backbone_by_fingerprint(plant):
    state = trained_state()
    plant(state, FILE)
    first = load().spec.fingerprint
    assert load().spec.fingerprint == first
    state["conv1.0.weight"][0, 0, 0, 0] += 1e-3
    plant(state, FILE)
    assert load().spec.fingerprint != first
    assert load(chosen=None).spec.fingerprint != first


def test_densenets_old_key_names_are_understood(plant):
    """torchvision's own densenet files say `norm.1` where the model says `norm1`."""
    state = trained_state("densenet121")
    old = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", name): tensor
        for name, tensor in state.items()
        if not name.endswith("num_batches_tracked")  # younger than those files
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    plant(old, "densenet121-a639ec97.pth")
    assert holds(load("densenet121").module, state)


def test_weights_that_a_model_does_not_have_are_refused_with_those_it_has():
    with pytest.raises(UserError, match=r"model\.weights=IMAGENET1K_V2: .*DEFAULT.*IMAGENET1K_V1"):
        load(chosen="IMAGENET1K_V2")


# ------------------------------------------------------------------------------------ fetching


def entry_for(content: bytes) -> WeightsEnum:
    """A weights entry whose file name promises the hash of some content."""
    name = f"tiny-{hashlib.sha256(content).hexdigest()[:8]}.pth"

    class Tiny(WeightsEnum):
        V1 = Weights(url=f"https://elsewhere.example/models/{name}", transforms=None, meta={})

    return Tiny.V1


def test_weights_are_fetched_from_the_address_in_the_config_and_verified(
    checkpoints, weights_server
):
    content = os.urandom(5_000)
    entry = entry_for(content)
    name = pretrained_weights.cache_path(entry).name
    (weights_server.folder / name).write_bytes(content)
    file = ensure_cached(entry, weights_server.url)
    assert file.path == checkpoints / name
    assert file.path.read_bytes() == content
    assert weights_server.asked["GET", name] == 1
    assert ensure_cached(entry, weights_server.url) == file
    assert weights_server.asked["GET", name] == 1, "what is there is not fetched again"


def test_a_folder_that_is_not_there_yet_is_made(checkpoints, weights_server):
    checkpoints.rmdir()
    content = b"weights"
    entry = entry_for(content)
    (weights_server.folder / pretrained_weights.cache_path(entry).name).write_bytes(content)
    assert ensure_cached(entry, weights_server.url).path.read_bytes() == content


@pytest.mark.parametrize("slash", ["", "/"])
def test_the_address_may_end_in_a_slash_and_may_be_a_folder(checkpoints, tmp_path, slash):
    content = b"weights"
    entry = entry_for(content)
    (tmp_path / pretrained_weights.cache_path(entry).name).write_bytes(content)
    assert ensure_cached(entry, f"file://{tmp_path}{slash}").path.read_bytes() == content


def test_a_file_with_another_hash_than_its_name_promises_is_refused_and_not_kept(
    checkpoints, weights_server
):
    torch.save(trained_state(), weights_server.folder / FILE)
    with pytest.raises(WeightsUnavailableError, match="hash"):
        load(url=weights_server.url)
    assert weights_server.asked["GET", FILE] == 1
    assert [p.name for p in checkpoints.iterdir() if p.suffix != ".lock"] == []


def test_processes_that_ask_at_once_download_once(checkpoints, weights_server):
    content = os.urandom(20_000)
    entry = entry_for(content)
    name = pretrained_weights.cache_path(entry).name
    (weights_server.folder / name).write_bytes(content)
    forked = multiprocessing.get_context("fork")  # without importing torch again
    processes = [
        forked.Process(target=ensure_cached, args=(entry, weights_server.url)) for _ in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert weights_server.asked["GET", name] == 1
    assert (checkpoints / name).read_bytes() == content


def test_a_second_thread_waits_for_the_first_ones_file(checkpoints, weights_server):
    content = os.urandom(20_000)
    entry = entry_for(content)
    name = pretrained_weights.cache_path(entry).name
    (weights_server.folder / name).write_bytes(content)
    got: list[bytes] = []
    threads = [
        threading.Thread(
            target=lambda: got.append(ensure_cached(entry, weights_server.url).path.read_bytes())
        )
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [content] * 3
    assert weights_server.asked["GET", name] == 1


# --------------------------------------------------------------------------------- unreachable


def test_unreachable_weights_are_an_error_with_three_remedies(checkpoints):
    with pytest.raises(WeightsUnavailableError) as raised:
        load(url="http://127.0.0.1:9/models")
    message = str(raised.value)
    assert f"http://127.0.0.1:9/models/{FILE}" in message
    assert "Three ways out" in message
    assert f"put it at {checkpoints / FILE}" in message
    assert "pip install -e '.[lite]'" in message and "model=effnetlite0" in message
    assert "model.weights=null" in message


def test_first_suggested_remedy_works(plant, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    plant(trained_state(), FILE).rename(elsewhere)
    with pytest.raises(WeightsUnavailableError) as raised:
        load()
    path = re.search(r"put it at (\S+)", str(raised.value)).group(1)
    elsewhere.rename(path)
    assert load().spec.weights == "IMAGENET1K_V1"


def test_file_missing_on_the_server_is_reported(checkpoints, weights_server):
    with pytest.raises(WeightsUnavailableError, match="404"):
        load(url=weights_server.url)


def test_unreachable_weights_only_warn_where_random_ones_are_allowed(checkpoints, caplog):
    with caplog.at_level(logging.WARNING):
        backbone = load(random_if_unavailable=True)
    assert backbone.spec.weights == "random"
    assert "THIS RUN USES RANDOM WEIGHTS" in caplog.text
    assert "!!!!!!!!" in caplog.text
    assert FILE in caplog.text, "the reason is named"
    fresh = load(chosen=None)
    assert holds(backbone.module, fresh.module.state_dict())
    assert backbone.spec.fingerprint == fresh.spec.fingerprint


def test_random_fallback_keeps_the_transform_of_its_weights(checkpoints):
    assert load(random_if_unavailable=True).spec.preprocessing is not None


def test_random_weights_on_request_are_never_an_error(checkpoints):
    assert load(chosen=None).spec.weights == "random"


def test_damaged_file_is_an_error_even_where_random_weights_are_allowed(checkpoints):
    (checkpoints / FILE).write_bytes(b"half a file")
    with pytest.raises(UserError) as refused:
        load(random_if_unavailable=True)
    assert refused.value.where == str(checkpoints / FILE)


# ------------------------------------------------------------------------------------- refused


class RunsCode:
    """A pickle of this makes the folder that it names."""

    def __init__(self, folder) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def saved(content: object) -> bytes:
    stored = io.BytesIO()
    torch.save(content, stored)
    return stored.getvalue()


@pytest.mark.parametrize("how", ["torch.save", "pickle"])
@pytest.mark.parametrize("hash_fits", [True, False])
def test_malicious_pickle_in_the_cache_is_refused_by_name_and_not_executed(
    checkpoints, publish, tmp_path, how, hash_fits
):
    marker = tmp_path / "code-was-run"
    code = {"conv1.0.weight": RunsCode(marker)}
    content = pickle.dumps(code, protocol=2) if how == "pickle" else saved(code)
    path = publish(content, FILE) if hash_fits else checkpoints / FILE
    path.write_bytes(content)
    with pytest.raises(UserError) as refused:
        load()
    assert refused.value.where == str(path)
    assert not marker.exists()
    # The premise: read without care, it does run.
    torch.load(path, weights_only=False) if how == "torch.save" else pickle.loads(content)
    assert marker.exists()


def test_ambiguous_pickle_executes_no_code(publish, tmp_path):
    """torch reads a tar file its own way; torchvision a zip of one file, after unpacking it."""
    marker = tmp_path / "code-was-run"
    with zipfile.ZipFile(tmp_path / "zip", "w") as archive:
        archive.writestr(
            "legacy.pth", pickle.dumps({"conv1.0.weight": RunsCode(marker)}, protocol=2)
        )
    path = publish((tmp_path / "zip").read_bytes(), FILE)
    with pytest.raises(UserError) as refused:
        load()
    assert refused.value.where == str(path) and not marker.exists()


def test_file_swapped_between_hashing_and_reading_is_refused(plant, tmp_path):
    path = plant(trained_state(), FILE)
    config = ModelConfig(label=MODEL, name=MODEL, weights="IMAGENET1K_V1")
    spec = resolve_backbone(config, random_if_unavailable=False)
    content, times = path.read_bytes(), (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    other = bytearray(content)
    other[len(content) // 2] ^= 1
    path.write_bytes(other)
    os.utime(path, ns=times)
    with pytest.raises(UserError) as refused:
        build(spec, 32)
    assert refused.value.where == str(path) and "changed" in refused.value.what
    with pytest.raises(UserError) as refused:  # as a new run sees it: same name, size and times
        resolve_backbone(config, random_if_unavailable=False)
    assert refused.value.where == str(path) and "SHA-256" in refused.value.what
    path.write_bytes(content)
    build(spec, 32)


@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe", "folder"])
def test_irregular_file_is_refused_by_name_without_waiting(plant, tmp_path, kind):
    path = plant(trained_state(), FILE)
    path.rename(tmp_path / "moved")
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / ("moved" if kind == "link" else "nowhere"))
    with pytest.raises(UserError) as refused:
        load()
    assert refused.value.where == str(path)
    assert ("symbolic link" if "link" in kind else "not a regular file") in refused.value.what


def test_archive_that_unpacks_to_more_than_any_weights_file_is_refused(publish, tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", b"")
    bomb = bytearray((tmp_path / "bomb").read_bytes())
    at = bomb.index(b"PK\x01\x02") + 24  # the size that the directory states
    bomb[at : at + 4] = (0xFFFF_FFF0).to_bytes(4, "little")
    path = publish(bytes(bomb), FILE)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(UserError) as refused:
        patch.setattr(weights_files, "MAX_BYTES", 1 << 30)
        load()
    assert refused.value.where == str(path) and "4,294,967,280 bytes" in refused.value.what


@pytest.mark.parametrize("damage", ["empty", "cut", "text"])
def test_damaged_file_is_named_with_the_remedy(plant, publish, damage):
    path = plant(trained_state(), FILE)
    content = path.read_bytes()
    damaged = {"empty": b"", "cut": content[: len(content) // 2], "text": b"<html>404</html>"}
    path.write_bytes(damaged[damage])
    with pytest.raises(UserError) as refused:
        load()
    assert refused.value.where == str(path) and "SHA-256" in refused.value.what
    assert "Delete it" in refused.value.hint
    path = publish(damaged[damage], FILE)  # as where no hash is known
    with pytest.raises(UserError) as refused:
        load()
    assert refused.value.where == str(path)
    assert "not a readable weights file" in refused.value.what


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ([torch.zeros(3)], "no weights but list"),
        ({"conv1.0.weight": 3}, "'conv1.0.weight'"),
        ({7: torch.zeros(3)}, "7"),
        ({"state_dict": {"conv1.0.weight": torch.zeros(3)}}, "'state_dict'"),
    ],
)
def test_file_without_weights_is_refused(publish, content, what):
    path = publish(saved(content), FILE)
    with pytest.raises(UserError) as refused:
        load()
    assert refused.value.where == str(path) and what in refused.value.what


def test_file_with_unknown_module_versions_is_refused(publish):
    state = trained_state()
    state._metadata = [1, 2]
    path = publish(saved(state), FILE)
    with pytest.raises(UserError) as refused:
        load()
    assert refused.value.where == str(path) and "versions" in refused.value.what


@pytest.mark.parametrize("change", ["missing", "left over", "other shape"])
def test_weights_must_have_exactly_the_tensors_of_the_model(plant, change):
    state = trained_state()
    if change == "missing":
        del state["stage2.0.branch1.1.weight"]
    elif change == "left over":
        state["layer9.weight"] = torch.zeros(3)
    else:
        state["fc.weight"] = torch.zeros(7, 1024)  # a head of seven classes
    path = plant(state, FILE)
    with pytest.raises(
        UserError, match=r"model\.name=shufflenet_v2_x0_5: cannot be built"
    ) as refused:
        load()
    named = {"missing": "stage2.0.branch1.1.weight", "left over": "layer9.weight"}
    assert named.get(change, "fc.weight") in str(refused.value)
    assert str(path) in str(refused.value)


def test_old_file_without_batch_counters_is_read(plant):
    """torchvision's oldest files lack `num_batches_tracked`, and say no version."""
    state = trained_state()
    old = {name: t for name, t in state.items() if not name.endswith("num_batches_tracked")}
    plant(old, FILE)
    assert holds(load().module, state)


def test_weights_of_another_network_are_refused_by_the_models_name(plant):
    plant(trained_state("shufflenet_v2_x1_0"), FILE)
    with pytest.raises(UserError, match=f"model.name={MODEL}: cannot be built"):
        load()


# ----------------------------------------------------------------------------- by order of keys


def test_tensors_in_the_same_order_take_the_names_of_the_model(tmp_path):
    stored = {"a.w": torch.ones(2, 3), "a.b": torch.zeros(2)}
    wanted = {"first.weight": torch.empty(2, 3), "first.bias": torch.empty(2)}
    named = pretrained_weights.by_order(stored, wanted, tmp_path / "f.pth")
    assert list(named) == ["first.weight", "first.bias"]
    assert torch.equal(named["first.weight"], stored["a.w"])


@pytest.mark.parametrize(
    ("stored", "reason"),
    [
        ({"w": torch.ones(3, 2), "b": torch.zeros(2)}, "w has another shape than weight"),
        ({"b": torch.zeros(2), "w": torch.ones(2, 3)}, "b has another shape than weight"),
        ({"w": torch.ones(2, 3)}, "1 tensors instead of 2"),
        (
            {"w": torch.ones(2, 3), "b": torch.zeros(2), "n": torch.zeros(())},
            "3 tensors instead of 2",
        ),
    ],
)
def test_another_order_shape_or_number_is_refused(tmp_path, stored, reason):
    wanted = {"weight": torch.empty(2, 3), "bias": torch.empty(2)}
    with pytest.raises(UserError, match=rf"f\.pth: weights of another model: .*{reason}"):
        pretrained_weights.by_order(stored, wanted, tmp_path / "f.pth")


def test_a_package_that_is_not_installed_is_named_with_the_remedy():
    with pytest.raises(WeightsUnavailableError, match=r"no-such-package.*pip install -e '\.\[lite"):
        pretrained_weights.package_file("no-such-package")


def test_a_package_without_weights_is_named():
    with pytest.raises(WeightsUnavailableError, match=r"pytest: this package has no \.pth file"):
        pretrained_weights.package_file("pytest")
