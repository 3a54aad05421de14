"""Inputs of training and evaluation: features of a frozen backbone, or images."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from visionsweep.analysis.predictions import Predictions
from visionsweep.config.schema import Config
from visionsweep.data.dataset import ImageBatches, ImageDataset
from visionsweep.data.folds import group_numbers
from visionsweep.data.images import ImageFile
from visionsweep.data.transforms import Preprocessing, build_augmentation
from visionsweep.errors import warn_once
from visionsweep.models.lazy_model import LazyModel
from visionsweep.runtime.micro_batching import AdaptiveMicroBatch
from visionsweep.training.batches import Batches, TensorBatches
from visionsweep.training.feature_inputs import batches_of_features, trains_on_features
from visionsweep.training.objective import sampling_weights
from visionsweep.training.scoring import predict_logits

log = logging.getLogger(__name__)

_KEPT_BYTES = 2**29  # of resized images that are kept between epochs: 3,566 of 224 pixels
_MOST_WORKERS = 8  # processes that decode, unless `num_workers` says otherwise

_AUGMENTED_ANEW = (
    "Training images are augmented, so they go through the frozen backbone in every epoch: "
    "35 ms of processor time per image for EfficientNet-Lite0. Random crops in training alone "
    "raised the loss on two of three image sets; augmentation.views=6 augmentation.test_views=6 "
    "extracts features once, and lowered it on all three (docs/results.md)"
)


def training_device(batches: Batches, device: torch.device) -> torch.device:
    """Return the device to train on: that of the features, or of the backbone.

    Args:
        batches: batches of any split, as returned by `inputs_of`.
        device: device of the backbone.
    """
    return batches.inputs.device if isinstance(batches, TensorBatches) else device


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
        return batches_of_features(
            splits, config, network, preprocessing, device, shuffle_generators, samples, weights
        )

    batches: dict[str, Batches] = {}
    if network.frozen:  # what is scored is not augmented, and has the same features in every epoch
        if "train" in splits:
            warn_once(log, _AUGMENTED_ANEW)
        scored = {split: files for split, files in splits.items() if split != "train"}
        batches = batches_of_features(scored, config, network, preprocessing, device)
    join_single = _joins_single(splits, config, network)
    workers = config.num_workers
    if workers is None:  # on a CPU, decoding would compete with the network for cores
        workers = 0 if device.type == "cpu" else min(_MOST_WORKERS, torch.get_num_threads())

    room = 0 if workers else _KEPT_BYTES // (3 * preprocessing.size**2)  # images, in this process
    for split in [split for split in splits if split not in batches]:
        training = split == "train"
        augmentation = build_augmentation(config.augmentation) if training else None
        resizing = preprocessing.resizing(augmentation)
        kept = min(room, len(splits[split])) if resizing else 0
        room -= kept
        batches[split] = ImageBatches(
            ImageDataset(
                splits[split], preprocessing.build_rest(augmentation), preprocessing.gray_range,
                resizing, kept,
            ),
            config.batch_size,
            shuffle=shuffle_generators[0] if training else None,
            workers=workers,
            pin_memory=device.type == "cuda",
            join_single=training and join_single,
            weights=weights if training else None,
        )  # fmt: skip
    return batches


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
    digests = tuple(image.digest for image in images)
    return Predictions(logits, labels, digests, groups=group_numbers(images))
