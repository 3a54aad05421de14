"""Weights files of one's own: the same features wherever they lie; refused by names of tensors."""

import io
from pathlib import Path

import pytest
import safetensors.torch
import torch
import torchvision
from torch import nn

from visionsweep.config.own_weights import METADATA
from visionsweep.config.schema import ModelConfig
from visionsweep.data.transforms import resized
from visionsweep.errors import UserError
from visionsweep.models import backbones, weights_files
from visionsweep.models.backbone_spec import BackboneSpec, resolve_backbone
from visionsweep.models.last_layer import remove_last_layer

SIZE = 64
FAMILIES = [  # with the size of their images
    ("densenet121", 32), ("googlenet", 64), ("mnasnet0_5", 32), ("mobilenet_v3_small", 32),
    ("resnet18", 32), ("shufflenet_v2_x0_5", 32), ("squeezenet1_1", 32), ("swin_t", 32),
    ("vit_b_32", 224),
]  # fmt: skip


def config_of(path: Path, name: str, library: str = "torchvision", **changes) -> ModelConfig:
    given = {"label": "mine", "name": name, "source": "local", "weights": str(path)}
    return ModelConfig(**given | {"library": library} | changes)


def spec_of(cache: Path, path: Path, name: str, *arguments, **changes) -> BackboneSpec:
    config = config_of(path, name, *arguments, **changes)
    spec = resolve_backbone(config, random_if_unavailable=False, cache=cache)
    backbones.admit(spec, cache)
    return spec


def network(name: str, classes: int = 5) -> nn.Module:
    torch.manual_seed(len(name))
    options = {"aux_logits": True, "init_weights": True} if name == "googlenet" else {}
    return torchvision.models.get_model(name, num_classes=classes, **options).eval()


def saved(path: Path, state: dict[str, torch.Tensor], **metadata: str) -> Path:
    state = {key: tensor.contiguous().clone() for key, tensor in state.items()}
    safetensors.torch.save_file(state, path, metadata or None)
    return path


@pytest.mark.parametrize(("name", "size"), FAMILIES)
def test_features_are_those_of_the_network_in_the_file(name, size, tmp_path):
    whole = network(name)
    path = saved(tmp_path / "mine.safetensors", whole.state_dict())
    spec = spec_of(tmp_path / "cache", path, name)
    images = torch.randn(2, 3, size, size)
    if name == "googlenet":
        whole.aux1 = whole.aux2 = None
        whole.aux_logits, whole.transform_input = False, True  # as with torchvision's weights
    expected = remove_last_layer(whole, name)[0]
    backbone = backbones.build(spec, size)
    with torch.inference_mode():
        assert torch.equal(backbone.module(images).flatten(1), expected(images).flatten(1))
    assert spec.weights.startswith("local@") and backbone.spec.source == "torchvision"


@pytest.mark.parametrize(
    ("name", "size"),
    [("vit_tiny_patch16_224.augreg_in21k", 224), ("vit_tiny_patch16_224", 96), ("resnet18", 32),
     ("vit_small_patch14_reg4_dinov2.lvd142m", 56), ("convnextv2_atto", 32)],
)  # fmt: skip
def test_models_of_timm_have_their_features_with_any_head(name, size, tmp_path):
    timm = pytest.importorskip("timm")
    torch.manual_seed(1)
    options = {"img_size": size} if "vit" in name else {}
    whole = timm.create_model(name, num_classes=7, **options).eval()
    path = saved(tmp_path / "mine.safetensors", whole.state_dict())
    backbone = backbones.build(spec_of(tmp_path, path, name, "timm"), size)
    images = torch.randn(2, 3, size, size)
    with torch.inference_mode():
        expected = whole.forward_head(whole.forward_features(images), pre_logits=True)
        assert torch.equal(backbone.module(images), expected)


WRAPPED = {
    "state dict": lambda state: state,
    "checkpoint": lambda state: {"epoch": 3, "state_dict": state, "optimizer": {"state": {}}},
    "parallel": lambda state: {"model": {f"module.{key}": t for key, t in state.items()}},
    "averaged": lambda state: {
        "state_dict": {key: torch.zeros_like(t) for key, t in state.items()},
        "state_dict_ema": {f"_orig_mod.module.{key}": t for key, t in state.items()},
    },
    "lightning": lambda state: {"state_dict": {f"model.{key}": t for key, t in state.items()}},
}


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
def test_checkpoints_of_training_programs_are_read_once(wrap, tmp_path, monkeypatch):
    state, cache = network("squeezenet1_1").state_dict(), tmp_path / "cache"
    path = tmp_path / "mine.pth"
    torch.save(wrap(state), path)
    first = spec_of(cache, path, "squeezenet1_1")

    def refuse(*_arguments, **_options):
        raise AssertionError("unpickled again")

    monkeypatch.setattr(weights_files.torch, "load", refuse)
    spec = spec_of(cache, path, "squeezenet1_1")
    assert (spec.fingerprint, spec.weights) == (first.fingerprint, first.weights)
    assert spec.file.path.suffix == ".safetensors" and spec.file.path.parent.parent == cache
    built = backbones.build(spec, 32).module.state_dict()
    assert all(torch.equal(tensor, state[key]) for key, tensor in built.items())


def test_content_identifies_weights_and_their_path_does_not(tmp_path):
    state = network("squeezenet1_1").state_dict()
    here = spec_of(tmp_path, saved(tmp_path / "a.safetensors", state), "squeezenet1_1")
    there = spec_of(tmp_path, saved(tmp_path / "b.safetensors", state), "squeezenet1_1")
    assert (here.fingerprint, here.weights) == (there.fingerprint, there.weights)
    state["features.0.bias"][0] += 1
    other = spec_of(tmp_path, saved(tmp_path / "a.safetensors", state), "squeezenet1_1")
    assert other.fingerprint != here.fingerprint and other.weights != here.weights
    (tmp_path / "b.safetensors").unlink()  # its copy in the cache has the same content
    kept = tmp_path / "weights" / f"{here.weights.rpartition('@')[2]}.safetensors"
    assert spec_of(tmp_path, kept, "squeezenet1_1").fingerprint == here.fingerprint


def without(state, key):
    return {name: tensor for name, tensor in state.items() if name != key}


WRONG = {
    "missing": (lambda s: without(s, "layer1.0.conv1.weight"), "missing: layer1.0.conv1.weight"),
    "unexpected": (lambda s: s | {"extra.bias": torch.zeros(1)}, "unexpected: extra.bias"),
    "shape": (lambda s: s | {"conv1.weight": torch.zeros(64, 4, 7, 7)}, "conv1.weight [64, 4"),
}


@pytest.mark.parametrize("library", ["torchvision", "timm"])
@pytest.mark.parametrize(("change", "reason"), WRONG.values(), ids=WRONG)
def test_tensors_that_do_not_fit_are_named(change, reason, library, tmp_path):
    if library == "timm":
        pytest.importorskip("timm")
    path = saved(tmp_path / "mine.safetensors", change(network("resnet18").state_dict()))
    with pytest.raises(UserError) as refused:
        spec_of(tmp_path / "cache", path, "resnet18", library)
    error = refused.value
    assert reason in error.what and error.where == f"model.weights={path}"
    assert "model.name" in error.hint and "model.library" in error.hint
    assert not (tmp_path / "cache").exists()


def pickled(content: object) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("noise.safetensors", b"x" * 100, "not a readable safetensors file"),
        ("noise.pth", b"x" * 100, "not a readable weights file"),
        ("objects.pt", pickled({"model": {}, "args": Path("x")}), "no tensors: pathlib"),
        ("list.pt", pickled([1, 2]), "no weights but list"),
        ("numbers.pt", pickled({"a": 1.5}), "something else than tensors"),
    ],
)
def test_what_is_no_weights_file_is_refused_with_how_to_save_one(name, content, reason, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError) as refused:
        spec_of(tmp_path / "cache", path, "squeezenet1_1")
    assert refused.value.where == str(path) and reason in refused.value.what
    assert "Delete" not in (refused.value.hint or "")


def test_transform_is_that_of_the_run_or_of_the_library(tmp_path):
    state = network("resnet18").state_dict()
    plain = saved(tmp_path / "plain.safetensors", state)
    assert spec_of(tmp_path, plain, "resnet18").preprocessing.size == 224
    facts = '{"resize": [48, 48], "crop": null, "interpolation": "bicubic", "mean": [0.5, 0.5, 0.5], "std": [1, 1, 1]}'  # noqa: E501
    said = f'{{"name": "resnet18", "library": "torchvision", "pooling": "default", "preprocessing": {facts}}}'  # noqa: E501
    own = saved(tmp_path / "own.safetensors", state, **{METADATA: said})
    preprocessing = spec_of(tmp_path, own, "resnet18").preprocessing
    assert (preprocessing.size, preprocessing.interpolation) == (48, "bicubic")
    assert preprocessing.mean != resized(48).mean
    damaged = saved(tmp_path / "c.safetensors", state, **{METADATA: said.replace("48, 48", '"x"')})
    with pytest.raises(UserError, match="no transform"):
        spec_of(tmp_path, damaged, "resnet18")
