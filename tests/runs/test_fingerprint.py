"""Two runs are the same experiment if all that decides their numbers is the same."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from visionsweep.config.derived import neutral_keys, result_settings, settings
from visionsweep.data.images import ImageFile
from visionsweep.data.splits import Splits
from visionsweep.models.backbone_spec import BackboneSpec
from visionsweep.runs import fingerprint

SPEC = BackboneSpec("resnet18", "torchvision", "random", "abc", None, None)


def images(*digests: str) -> tuple[ImageFile, ...]:
    return tuple(ImageFile(Path(f"/{d}.png"), k % 2, d) for k, d in enumerate(digests))


SPLITS = Splits("mine", ("cat", "dog"), images("a", "b", "c"), images("d", "e"), images("f", "g"))


@pytest.fixture
def config(make_config):
    return make_config()


def test_runtime_settings_do_not_change_the_fingerprint(config):
    same = fingerprint.of(config, SPLITS, SPEC)
    moved = replace(
        config, outputs_dir="/elsewhere", sweep_dir="/x", device="cuda:3", num_workers=7,
        histograms=True, force=True, reuse=True, fail_fast=True, checkpoint_seconds=0.0,
        plan=True, max_runs=9, max_seconds=1.0,
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
        {"augmentation.crop_scale": 0.5},
        {"training.freeze_backbone": False},
        {"model.dropout": 0.5},
        {"data.fraction": 0.5},
        {"training.class_weights": "balanced"},
        {"training.sampling": "balanced"},
        {"training.focal_gamma": 2.0},
        {"training.linear_probe": "first"},
        {"training.schedule": "cosine"},
        {"training.warmup": 0.1},
        {"training.clip_norm": 1.0},
        {"training.label_smoothing": 0.1},
        {"training.ema": 0.9},
        {"training.freeze_batchnorm": True},
        {"training.layer_decay": 0.8},
        {"training.gradual_unfreezing": 0.5},
        {"training.mixup": 0.2},
        {"training.cutmix": 1.0},
        {"training.patience": 3},
        {"training.compile": True},
        {"features.precision": "bf16"},
    ],
    ids=str,
)
def test_result_settings_change_the_fingerprint_and_are_named(config, change):
    changed = config
    for key, value in change.items():
        *group, name = key.split(".")
        part = {name: value}
        changed = replace(
            config, **({group[0]: replace(getattr(config, group[0]), **part)} if group else part)
        )
        assert key not in neutral_keys()
        changes = fingerprint.changed_settings(asdict(config), changed)
        assert [line.partition(":")[0] for line in changes] == [key]
        assert f"{value} now" in changes[0]
    assert fingerprint.of(changed, SPLITS, SPEC) != fingerprint.of(config, SPLITS, SPEC)


@pytest.mark.parametrize(
    "change",
    [
        {"optimizer._target_": "torch.optim.NAdam"},
        {"optimizer.arguments": {"betas": [0.8, 0.9]}},
        {"augmentation._target_": "torchvision.transforms.v2.ColorJitter"},
    ],
    ids=str,
)
def test_another_class_or_argument_changes_the_fingerprint(config, change):
    ((key, value),) = change.items()
    group, _, name = key.partition(".")
    changed = replace(config, **{group: replace(getattr(config, group), **{name: value})})
    assert fingerprint.of(changed, SPLITS, SPEC) != fingerprint.of(config, SPLITS, SPEC)


def test_views_change_the_fingerprint_unless_all_would_be_equal(config):
    def prints(augmentation: str) -> list[str]:
        counts = ({}, {"views": 6}, {"views": 6, "test_views": 6})
        settings = [replace(config.augmentation, name=augmentation, **c) for c in counts]
        return [fingerprint.of(replace(config, augmentation=s), SPLITS, SPEC) for s in settings]

    assert len(set(prints("trivial_augment"))) == 3
    assert set(prints("none")) == {fingerprint.of(config, SPLITS, SPEC)}


def test_implied_target_keeps_the_fingerprint_of_records_without_targets(config):
    named = replace(config, optimizer=replace(config.optimizer, _target_="torch.optim.Adam"))
    assert fingerprint.of(named, SPLITS, SPEC) == fingerprint.of(config, SPLITS, SPEC)


def test_images_their_order_classes_and_weights_change_the_fingerprint(config):
    same = fingerprint.of(config, SPLITS, SPEC)
    others = [
        (replace(SPLITS, val=images("d", "x")), SPEC),
        (replace(SPLITS, train=images("c", "b", "a")), SPEC),
        (replace(SPLITS, classes=("cat", "wolf")), SPEC),
        (replace(SPLITS, val=tuple(replace(image, group="p") for image in SPLITS.val)), SPEC),
        (SPLITS, replace(SPEC, fingerprint="def")),
    ]
    fingerprints = [fingerprint.of(config, splits, spec) for splits, spec in others]
    assert len({same, *fingerprints}) == 6


def test_every_setting_determines_the_result_unless_it_is_declared_otherwise(config):
    """The role of a new setting is `result` by default."""
    deciding = set(result_settings(asdict(config)))
    left_out = set(settings()) - deciding - neutral_keys()
    assert left_out == {
        "data.columns", "data.file", "data.gray_range", "data.label", "data.name",
        "data.near_duplicates", "data.root",
        "data.splits",
        "model.label", "optimizer.fine_tuning_lr", "training.name", "training.replicates",
        # with the values that older records imply
        "augmentation._target_", "augmentation.arguments", "augmentation.crop_scale",
        "augmentation.test_views", "augmentation.views", "data.group_from", "evidence.name",
        "features.precision", "model.library", "model.pooling", "training.precision",
        "optimizer._target_", "optimizer.arguments",
        "training.class_weights", "training.clip_norm", "training.ema", "training.focal_gamma",
        "training.compile", "training.cutmix", "training.gradual_unfreezing", "training.mixup",
        "training.patience",
        "training.freeze_batchnorm", "training.label_smoothing", "training.layer_decay",
        "training.linear_probe", "training.sampling", "training.schedule", "training.warmup",
    }  # fmt: skip
    assert not deciding & neutral_keys()


def test_images_and_weights_that_changed_since_a_record_are_named(make_record):
    earlier = make_record("a", 0.5)
    other = replace(SPEC, fingerprint="def")
    changes = "\n".join(fingerprint.changed_facts(earlier, SPLITS, other))
    assert "train images: 225 there" in changes and "3 now" in changes
    assert (
        "val images: 135 there" in changes and "weights: IMAGENET1K_V1 there, random now" in changes
    )
