"""BatchNorm is fused where that changes nothing, and nowhere else."""

import logging

import pytest
import torch
from torch import nn

from visionsweep.config.schema import ModelConfig
from visionsweep.data.transforms import resized
from visionsweep.models import backbone_spec, backbones
from visionsweep.models.batchnorm_calibration import calibration_images
from visionsweep.models.fusion import TOLERANCE, ClampedConv2d, fuse_conv_bn, fuse_for_cpu


def norms(network: nn.Module) -> int:
    return sum(isinstance(m, nn.BatchNorm2d) for m in network.modules())


def lively(network: nn.Module) -> nn.Module:
    """Give BatchNorm statistics and weights that a wrong fusion would change."""
    generator = torch.Generator().manual_seed(1)
    for m in network.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.running_mean.copy_(torch.randn(m.num_features, generator=generator))
            m.running_var.copy_(torch.rand(m.num_features, generator=generator) + 0.5)
            nn.init.normal_(m.weight, 1, 0.3, generator=generator)
            nn.init.normal_(m.bias, 0, 0.3, generator=generator)
    return network.eval()


@pytest.fixture
def example() -> torch.Tensor:
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def relative_difference(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max() / other.abs().max())


@pytest.mark.parametrize(
    ("name", "left"),
    [("resnet18", 0), ("mobilenet_v3_small", 0), ("efficientnet_b0", 0), ("densenet121", 62)],
)
@torch.no_grad()
def test_fusion_removes_each_batchnorm_after_a_convolution_and_keeps_the_features(name, left):
    """In densenet121 a BatchNorm precedes most convolutions: there it stays."""
    config = ModelConfig(label=name, name=name, weights=None)
    network = backbones.build(
        backbone_spec.resolve_backbone(config, random_if_unavailable=False), 32
    ).module
    before = norms(network)
    images = resized(32).normalize(calibration_images(12, 32))
    fused = fuse_conv_bn(network, images[:2])
    assert norms(fused) == left < before
    assert norms(network) == before
    assert relative_difference(fused(images[2:]), network(images[2:])) <= TOLERANCE


class BeforeConvolution(nn.Module):
    """BatchNorm, activation, convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.pool = nn.MaxPool2d(2)
        self.norm = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 5, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.second(self.norm(self.pool(self.first(images))).relu())


class UsedTwice(nn.Module):
    """The convolution's output goes into BatchNorm, and past it."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        seen = self.convolution(images)
        return self.norm(seen) + seen


class SharedNorm(nn.Module):
    """One BatchNorm behind two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.norm = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.norm(self.two(self.norm(self.one(images))))


@pytest.mark.parametrize("kind", [BeforeConvolution, SharedNorm])
@torch.no_grad()
def test_a_batchnorm_that_does_not_belong_to_one_convolution_stays(example, kind):
    torch.manual_seed(0)
    network = lively(kind())
    fused = fuse_conv_bn(network, example)
    assert norms(fused) == 1
    assert torch.equal(fused(example), network(example))


@pytest.mark.parametrize("in_place", [False, True])
@torch.no_grad()
def test_fusion_is_refused_where_the_outputs_would_differ(example, caplog, in_place):
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
    # An activation in place hands on the convolution's own tensor, so that the two seem neighbours.
    network = nn.Sequential(conv, nn.ReLU(inplace=True), norm) if in_place else UsedTwice()
    lively(network)
    with caplog.at_level(logging.WARNING):
        fused = fuse_conv_bn(network, example)
    assert "Conv-BN is not fused" in caplog.text
    assert norms(fused) == 1
    assert torch.equal(fused(example), network(example))


@torch.no_grad()
def test_the_activation_inside_timms_batchnorm_is_kept(example):
    timm_layers = pytest.importorskip("timm.layers")
    torch.manual_seed(0)
    network = lively(nn.Sequential(nn.Conv2d(3, 4, 3), timm_layers.BatchNormAct2d(4)))
    fused = fuse_conv_bn(network, example)
    assert norms(fused) == 0
    assert fused(example).min() == 0
    assert relative_difference(fused(example), network(example)) <= TOLERANCE


def kinds(network: nn.Module) -> list[str]:
    return [type(m).__name__ for m in network.modules()]


@pytest.mark.parametrize("size", [32, 33])
@pytest.mark.parametrize("kernel", [3, 5])
@torch.inference_mode()
def test_padding_and_relu6_are_fused_bitwise_identically(size, kernel):
    timm_layers = pytest.importorskip("timm.layers")
    torch.manual_seed(0)
    network = nn.Sequential(
        timm_layers.Conv2dSame(3, 16, kernel, stride=2), nn.ReLU6(),
        timm_layers.Conv2dSame(16, 16, kernel, stride=2, groups=16, bias=False),
        nn.ReLU6(inplace=True), nn.Conv2d(16, 24, 1), nn.BatchNorm2d(24),
    ).eval().to(memory_format=torch.channels_last)  # fmt: skip
    network[0].weight.mul_(20)
    images = torch.randn(16, 3, size, size).contiguous(memory_format=torch.channels_last)
    fused = fuse_for_cpu(network, images[:2])
    assert "Conv2dSame" in kinds(network) and "Conv2dSame" not in kinds(fused)
    assert kinds(fused).count("ClampedConv2d") == 2 and "ReLU6" not in kinds(fused)
    assert (network[:2](images) == 6).any()
    for count in (1, 16):
        assert torch.equal(fused(images[:count]), network(images[:count]))


@torch.inference_mode()
def test_dilated_convolution_keeps_its_uneven_padding():
    timm_layers = pytest.importorskip("timm.layers")
    torch.manual_seed(0)
    network = nn.Sequential(timm_layers.Conv2dSame(3, 4, 3, stride=2, dilation=2)).eval()
    for size in (16, 17):
        images = torch.randn(2, 3, size, size)
        assert torch.equal(fuse_for_cpu(network, images)(images), network(images))


class ClampUsedElsewhere(nn.Module):
    """The convolution's output is also used before it is clamped."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.clamp = nn.Conv2d(3, 4, 3), nn.ReLU6()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        seen = self.convolution(images)
        return self.clamp(seen) + seen


class SharedClamp(nn.Module):
    """One ReLU6 after two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.clamp = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.ReLU6()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.clamp(self.two(self.clamp(self.one(images))))


@pytest.mark.parametrize("kind", [ClampUsedElsewhere, SharedClamp, nn.Identity])
@torch.inference_mode()
def test_network_without_a_clamp_of_one_convolution_is_returned_as_it_is(example, kind):
    torch.manual_seed(0)
    network = kind().eval()
    assert fuse_for_cpu(network, example) is network


@torch.inference_mode()
def test_mobilenet_has_all_its_relu6_in_convolutions():
    network = backbones.build(
        backbone_spec.resolve_backbone(
            ModelConfig(label="m", name="mobilenet_v2", weights=None), random_if_unavailable=False
        ),
        128,
    ).module.to(memory_format=torch.channels_last)
    example = torch.randn(16, 3, 128, 128).contiguous(memory_format=torch.channels_last)
    unfused = fuse_conv_bn(network, example).to(memory_format=torch.channels_last)
    fused = fuse_for_cpu(unfused, example[:3])
    assert sum(isinstance(m, ClampedConv2d) for m in fused.modules()) == 36 - 1
    assert "ReLU6" not in kinds(fused)
    assert torch.equal(fused(example), unfused(example))
