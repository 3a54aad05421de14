"""Inputs of heads: features of a frozen backbone, of images or of views of them."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from visionsweep.config.schema import Config
from visionsweep.config.targets import is_augmented_anew
from visionsweep.data.images import ImageFile
from visionsweep.data.transforms import Preprocessing, build_augmentation
from visionsweep.data.views import mean_of_views
from visionsweep.errors import UserError
from visionsweep.features.cached import cache_dir, cached_features, cached_views
from visionsweep.models.lazy_model import LazyModel
from visionsweep.training.batches import Batches, TensorBatches

log = logging.getLogger(__name__)

SHARE_FOR_FEATURES = 0.5  # of the free memory of a GPU
_EVALUATION_BATCH_SIZE = 1024  # features; heads need little memory


def trains_on_features(config: Config) -> bool:
    """Return whether an image has the same features in every epoch, or the same views have."""
    return config.training.freeze_backbone and not is_augmented_anew(config.augmentation)


def features_device(
    config: Config, network: LazyModel, device: torch.device, images: int
) -> torch.device:
    """Return the device of the features: the CPU if they do not fit into a GPU's memory.

    Args:
        config: configuration of the run.
        network: network of the run.
        device: device of the backbone.
        images: number of images, or of their views.
    """
    if device.type != "cuda" or not trains_on_features(config):
        return device
    needed, (free, _) = 4 * images * network.summary.width, torch.cuda.mem_get_info(device)
    if needed <= SHARE_FOR_FEATURES * free:
        return device
    log.warning(
        "The features need %.1f GB and %s has %.1f GB free: heads train on the CPU",
        needed / 1e9, device, free / 1e9,
    )  # fmt: skip
    return torch.device("cpu")


def _check_width(features: torch.Tensor, network: LazyModel, config: Config) -> None:
    """Refuse cached features of another width than the cached summary of the network.

    Raises:
        UserError: if the widths differ.
    """
    width, expected = features.shape[1], network.summary.width
    if width != expected:
        raise UserError(
            f"the cached features of {network.spec.name} have width {width:,}, but the network's "
            f"summary in networks/ has {expected:,}",
            where=cache_dir(config.features),
            hint="Another program has written there. Delete networks/ and features/ in this "
            "folder; both are computed again.",
        )


def batches_of_features(
    splits: Mapping[str, Sequence[ImageFile]],
    config: Config,
    network: LazyModel,
    preprocessing: Preprocessing,
    device: torch.device,
    shuffle_generators: Sequence[torch.Generator] = (),
    samples: torch.Tensor | None = None,
    weights: torch.Tensor | None = None,
) -> dict[str, Batches]:
    """Return batches of features, as `inputs_of`: of views to train on, of their mean to score."""
    files = [image for images in splits.values() for image in images]
    labels = torch.tensor([image.label for image in files])
    augmentation = build_augmentation(config.augmentation)
    stepped = "train" if config.training.linear_probe != "only" else None
    parts: dict[str, tuple[slice, int]] = {}  # images of each split, and how many views of them
    stop = 0
    for split, images in splits.items():
        part = slice(stop, stop := stop + len(images))
        if split == stepped and samples is not None and int(samples.max()) >= stop:
            part = slice(0, stop + len(splits["val"]))
        in_steps = split == stepped
        parts[split] = part, _training_views(config) if in_steps else config.augmentation.test_views
    if config.augmentation.views:
        _log_cost(len(files), parts, _training_views(config))
    features = cached_features(files, network, preprocessing, device, config.features)
    _check_width(features, network, config)
    tables: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    for split, (part, count) in parts.items():
        views = cached_views(
            features[part], files[part], count, augmentation, network, preprocessing, device,
            config.features,
        )  # fmt: skip
        inputs = views.squeeze(1) if split == stepped else mean_of_views(views)
        tables[split] = inputs, labels[part]
    size = sum(math.prod(inputs.shape[:-1]) for inputs, _ in tables.values())
    target = features_device(config, network, device, size)
    batches: dict[str, Batches] = {}
    for split, (inputs, classes) in tables.items():
        rows = inputs.to(target), classes.to(target)
        batches[split] = (
            TensorBatches(*rows, config.batch_size, shuffle_generators, weights, samples)
            if split == stepped
            else TensorBatches(*rows, _EVALUATION_BATCH_SIZE)
        )
    return batches


def _log_cost(images: int, parts: Mapping[str, tuple[slice, int]], training_views: int) -> None:
    """Log how many images go through the backbone, unless their features are stored."""
    further = sum(
        (part.stop - part.start) * (max(count, training_views if split == "train" else 1) - 1)
        for split, (part, count) in parts.items()
    )
    log.info(
        "Views: %d images go through the backbone once, %.1f times as many as without views; "
        "stored ones do not again",
        images + further,
        1 + further / images,
    )


def probe_features(
    images: Sequence[ImageFile],
    config: Config,
    network: LazyModel,
    preprocessing: Preprocessing,
    device: torch.device,
) -> torch.Tensor | None:
    """Return the features that the linear probe is solved on, if training starts with one.

    Returns:
        `float32[N, V, width]`, those of V views of each image; of the image alone if the backbone
        is trained or images are augmented anew in each epoch.

    Args:
        images: training images.
        config: configuration of the run.
        network: network of the run, whose features are those before training.
        preprocessing: transform from an image to the network's input.
        device: device of the backbone.
    """
    if config.training.linear_probe == "none":
        return None
    frozen = replace(network, frozen=True)
    features = cached_features(images, frozen, preprocessing, device, config.features)
    return cached_views(
        features, images, _training_views(config), build_augmentation(config.augmentation),
        frozen, preprocessing, device, config.features,
    )  # fmt: skip


def _training_views(config: Config) -> int:
    """Return the number of views of a training image that have stored features."""
    return max(config.augmentation.views, 1)
