"""Bootstrap samples of the training images, to estimate what another training set would change."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from visionsweep.config.derived import flatten
from visionsweep.config.schema import Config
from visionsweep.data.folds import group_numbers, groups_of
from visionsweep.data.images import ImageFile
from visionsweep.models.heads import Heads
from visionsweep.training.batches import Batches
from visionsweep.training.checkpoint import read_progress
from visionsweep.training.feature_inputs import trains_on_features
from visionsweep.training.objective import cross_entropy
from visionsweep.training.optimizers import mixes_heads

_MOST = 8  # arrivals of an image that are drawn; a ninth comes before time one in 1 of 900,000


def bootstrap_heads(config: Config, checkpoint: Path) -> int:
    """Return how many heads train on bootstrap samples beside the replicates.

    They need features, and an optimizer that leaves the replicates bitwise identical.

    Args:
        config: configuration of the run.
        checkpoint: file of the run in progress, whose number is kept; it may be missing.
    """
    if not trains_on_features(config) or mixes_heads(config.optimizer):
        return 0
    if progress := read_progress(checkpoint):
        heads: Any = flatten(progress.config).get("evidence.training_bootstrap")
        return heads or 0  # none in earlier versions
    return config.evidence.training_bootstrap


def samples_of_heads(
    images: Sequence[ImageFile], seed: int, replicates: int, samples: int
) -> torch.Tensor | None:
    """Return the training images of each head, `int64[replicates + samples, N]`.

    Replicates train on all images. None if all heads do.
    """
    if not samples:
        return None
    everything = torch.arange(len(images)).expand(replicates, -1)
    return torch.cat([everything, bootstrap_samples(images, seed, samples)])


def bootstrap_samples(images: Sequence[ImageFile], seed: int, samples: int) -> torch.Tensor:
    """Draw training sets of as many images of each class, with replacement.

    Each image arrives at the times of a Poisson process, given by its content and the seed; of a
    class with n images, the first n arrivals are the sample. Any n arrivals are independent and
    uniform over images, as in any bootstrap. And a data set that contains another one has nearly
    the same samples of the images in common, as it had the same images to begin with: differences
    between data sizes are paired. The images of a group arrive together.

    Args:
        images: training images.
        seed: seed of the run.
        samples: number of samples; the first ones do not depend on it.

    Returns:
        Indices of images, `int64[samples, N]`; at each place is an image of the class that the
        training image of this index has.
    """
    labels = np.array([image.label for image in images])
    drawn = np.empty((samples, len(images)), np.int64)
    arrivals = np.cumsum(-np.log1p(-_uniform(images, seed, samples)), axis=2)
    for label in np.unique(labels):
        places = np.flatnonzero(labels == label)
        times = arrivals[places].transpose(1, 0, 2).reshape(samples, -1)
        first = np.argpartition(times, len(places) - 1, axis=1)[:, : len(places)]
        drawn[:, places] = places[np.sort(first // _MOST, axis=1)]
    return torch.from_numpy(drawn)


def _uniform(images: Sequence[ImageFile], seed: int, samples: int) -> NDArray[np.float64]:
    """Return random numbers in [0, 1) from image content or group, `float64[N, samples, _MOST]`."""
    size = 8 * _MOST * samples
    keys = (
        [image.digest for image in images] if group_numbers(images) is None else groups_of(images)
    )
    content = b"".join(hashlib.shake_128(f"{seed} {key}".encode()).digest(size) for key in keys)
    bits = np.frombuffer(content, "<u8").reshape(len(images), samples, _MOST) >> np.uint64(11)
    numbers: NDArray[np.float64] = np.multiply(bits, 2.0**-53, dtype=np.float64)
    return numbers


def bootstrap_losses(
    heads: Heads, batches: Batches, temperature: float, samples: int
) -> NDArray[np.float32]:
    """Return the losses of the heads on bootstrap samples, `float32[B, N]`.

    Args:
        heads: trained heads.
        batches: features of N images with their labels.
        temperature: divisor of the logits; that of the deployed predictor.
        samples: number of these heads, the first after the replicates, B.
    """
    losses = [
        cross_entropy(heads.resampled(features)[:samples] / temperature, labels)
        for features, labels in batches
    ]
    result: NDArray[np.float32] = torch.cat(losses, dim=1).cpu().numpy()
    return result
