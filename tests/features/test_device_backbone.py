"""Tests of device agreement and of features that are not finite."""

import pytest
import torch
from torch import nn

from visionsweep.data.transforms import resized
from visionsweep.errors import UserError
from visionsweep.features.device_backbone import (
    BFLOAT16_TOLERANCE,
    DeviceBackbone,
    feature_dtype,
    relative_error,
)
from visionsweep.features.extraction import extract
from visionsweep.models.batchnorm_calibration import calibration_images
from visionsweep.models.lazy_model import LazyModel

CPU = torch.device("cpu")
SIZE = 64


class Bright(nn.Module):
    """A network whose activations exceed the range of float16 only for a white image."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 1, bias=False)
        nn.init.constant_(self.convolution.weight, 12000.0)  # white: 7.3 x 12,000 > 65,504

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.convolution(images.mean((2, 3), keepdim=True)).flatten(1) * 1e-3


def test_overflowing_row_is_recomputed_in_float32_and_other_rows_stay():
    pixels = torch.full((3, 3, SIZE, SIZE), 100, dtype=torch.uint8)
    pixels[1] = 255
    single = DeviceBackbone(Bright().eval(), resized(SIZE), CPU)(pixels)
    got = DeviceBackbone(Bright().eval(), resized(SIZE), CPU, dtype=torch.float16)(pixels)
    alone = DeviceBackbone(Bright().eval(), resized(SIZE), CPU, dtype=torch.float16)(pixels[:1])
    assert torch.isfinite(got).all()
    assert torch.equal(got[1], single[1])
    assert torch.equal(got[0], alone[0]) and torch.equal(got[0], got[2])
    assert not torch.equal(got[0], single[0])  # half precision was in use


def test_bfloat16_is_close_to_float32_and_independent_of_the_batch(make_network):
    if not any(map(torch.cpu.get_capabilities().get, ("amx_bf16", "avx512_bf16"))):
        pytest.skip("needs a CPU with bfloat16 instructions")
    network = make_network("mobilenet_v3_small").backbone.module
    pixels = calibration_images(4, SIZE)
    exact = DeviceBackbone(network, resized(SIZE), CPU)(pixels)
    backbone = DeviceBackbone(network, resized(SIZE), CPU, dtype=feature_dtype(CPU, "bf16"))
    got, other = backbone(pixels), backbone(pixels.flip(0))
    assert 0 < relative_error(got, exact) <= BFLOAT16_TOLERANCE
    assert torch.equal(got, other.flip(0))


def test_bfloat16_is_refused_on_a_cpu_without_it(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    with pytest.raises(UserError) as error:
        feature_dtype(CPU, "bf16")
    assert error.value.where == "features.precision=bf16"
    assert feature_dtype(CPU) == torch.float32
    assert feature_dtype(torch.device("cuda")) == torch.float16


class Wrong(nn.Module):
    """A network whose output changes with each call, as with a broken kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return images.mean((2, 3)) + self.calls


def test_device_with_other_features_than_the_cpu_is_refused(caplog):
    backbone = DeviceBackbone(Wrong().eval(), resized(SIZE), CPU, "resnet18", torch.float16)
    with pytest.raises(UserError) as error:
        backbone(torch.zeros(2, 3, SIZE, SIZE, dtype=torch.uint8))
    assert error.value.where == "resnet18" and "device=cpu" in str(error.value.hint)
    assert "float16" in caplog.text and "float32" in caplog.text


class Spoiled(nn.Module):
    """A backbone whose features are NaN for the brightest image."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = images.mean((2, 3))
        spoiled = features.sum(1) >= features.sum(1).max()
        return torch.where(spoiled.unsqueeze(1), torch.nan, features)


def test_error_about_non_finite_features_names_image_and_backbone(files):
    backbone = DeviceBackbone(Spoiled().eval(), resized(SIZE), CPU, "convnext_tiny")
    with pytest.raises(UserError) as error:
        list(extract(backbone, files))
    assert error.value.where == "convnext_tiny"
    assert sum(str(file.path) in error.value.what for file in files) == 1


def test_non_finite_features_are_not_stored(files, make_network, features, tmp_path, monkeypatch):
    monkeypatch.setattr(LazyModel, "backbone", _with_module(make_network().backbone, Spoiled()))
    with pytest.raises(UserError):
        features(files, make_network())
    assert not list((tmp_path / "cache").rglob("features/*/*.safetensors"))


def _with_module(backbone, module: nn.Module):
    from dataclasses import replace

    return replace(backbone, module=module.eval())
