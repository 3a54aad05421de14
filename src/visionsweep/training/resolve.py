"""Resolve a configuration into images, backbone, preprocessing and fingerprint."""

from dataclasses import dataclass, replace

from visionsweep.config.schema import Config, DataConfig, FeaturesConfig
from visionsweep.data.split_loading import load_splits
from visionsweep.data.splits import Splits
from visionsweep.data.transforms import Preprocessing, resized
from visionsweep.errors import UserError
from visionsweep.features.cached import cache_dir, image_cache_file
from visionsweep.models.backbone_spec import BackboneSpec, resolve_backbone
from visionsweep.models.backbones import admit
from visionsweep.models.single_image import refuse_single_images
from visionsweep.runs import fingerprint
from visionsweep.training.cross_fit import folds_of


@dataclass(frozen=True)
class Resolved:
    """What a configuration stands for on this machine.

    Attributes:
        splits: training, validation and test images.
        backbone: backbone and its weights.
        preprocessing: transform from an image to the backbone's input.
        fingerprint: hash of all that determines the numbers of a run.
    """

    splits: Splits
    backbone: BackboneSpec
    preprocessing: Preprocessing
    fingerprint: str


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
        preprocessing = backbone.preprocessing
    else:
        raise UserError(
            "random weights have no transform of their own",
            where="transform=pretrained",
            hint="Use transform=resize.",
        )
    return Resolved(
        splits,
        backbone,
        replace(preprocessing, gray_range=splits.gray_range),
        fingerprint.of(config, splits, backbone),
    )


def resolve_splits(data: DataConfig, features: FeaturesConfig) -> Splits:
    """Return the images of a data set; those read before are recognized by the cache.

    Raises:
        UserError: if images are missing or unusable.
    """
    return load_splits(data, image_cache_file(features, data.root))
