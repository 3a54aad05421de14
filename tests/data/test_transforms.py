"""What a model sees: the size, the statistics, and nothing random but in training images."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from visionsweep.config.schema import AugmentationConfig, Config
from visionsweep.data.dataset import ImageDataset
from visionsweep.data.images import ImageFile, digest_of
from visionsweep.data.transforms import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Augmentation,
    Preprocessing,
    build_augmentation,
    resized,
)
from visionsweep.models import backbone_spec
from visionsweep.models.backbone_spec import torchvision_preprocessing
from visionsweep.models.lazy_model import LazyModel
from visionsweep.training.inputs import inputs_of

GREY = Image.new("RGB", (60, 40), (128, 64, 255))


def noise(width: int, height: int) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(values)


@pytest.mark.parametrize("shape", [(60, 40), (40, 60), (8, 8), (300, 20)])
@pytest.mark.parametrize("size", [32, 224])
def test_every_image_becomes_a_square_of_the_configured_size(
    shape: tuple[int, int], size: int
) -> None:
    seen = resized(size).build()(noise(*shape))
    assert seen.shape == (3, size, size) and seen.dtype == torch.float32
    assert resized(size).size == size


def test_resize_cuts_nothing_off() -> None:
    halves = Image.new("RGB", (200, 50), "black")
    halves.paste((255, 255, 255), (0, 0, 10, 50))  # the left twentieth
    seen = resized(40).build()(halves)
    assert (seen[:, :, 0] > 2).all() and (seen[:, :, -1] < -1).all()


def test_values_are_normalized_with_imagenets_statistics() -> None:
    assert IMAGENET_MEAN == (0.485, 0.456, 0.406) and IMAGENET_STD == (0.229, 0.224, 0.225)
    seen = resized(32).build()(GREY)
    expected = (torch.tensor([128, 64, 255]) / 255 - torch.tensor(IMAGENET_MEAN)) / torch.tensor(
        IMAGENET_STD
    )
    assert torch.allclose(seen, expected[:, None, None].expand(3, 32, 32), atol=1e-5)


def test_without_augmentation_nothing_is_random() -> None:
    transform, picture = resized(32).build(), noise(60, 40)
    assert torch.equal(transform(picture), transform(picture))
    assert torch.equal(resized(32).build(None)(picture), transform(picture))


def test_trivial_augment_is_random_and_seeded() -> None:
    transform, picture = (
        resized(32).build(build_augmentation(AugmentationConfig("trivial_augment"))),
        noise(60, 40),
    )

    def ten(seed: int) -> list[torch.Tensor]:
        torch.manual_seed(seed)
        return [transform(picture) for _ in range(10)]

    first, again, other = ten(1), ten(1), ten(2)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    assert len({tensor.numpy().tobytes() for tensor in first}) > 3
    assert all(tensor.shape == (3, 32, 32) for tensor in first)


def test_random_crop_is_cut_from_the_whole_image_in_all_its_pixels() -> None:
    stripes = np.zeros((320, 640, 3), np.uint8)
    stripes[:, ::2] = 255  # gray after resizing, black and white in a small enough crop
    stripes[:, :160, 1:], stripes[:, -160:, :2] = 0, 0  # red and blue, outside the center crop
    preset = Preprocessing((64,), 64, "bilinear", IMAGENET_MEAN, IMAGENET_STD)
    picture, crop = Image.fromarray(stripes), Augmentation(None, crop_scale=0.005)
    torch.manual_seed(0)
    crops = [preset.pixels(picture, crop).float() for _ in range(40)]
    assert all(pixels.shape == (3, 64, 64) for pixels in crops)
    assert any(pixels[2].max() < 9 < pixels[0].max() for pixels in crops)
    assert max(float(pixels.std(-1).max()) for pixels in crops) > 60
    assert preset.pixels(picture).float().std(-1).max() < 20


def test_only_training_images_are_augmented(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise(40, 40).save(tmp_path / "picture.png")
    path = tmp_path / "picture.png"
    image = ImageFile(path, 0, digest_of(path.read_bytes()))
    splits = dict.fromkeys(("train", "val", "test"), (image,) * 8)
    config = Config(batch_size=8)
    config.augmentation.name = "trivial_augment"
    config.training.freeze_backbone = False
    config.model.name, config.model.weights = "mobilenet_v3_small", None
    spec = backbone_spec.resolve_backbone(config.model, random_if_unavailable=True)
    network = LazyModel(spec, 32, classes=2, frozen=False, summary_dir=tmp_path / "cards")
    orders = [torch.Generator().manual_seed(0)]
    batches = inputs_of(splits, config, network, resized(32), torch.device("cpu"), orders)
    plain = resized(32).build()(noise(40, 40))
    for split, augmented in (("train", True), ("val", False), ("test", False)):
        pixels, _ = next(iter(batches[split]))
        assert all(torch.equal(each, plain) for each in pixels) is not augmented, split


@pytest.mark.parametrize("name", ["efficientnet_b0", "efficientnet_b2", "resnet18", "vit_b_16"])
def test_pretrained_preset_is_the_transform_of_the_weights(name: str) -> None:
    weights = torchvision.models.get_model_weights(name).DEFAULT
    preset = torchvision_preprocessing(weights.transforms())
    for picture in (noise(500, 400), noise(300, 512)):
        theirs, ours = weights.transforms()(picture), preset.build()(picture)
        assert ours.shape == (3, preset.size, preset.size) == theirs.shape
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_crop_is_centered() -> None:
    picture = Image.new("RGB", (64, 32), "black")
    picture.paste((255, 255, 255), (16, 0, 48, 32))
    squares = Preprocessing((32,), 32, "bilinear", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    assert squares.size == 32
    assert (squares.build()(picture) == 1).all()
    assert (replace(squares, crop=None, resize=(32, 64)).build()(picture)[:, :, :10] == 0).all()


def test_data_set_returns_the_transformed_image_and_its_label(tmp_path) -> None:
    GREY.save(tmp_path / "a.png")
    files = [ImageFile(tmp_path / "a.png", 1, digest_of((tmp_path / "a.png").read_bytes()))]
    pixels, label = ImageDataset(files, resized(32).build())[0]
    assert label == 1
    assert torch.equal(pixels, resized(32).build()(GREY))
