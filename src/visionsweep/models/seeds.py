"""Seeds of replicates: independent random numbers for each repetition of an experiment."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ReplicateSeeds:
    """Seeds of one replicate.

    Attributes:
        init: seed of the initial weights of the head.
        shuffle: seed of the order of training images.
        dropout: seed of the dropout masks.
    """

    init: int
    shuffle: int
    dropout: int


def replicate_seeds(seed: int, replicates: int) -> list[ReplicateSeeds]:
    """Return the seeds of each replicate; the first ones do not depend on the number of replicates.

    They are hashed by `numpy.random.SeedSequence`. With seed, seed + 1, ..., runs of neighboring
    seeds would share replicates.
    """
    return [_seeds(seed, r) for r in range(replicates)]


def bootstrap_seeds(seed: int, heads: int) -> list[ReplicateSeeds]:
    """Return the seeds of heads on bootstrap samples, which differ from those of all replicates."""
    return [_seeds(seed, b, 0) for b in range(heads)]


def fold_seeds(seed: int, replicates: int, folds: int) -> list[ReplicateSeeds]:
    """Return the seeds of the replicates of each fold, those of the first fold first."""
    return [_seeds(seed, r, 1, fold) for fold in range(folds) for r in range(replicates)]


def _seeds(seed: int, *key: int) -> ReplicateSeeds:
    sequence = np.random.SeedSequence(seed, spawn_key=key)
    return ReplicateSeeds(*map(int, sequence.generate_state(3)))
