"""Pretrained weights: found, fetched, verified, or refused with what to do instead."""

import hashlib
import logging
import os
import pickle
import re
import subprocess
import sys
import threading

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models._api import Weights, WeightsEnum

from visionsweep.config import ModelConfig
from visionsweep.errors import UserError
from visionsweep.models import weights
from visionsweep.models.backbones import Backbone, build, identify
from visionsweep.models.weights import WeightsUnavailableError, ensure_cached

RESNET18 = "resnet18-f37072fd.pth"  # torchvision's name for IMAGENET1K_V1


def load(
    name: str = "resnet18",
    *,
    chosen: str | None = "IMAGENET1K_V1",
    url: str = "http://127.0.0.1:9",
    random_if_unavailable: bool = False,
) -> Backbone:
    config = ModelConfig(label=name, name=name, weights=chosen, weights_url=url)
    return build(identify(config, random_if_unavailable=random_if_unavailable), 32)


def trained_state(name: str = "resnet18") -> dict[str, torch.Tensor]:
    """Tensors such as no fresh network has."""
    torch.manual_seed(123)
    return torchvision.models.get_model(name).state_dict()


def holds(module: nn.Module, state: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(tensor, state[name]) for name, tensor in module.state_dict().items())


# -------------------------------------------------------------------------------- in the cache


def test_a_file_in_torchs_cache_is_used_and_nothing_is_fetched(plant):
    state = trained_state()
    plant(state, RESNET18)
    backbone = load(url="http://127.0.0.1:9")
    assert holds(backbone.module, state)
    assert backbone.identity.weights == "IMAGENET1K_V1"
    assert backbone.identity.preprocessing is not None


def test_other_weights_are_another_backbone_by_fingerprint(plant):
    state = trained_state()
    plant(state, RESNET18)
    first = load().identity.fingerprint
    assert load().identity.fingerprint == first
    state["conv1.weight"][0, 0, 0, 0] += 1e-3
    plant(state, RESNET18)
    assert load().identity.fingerprint != first
    assert load(chosen=None).identity.fingerprint != first


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
    name = weights.cache_path(entry).name
    (weights_server.folder / name).write_bytes(content)
    path = ensure_cached(entry, weights_server.url)
    assert path == checkpoints / name
    assert path.read_bytes() == content
    assert weights_server.asked["GET", name] == 1
    assert ensure_cached(entry, weights_server.url) == path
    assert weights_server.asked["GET", name] == 1, "what is there is not fetched again"


def test_a_folder_that_is_not_there_yet_is_made(checkpoints, weights_server):
    checkpoints.rmdir()
    content = b"weights"
    entry = entry_for(content)
    (weights_server.folder / weights.cache_path(entry).name).write_bytes(content)
    assert ensure_cached(entry, weights_server.url).read_bytes() == content


@pytest.mark.parametrize("slash", ["", "/"])
def test_the_address_may_end_in_a_slash_and_may_be_a_folder(checkpoints, tmp_path, slash):
    content = b"weights"
    entry = entry_for(content)
    (tmp_path / weights.cache_path(entry).name).write_bytes(content)
    assert ensure_cached(entry, f"file://{tmp_path}{slash}").read_bytes() == content


def test_a_file_with_another_hash_than_its_name_promises_is_refused_and_not_kept(
    checkpoints, weights_server
):
    torch.save(trained_state(), weights_server.folder / RESNET18)
    with pytest.raises(WeightsUnavailableError, match="hash"):
        load(url=weights_server.url)
    assert weights_server.asked["GET", RESNET18] == 1
    assert [p.name for p in checkpoints.iterdir() if p.suffix != ".lock"] == []


def test_two_processes_that_ask_at_once_fetch_once(checkpoints, weights_server):
    content = os.urandom(20_000)
    name = weights.cache_path(entry_for(content)).name
    (weights_server.folder / name).write_bytes(content)
    script = f"""
import sys
from torchvision.models._api import Weights, WeightsEnum
from visionsweep.models.weights import ensure_cached
class Tiny(WeightsEnum):
    V1 = Weights(url="https://elsewhere.example/{name}", transforms=None, meta={{}})
print("ready", flush=True)
sys.stdin.readline()
print(ensure_cached(Tiny.V1, {weights_server.url!r}))
"""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n", process.stderr.read()
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        out, error = process.communicate(timeout=60)
        assert process.returncode == 0, error
        assert out.strip() == str(checkpoints / name)
    assert weights_server.asked["GET", name] == 1
    assert (checkpoints / name).read_bytes() == content


def test_a_second_thread_waits_for_the_first_ones_file(checkpoints, weights_server):
    content = os.urandom(20_000)
    entry = entry_for(content)
    name = weights.cache_path(entry).name
    (weights_server.folder / name).write_bytes(content)
    got: list[bytes] = []
    threads = [
        threading.Thread(
            target=lambda: got.append(ensure_cached(entry, weights_server.url).read_bytes())
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


def test_weights_out_of_reach_are_an_error_with_three_ways_out(checkpoints):
    with pytest.raises(WeightsUnavailableError) as raised:
        load(url="http://127.0.0.1:9/models")
    message = str(raised.value)
    assert f"http://127.0.0.1:9/models/{RESNET18}" in message
    assert "Three ways out" in message
    assert f"put it at {checkpoints / RESNET18}" in message
    assert "pip install -e '.[lite]'" in message and "model=effnetlite0" in message
    assert "model.weights=null" in message


def test_the_first_way_out_works(checkpoints, tmp_path):
    with pytest.raises(WeightsUnavailableError) as raised:
        load()
    path = re.search(r"put it at (\S+)", str(raised.value)).group(1)
    torch.save(trained_state(), path)
    assert load().identity.weights == "IMAGENET1K_V1"


def test_a_file_that_the_server_does_not_have_is_said_to_be_missing(checkpoints, weights_server):
    with pytest.raises(WeightsUnavailableError, match="404"):
        load(url=weights_server.url)


def test_weights_out_of_reach_only_warn_where_random_ones_will_do(checkpoints, caplog):
    with caplog.at_level(logging.WARNING):
        backbone = load(random_if_unavailable=True)
    assert backbone.identity.weights == "random"
    assert "THIS RUN USES A RANDOM BACKBONE" in caplog.text
    assert "!!!!!!!!" in caplog.text
    assert RESNET18 in caplog.text, "the reason is named"
    fresh = load(chosen=None)
    assert holds(backbone.module, fresh.module.state_dict())
    assert backbone.identity.fingerprint == fresh.identity.fingerprint


def test_a_random_stand_in_still_knows_how_its_weights_would_have_seen_images(checkpoints):
    assert load(random_if_unavailable=True).identity.preprocessing is not None


def test_no_weights_asked_for_is_never_an_error(checkpoints):
    assert load(chosen=None).identity.weights == "random"


def test_a_damaged_file_is_an_error_even_where_random_weights_would_do(checkpoints):
    (checkpoints / RESNET18).write_bytes(b"half a file")
    with pytest.raises(UserError, match=RESNET18):
        load(random_if_unavailable=True)


# ------------------------------------------------------------------------------------- refused


class RunsCode:
    """A pickle of this makes the folder that it names."""

    def __init__(self, folder) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("how", ["torch.save", "pickle"])
def test_a_file_that_would_run_code_is_refused_and_runs_none(checkpoints, tmp_path, how):
    marker = tmp_path / "code-was-run"
    content = {"conv1.weight": RunsCode(marker)}
    if how == "pickle":
        (checkpoints / RESNET18).write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, checkpoints / RESNET18)
    with pytest.raises(UserError, match=re.escape(str(checkpoints / RESNET18))):
        load()
    assert not marker.exists()
    # The premise: read without care, it does run.
    torch.load(checkpoints / RESNET18, weights_only=False) if how == "torch.save" else pickle.loads(
        (checkpoints / RESNET18).read_bytes()
    )
    assert marker.exists()


@pytest.mark.parametrize("damage", ["empty", "cut", "text"])
def test_a_damaged_file_is_named_with_the_remedy(plant, damage):
    path = plant(trained_state(), RESNET18)
    content = path.read_bytes()
    path.write_bytes(
        {"empty": b"", "cut": content[: len(content) // 2], "text": b"<html>404</html>"}[damage]
    )
    with pytest.raises(UserError, match=rf"{RESNET18}: not a readable weights file.*delete it"):
        load()


def test_a_file_of_something_else_is_refused(checkpoints):
    torch.save([torch.zeros(3)], checkpoints / RESNET18)
    with pytest.raises(UserError, match=f"{RESNET18}: holds no weights but list"):
        load()


def test_weights_of_another_network_are_refused_by_the_models_name(plant):
    plant(trained_state("resnet34"), RESNET18)
    with pytest.raises(UserError, match=r"model\.name=resnet18: cannot be built"):
        load()


# ----------------------------------------------------------------------------- by order of keys


def test_tensors_in_the_same_order_take_the_names_of_the_model(tmp_path):
    stored = {"a.w": torch.ones(2, 3), "a.b": torch.zeros(2)}
    wanted = {"first.weight": torch.empty(2, 3), "first.bias": torch.empty(2)}
    named = weights.by_order(stored, wanted, tmp_path / "f.pth")
    assert list(named) == ["first.weight", "first.bias"]
    assert torch.equal(named["first.weight"], stored["a.w"])


@pytest.mark.parametrize(
    ("stored", "reason"),
    [
        ({"w": torch.ones(3, 2), "b": torch.zeros(2)}, "w has another shape than weight"),
        ({"b": torch.zeros(2), "w": torch.ones(2, 3)}, "b has another shape than weight"),
        ({"w": torch.ones(2, 3)}, "1 tensors for 2"),
        ({"w": torch.ones(2, 3), "b": torch.zeros(2), "n": torch.zeros(())}, "3 tensors for 2"),
    ],
)
def test_another_order_shape_or_number_is_refused(tmp_path, stored, reason):
    wanted = {"weight": torch.empty(2, 3), "bias": torch.empty(2)}
    with pytest.raises(UserError, match=rf"f\.pth: weights of another model: .*{reason}"):
        weights.by_order(stored, wanted, tmp_path / "f.pth")


def test_a_package_that_is_not_installed_is_named_with_the_remedy():
    with pytest.raises(WeightsUnavailableError, match=r"no-such-package.*pip install -e '\.\[lite"):
        weights.package_file("no-such-package")


def test_a_package_without_weights_is_named():
    with pytest.raises(WeightsUnavailableError, match=r"pytest: this package holds no \.pth file"):
        weights.package_file("pytest")
