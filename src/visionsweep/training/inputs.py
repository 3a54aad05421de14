"""What goes into what is trained: features of a frozen backbone, or images."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from visionsweep.analysis.predictions import Outcomes
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
from visionsweep.training.loop import predict_logits

log = logging.getLogger(__name__)

SHARE_FOR_FEATURES = 0.5  # of the free memory of a GPU
_SCORED_AT_ONCE = 1024  # features; heads alone need no memory worth a smaller batch


def trains_on_features(config: Config) -> bool:
    """Say whether an image gives the same features in every epoch."""
    return config.training.freeze_backbone and augmentation_target(config.augmentation) is None


def training_device(batches: Batches, device: torch.device) -> torch.device:
    """Return where a run trains: heads beside their features, networks where they compute.

    Args:
        batches: of any split, as `inputs_of` made them.
        device: where the backbone computes.
    """
    return batches.inputs.device if isinstance(batches, TensorBatches) else device


def features_device(
    config: Config, network: LazyModel, device: torch.device, images: int
) -> torch.device:
    """Return where features go: what does not fit into a GPU's memory, to the CPU.

    Args:
        config: of the run.
        network: whose head, or which as a whole, is trained.
        device: where the backbone computes.
        images: number of images whose features are trained on or scored.
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
    """Refuse features of another width than the network's card says: one file of the cache lies.

    Raises:
        UserError: names the folders to delete.
    """
    found, said = features.shape[1], network.summary.width
    if found != said:
        cache = cache_dir(config.features)
        raise UserError(
            f"the features of {network.spec.name} have {found:,} numbers an image, and its "
            f"card in networks/ says {said:,}",
            where=cache,
            hint="Somebody wrote a file there that is not of this program. Delete networks/ and "
            "features/ in it; both are computed again.",
        )


def inputs_of(
    splits: Mapping[str, Sequence[ImageFile]],
    config: Config,
    network: LazyModel,
    preprocessing: Preprocessing,
    device: torch.device,
    shuffle_generators: Sequence[torch.Generator] = (),
) -> dict[str, Batches]:
    """Make the batches of some splits; those of `train` come in a new order in each epoch.

    Args:
        splits: the images of each.
        config: of the run.
        network: whose head, or which as a whole, takes the batches.
        preprocessing: how an image becomes a tensor.
        device: where to compute.
        shuffle_generators: generator of the training order of each replicate. Images, unlike
            features, come in the first one's order for all replicates.
    """
    if trains_on_features(config):
        files = [image for images in splits.values() for image in images]
        features = cached_features(files, network, preprocessing, device, config.features)
        _check_width(features, network, config)
        trains_on = features_device(config, network, device, len(files))
        features = features.to(trains_on)
        labels = torch.tensor([image.label for image in files]).to(trains_on)
        counts = [len(images) for images in splits.values()]
        parts = zip(splits, features.split(counts), labels.split(counts), strict=True)
        return {
            split: TensorBatches(rows, classes, config.batch_size, shuffle_generators)
            if split == "train"
            else TensorBatches(rows, classes, _SCORED_AT_ONCE)
            for split, rows, classes in parts
        }

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
        )

    return {split: images(split) for split in splits}


def _joins_single(
    splits: Mapping[str, Sequence[ImageFile]], config: Config, network: LazyModel
) -> bool:
    """Say whether a training image that is left over cannot be a batch of its own."""
    left_over = len(splits.get("train", ())) % config.batch_size == 1
    if not left_over or network.frozen or network.trains_on_one_image:
        return False
    log.info(
        "The last batch of an epoch has %d images, for BatchNorm cannot train on the one left over",
        config.batch_size + 1,
    )
    return True


def predict(
    module: torch.nn.Module,
    batches: Batches,
    images: Sequence[ImageFile],
    device: torch.device,
    micro_batch: AdaptiveMicroBatch | None = None,
) -> Outcomes:
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
    return Outcomes(logits, labels, tuple(image.digest for image in images))
