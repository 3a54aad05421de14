"""Resolve a configuration into images, backbone, preprocessing and fingerprint."""

from dataclasses import dataclass, replace
from pathlib import Path

from visionsweep.config.schema import Config, DataConfig, FeaturesConfig
from visionsweep.data.split_loading import load_splits
from visionsweep.data.splits import Splits
from visionsweep.data.transforms import Preprocessing, resized
from visionsweep.errors import UserError
from visionsweep.features.cached import cache_dir, image_cache_file
from visionsweep.models.backbone_spec import BackboneSpec, resolve_backbone
from visionsweep.models.backbones import admit
from visionsweep.models.single_image import refuse_single_images
from visionsweep.models.timm_models import refuse_transform
from visionsweep.runs import fingerprint
from visionsweep.runs.near_duplicates import NearDuplicates
from visionsweep.training.cross_fit import folds_of
from visionsweep.training.near_duplicates import find_near_duplicates, warn_of_near_duplicates


@dataclass(frozen=True)
class Resolved:
    """What a configuration stands for on this machine.

    Attributes:
        splits: training, validation and test images.
        backbone: backbone and its weights.
        preprocessing: transform from an image to the backbone's input.
        fingerprint: hash of all that determines the numbers of a run.
        near_duplicates: those whose training images are excluded; None if none are.
    """

    splits: Splits
    backbone: BackboneSpec
    preprocessing: Preprocessing
    fingerprint: str
    near_duplicates: NearDuplicates | None = None


def resolve(config: Config) -> Resolved:
    """Read the images of a configuration, choose its backbone, and return both with their hash.

    Missing archives and weights are downloaded; neither is the backbone built nor a feature
    computed.

    Raises:
        UserError: if images or weights are missing or unusable, the backbone has no transform, or
            the network cannot be trained on batches of one image.
    """
    refuse_single_images(config)
    splits = resolve_splits(config.data, config.features)
    folds_of(config, splits)  # refuses a class that is in one fold alone
    cache = cache_dir(config.features)
    backbone = resolve_backbone(
        config.model, random_if_unavailable=splits.is_synthetic, cache=cache
    )
    admit(backbone, cache)
    if config.transform.name == "resize":
        preprocessing = resized(config.transform.size)
        if config.model.source in ("timm", "local") and (own := backbone.preprocessing) is not None:
            preprocessing = replace(
                preprocessing, interpolation=own.interpolation, mean=own.mean, std=own.std
            )
    elif backbone.preprocessing is not None:
        if config.model.source == "timm":
            refuse_transform(config.model.name)
        preprocessing = backbone.preprocessing
    else:
        raise UserError(
            "random weights have no transform of their own",
            where="transform=pretrained",
            hint="Use transform=resize.",
        )
    preprocessing = replace(preprocessing, gray_range=splits.gray_range)
    near_duplicates = None
    if config.data.near_duplicates == "exclude":
        near_duplicates = find_near_duplicates(config, splits, backbone, preprocessing)
        splits = splits.without(set(near_duplicates.excluded))
        folds_of(config, splits)
    hashed = fingerprint.of(config, splits, backbone)
    return Resolved(splits, backbone, preprocessing, hashed, near_duplicates)


def check_near_duplicates(
    config: Config, resolved: Resolved, run_dir: Path
) -> NearDuplicates | None:
    """Return the near duplicates of a run whose inputs are prepared, with a warning if any are.

    Args:
        config: configuration of the run.
        resolved: its images and backbone.
        run_dir: its directory.

    Returns:
        None if `data.near_duplicates` allows them.
    """
    if config.data.near_duplicates == "allow":
        return None
    found = resolved.near_duplicates or find_near_duplicates(
        config, resolved.splits, resolved.backbone, resolved.preprocessing
    )
    warn_of_near_duplicates(found, config, resolved.splits.dataset, run_dir)
    return found


def resolve_splits(data: DataConfig, features: FeaturesConfig) -> Splits:
    """Return the images of a data set; those read before are recognized by the cache.

    Raises:
        UserError: if images are missing or unusable.
    """
    return load_splits(data, image_cache_file(features, data.root))
