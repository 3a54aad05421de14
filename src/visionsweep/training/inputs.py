"""Inputs of training and evaluation: features of a frozen backbone, or images."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from visionsweep.analysis.predictions import Predictions
from visionsweep.config.schema import Config
from visionsweep.config.targets import augmentation_target
from visionsweep.data.dataset import ImageBatches, ImageDataset
from visionsweep.data.images import ImageFile
from visionsweep.data.transforms import Preprocessing, build_augmentation
from visionsweep.errors import UserError
from visionsweep.features.cached import cache_dir, cached_features
from visionsweep.models.lazy_model import LazyModel
from visionsweep.runtime.micro_batching import AdaptiveMicroBatch
from visionsweep.training.batches import Batches, TensorBatches
from visionsweep.training.objective import sampling_weights
from visionsweep.training.scoring import predict_logits

log = logging.getLogger(__name__)

SHARE_FOR_FEATURES = 0.5  # of the free memory of a GPU
_EVALUATION_BATCH_SIZE = 1024  # features; heads need little memory


def trains_on_features(config: Config) -> bool:
    """Return whether an image has the same features in every epoch."""
    return config.training.freeze_backbone and augmentation_target(config.augmentation) is None


def training_device(batches: Batches, device: torch.device) -> torch.device:
    """Return the device to train on: that of the features, or of the backbone.

    Args:
        batches: batches of any split, as returned by `inputs_of`.
        device: device of the backbone.
    """
    return batches.inputs.device if isinstance(batches, TensorBatches) else device


def features_device(
    config: Config, network: LazyModel, device: torch.device, images: int
) -> torch.device:
    """Return the device of the features: the CPU if they do not fit into a GPU's memory.

    Args:
        config: configuration of the run.
        network: network of the run.
        device: device of the backbone.
        images: number of images.
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


def inputs_of(
    splits: Mapping[str, Sequence[ImageFile]],
    config: Config,
    network: LazyModel,
    preprocessing: Preprocessing,
    device: torch.device,
    shuffle_generators: Sequence[torch.Generator] = (),
    samples: torch.Tensor | None = None,
) -> dict[str, Batches]:
    """Return the batches of each split; those of `train` are shuffled anew in each epoch.

    Args:
        splits: images of each split.
        config: configuration of the run.
        network: network of the run.
        preprocessing: transform from an image to the network's input.
        device: device of the backbone.
        shuffle_generators: generator of the training order of each head. Images, unlike features,
            come in the first one's order for all heads.
        samples: images that each head trains on, `int64[H, N]`, if they differ and train on
            features: indices into training and, after these, validation images.
    """
    train_labels = [image.label for image in splits.get("train", ())]
    weights = sampling_weights(config.training, train_labels, network.classes)
    if trains_on_features(config):
        files = [image for images in splits.values() for image in images]
        features = cached_features(files, network, preprocessing, device, config.features)
        _check_width(features, network, config)
        features = features.to(features_device(config, network, device, len(files)))
        labels = torch.tensor([image.label for image in files]).to(features.device)
        counts = [len(images) for images in splits.values()]
        parts = zip(splits, features.split(counts), labels.split(counts), strict=True)
        batches: dict[str, Batches] = {
            split: TensorBatches(rows, classes, _EVALUATION_BATCH_SIZE)
            for split, rows, classes in parts
        }
        if "train" in splits and config.training.linear_probe != "only":
            of_heads = sum(counts[:1] if samples is None else counts[:2])
            batches["train"] = TensorBatches(
                features[:of_heads], labels[:of_heads], config.batch_size, shuffle_generators,
                weights, samples,
            )  # fmt: skip
        return batches

    join_single = _joins_single(splits, config, network)

    def images(split: str) -> Batches:
        training = split == "train"
        augmentation = build_augmentation(config.augmentation) if training else None
        return ImageBatches(
            ImageDataset(
                splits[split], preprocessing.build(augmentation), preprocessing.gray_range
            ),
            config.batch_size,
            shuffle=shuffle_generators[0] if training else None,
            workers=config.num_workers,
            pin_memory=device.type == "cuda",
            join_single=training and join_single,
            weights=weights if training else None,
        )

    return {split: images(split) for split in splits}


def probe_features(
    images: Sequence[ImageFile],
    config: Config,
    network: LazyModel,
    preprocessing: Preprocessing,
    device: torch.device,
) -> torch.Tensor | None:
    """Return the features of images without augmentation, if training starts with a linear probe.

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
    return cached_features(images, frozen, preprocessing, device, config.features)


def _joins_single(
    splits: Mapping[str, Sequence[ImageFile]], config: Config, network: LazyModel
) -> bool:
    """Return whether a single last training image has to join the batch before it."""
    single = len(splits.get("train", ())) % config.batch_size == 1
    if not single or network.frozen or network.trains_on_one_image:
        return False
    log.info(
        "The last batch of each epoch has %d images, since BatchNorm cannot train on a single one",
        config.batch_size + 1,
    )
    return True


def predict(
    module: torch.nn.Module,
    batches: Batches,
    images: Sequence[ImageFile],
    device: torch.device,
    micro_batch: AdaptiveMicroBatch | None = None,
) -> Predictions:
    """Return the predictions of a model for each image.

    Args:
        module: model from inputs to logits, `float32[R, N, classes]`.
        batches: inputs of the images, in their order.
        images: image files, with their labels.
        device: device of the model.
        micro_batch: micro-batch size; a whole batch by default.
    """
    logits: Any = predict_logits(module, batches, device, micro_batch).numpy()
    labels = torch.tensor([image.label for image in images]).numpy()
    return Predictions(logits, labels, tuple(image.digest for image in images))
