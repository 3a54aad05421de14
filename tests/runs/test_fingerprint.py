"""Two runs are the same experiment if all that decides their numbers is the same."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from visionsweep.config.schema import leaf_keys
from visionsweep.data.images import ImageFile
from visionsweep.data.splits import Splits
from visionsweep.models.backbone_spec import BackboneSpec
from visionsweep.runs import fingerprint
from visionsweep.runs.names import WHERE

SPEC = BackboneSpec("resnet18", "torchvision", "random", "abc", None, None)


def images(*digests: str) -> tuple[ImageFile, ...]:
    return tuple(ImageFile(Path(f"/{d}.png"), k % 2, d) for k, d in enumerate(digests))


SPLITS = Splits("mine", ("cat", "dog"), images("a", "b", "c"), images("d", "e"), images("f", "g"))


@pytest.fixture
def config(make_config):
    return make_config()


def test_where_and_how_a_run_is_made_does_not_count(config):
    same = fingerprint.of(config, SPLITS, SPEC)
    moved = replace(
        config, outputs_dir="/elsewhere", sweep_dir="/x", device="cuda:3", num_workers=7,
        histograms=True, force=True, reuse=True, fail_fast=True, checkpoint_seconds=0.0,
        data=replace(config.data, root="/pictures", label="other"),
        model=replace(config.model, label="other"),
    )  # fmt: skip
    assert fingerprint.of(moved, SPLITS, SPEC) == same
    elsewhere = replace(
        SPLITS, train=tuple(replace(image, path=Path("/y") / image.path) for image in SPLITS.train)
    )
    assert fingerprint.of(config, elsewhere, SPEC) == same


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 3},
        {"seed": 1},
        {"replicates": 2},
        {"batch_size": 16},
        {"optimizer.lr": 0.5},
        {"optimizer.name": "SGD"},
        {"transform.size": 64},
        {"augmentation.name": "trivial_augment"},
        {"training.freeze_backbone": False},
        {"model.dropout": 0.5},
        {"data.fraction": 0.5},
    ],
    ids=str,
)
def test_what_decides_numbers_counts_and_is_named(config, change):
    changed = config
    for key, value in change.items():
        *group, name = key.split(".")
        part = {name: value}
        changed = replace(
            config, **({group[0]: replace(getattr(config, group[0]), **part)} if group else part)
        )
        assert key not in WHERE
        said = fingerprint.changed_settings(asdict(config), changed)
        assert [line.partition(":")[0] for line in said] == [key]
        assert f"{value} now" in said[0]
    assert fingerprint.of(changed, SPLITS, SPEC) != fingerprint.of(config, SPLITS, SPEC)


def test_images_their_order_their_class_and_the_weights_count(config):
    same = fingerprint.of(config, SPLITS, SPEC)
    others = [
        (replace(SPLITS, val=images("d", "x")), SPEC),
        (replace(SPLITS, train=images("c", "b", "a")), SPEC),
        (replace(SPLITS, classes=("cat", "wolf")), SPEC),
        (SPLITS, replace(SPEC, fingerprint="def")),
    ]
    found = [fingerprint.of(config, splits, spec) for splits, spec in others]
    assert len({same, *found}) == 5


def test_every_key_is_either_where_or_decides_or_is_said_elsewhere(config):
    """A new key lands among those that decide unless somebody says otherwise."""
    deciding = set(fingerprint.settings(asdict(config)))
    left_out = set(leaf_keys()) - deciding - WHERE
    assert left_out == {
        "data.gray_range", "data.label", "data.name", "data.root", "data.splits", 
        "model.label", "optimizer.fine_tuning_lr", "training.name", "training.replicates",
    }  # fmt: skip
    assert not deciding & WHERE


def test_images_and_weights_that_changed_since_a_record_are_named(make_record):
    earlier = make_record("a", 0.5)
    other = replace(SPEC, fingerprint="def")
    said = "\n".join(fingerprint.changed_facts(earlier, SPLITS, other))
    assert "train images: 225 there" in said and "3 now" in said
    assert "val images: 135 there" in said and "weights: IMAGENET1K_V1 there, random now" in said
