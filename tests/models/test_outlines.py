"""Outlines: what is said of a network without weights or values is true of the built one."""

import time

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from visionsweep.errors import UserError
from visionsweep.models import classifier
from visionsweep.models.backbone_spec import BackboneSpec
from visionsweep.models.backbones import build, outline
from visionsweep.models.summary import count_parameters, forward_pass


def spec_of(name: str, source: str = "torchvision", pooling: str = "default") -> BackboneSpec:
    if source == "timm":
        pytest.importorskip("timm")
    return BackboneSpec(name, source, "random", "", None, None, pooling=pooling)


# Billions per image: torchvision's and timm's tables (timm's leaves out attention's two products).
PUBLISHED = [
    ("resnet18", "torchvision", 1.81),
    ("resnet50", "torchvision", 4.09),
    ("efficientnet_b0", "torchvision", 0.39),
    ("mobilenet_v3_small", "torchvision", 0.06),
    ("vit_b_16", "torchvision", 17.56),
    ("vit_small_patch16_224", "timm", 4.6),
]


@pytest.mark.parametrize(("name", "source", "billions"), PUBLISHED)
def test_multiply_adds_are_the_published_ones(name, source, billions):
    _, passed = outline(spec_of(name, source), 224)
    assert passed.multiply_adds / 1e9 == pytest.approx(billions, abs=0.006)


SMALL = [
    ("densenet121", "torchvision", "default"),
    ("mobilenet_v3_small", "torchvision", "default"),
    ("regnet_y_400mf", "torchvision", "default"),  # reads values while it is built
    ("squeezenet1_1", "torchvision", "default"),
    ("swin_t", "torchvision", "default"),
    ("vit_tiny_patch16_224", "timm", "cls+avg"),
    ("cait_xxs24_224", "timm", "default"),  # passes a parameter to a module
]


@pytest.mark.parametrize(("name", "source", "pooling"), SMALL)
def test_outline_is_that_of_the_built_network(name, source, pooling):
    spec, size = spec_of(name, source, pooling), 64
    random_state = torch.get_rng_state()
    drawn, passed = outline(spec, size)
    assert torch.equal(torch.get_rng_state(), random_state)
    built = build(spec, size)
    with sdpa_kernel(SDPBackend.MATH):  # torch does not count the CPU's fused kernel
        real = forward_pass(built.module, torch.zeros(1, 3, size, size))
    assert all(parameter.is_meta for parameter in drawn.module.parameters())
    assert (drawn.width, drawn.dropout) == (built.width, built.dropout)
    assert count_parameters(drawn.module) == count_parameters(built.module)
    shapes = {name: passed.shapes.get(part) for name, part in drawn.module.named_modules()}
    assert shapes == {name: real.shapes.get(part) for name, part in built.module.named_modules()}
    assert passed.multiply_adds == real.multiply_adds > 0
    head = classifier.build(drawn, 3, dropout=None, frozen=True).head
    assert not head.weight.is_meta


def test_outline_refuses_sizes_that_the_network_refuses():
    with pytest.raises(UserError, match="33x33") as refused:
        outline(spec_of("vit_b_16"), 33)
    assert refused.value.where == "model.name=vit_b_16"


def test_outline_draws_no_values():
    """A network of 86 million parameters, whose initial values take most of a second to draw."""
    start = time.process_time()
    outline(spec_of("vit_b_16"), 224)
    drawn = time.process_time() - start
    start = time.process_time()
    build(spec_of("vit_b_16"), 224)
    assert drawn < (time.process_time() - start) / 2
