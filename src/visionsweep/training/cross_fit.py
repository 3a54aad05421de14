"""Cross-fitting: heads of several folds, each of which scores the images that it did not see."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from visionsweep.analysis.predictions import Predictions
from visionsweep.config.schema import Config
from visionsweep.data.folds import FOLDS, assign_folds, group_numbers, groups_of
from visionsweep.data.images import ImageFile
from visionsweep.data.split_names import CROSS_FIT
from visionsweep.data.splits import Splits
from visionsweep.errors import UserError
from visionsweep.models.heads import Heads
from visionsweep.models.seeds import ReplicateSeeds, fold_seeds

_CHUNK = 1024  # features that are scored at once


@dataclass(frozen=True)
class Folds:
    """Folds of the training and validation images of a run.

    Attributes:
        samples: training images of the heads of each fold, `int64[K, N]`, as indices into training
            and validation images; at each place is an image of the class that the training image of
            this index has.
        scored: indices of the images that are scored, in the order of `Splits.pool`, `int64[P]`.
        fold: fold of each of these, whose heads score it, `int64[P]`.
    """

    samples: torch.Tensor
    scored: NDArray[np.int64]
    fold: NDArray[np.int64]

    def seeds(self, seed: int, replicates: int) -> list[ReplicateSeeds]:
        """Return the seeds of the heads of each fold, for a run's seed."""
        return fold_seeds(seed, replicates, len(self.samples))

    def append_to(self, samples: torch.Tensor | None, replicates: int) -> torch.Tensor:
        """Return the training images of all heads: of those so far, then of each fold's replicates.

        Args:
            samples: those so far, `int64[H, N]`; None if they are the replicates on all images.
            replicates: number of replicates.
        """
        if samples is None:
            samples = torch.arange(self.samples.shape[1]).expand(replicates, -1)
        return torch.cat([samples, self.samples.repeat_interleave(replicates, 0)])


def folds_of(config: Config, splits: Splits) -> Folds | None:
    """Return the folds of a run; None unless it is cross-fitted.

    Raises:
        UserError: if all images of a class are in one fold.
    """
    return make_folds(splits, config.data.split_seed) if config.evidence.name == CROSS_FIT else None


def make_folds(splits: Splits, seed: int) -> Folds:
    """Return folds of training and validation images, with the training images of their heads.

    A fold's heads train on as many images of each class as the run's own: on the training images
    outside of the fold and, in place of those inside, on validation images outside of it. Where
    these are too few, some training images occur twice.

    Raises:
        UserError: if all images of a class are in one fold.
    """
    images, count = (*splits.train, *splits.val), len(splits.train)
    fold = assign_folds(images, seed, groups=groups_of(images))
    labels = np.array([image.label for image in images])
    samples = np.tile(np.arange(count), (FOLDS, 1))
    for k in range(FOLDS):
        random = np.random.default_rng((seed, k))
        for label in np.unique(labels[:count]):
            inside = np.flatnonzero((labels[:count] == label) & (fold[:count] == k))
            outside = random.permutation(np.flatnonzero((labels == label) & (fold != k)))
            if not len(outside):
                raise UserError(
                    f"class {splits.classes[label]!r} has a single image, or group, for training "
                    "and validation, so no heads can be trained without it",
                    where="evidence=cross_fit",
                    hint="Add images of the class, or use evidence=holdout.",
                )
            spare = np.concatenate([outside[outside >= count], outside[outside < count]])
            samples[k, inside] = np.resize(spare, len(inside))
    scored = np.array(splits.pool_places)
    return Folds(torch.from_numpy(samples), scored, fold[scored])


def out_of_fold(
    heads: Heads, features: torch.Tensor, folds: Folds, images: Sequence[ImageFile]
) -> Predictions:
    """Return the predictions of each image by the replicates of its fold, which did not see it.

    Args:
        heads: R replicates and, as the last of the others, R heads for each fold.
        features: features of training and validation images.
        folds: folds of these.
        images: the images that are scored, `Splits.pool`.
    """
    replicates = heads.replicates
    logits = np.empty((replicates, len(images), heads.weight.shape[1]), np.float32)
    for k in range(FOLDS):
        places = np.flatnonzero(folds.fold == k)
        for part in np.split(places, range(_CHUNK, len(places), _CHUNK)):
            rows = features[torch.from_numpy(folds.scored[part]).to(features.device)]
            of_folds = heads.resampled(rows)[-FOLDS * replicates :].unflatten(0, (FOLDS, -1))
            logits[:, part] = of_folds[k].cpu().numpy()
    labels = np.array([image.label for image in images])
    digests = tuple(image.digest for image in images)
    return Predictions(logits, labels, digests, groups=group_numbers(images))
