"""ReplicateSeeds of replicates: the same experiment again, with nothing random in common."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ReplicateSeeds:
    """What is random in one replicate.

    Attributes:
        init: of the head's weights.
        shuffle: in which training images come.
        dropout: which features are dropped.
    """

    init: int
    shuffle: int
    dropout: int


def replicate_seeds(seed: int, replicates: int) -> list[ReplicateSeeds]:
    """Derive the seeds of each replicate; the first are the same however many there are.

    They are hashed (`numpy.random.SeedSequence`), so that no replicate of one seed is one of its
    neighbour, as it would be with seed, seed + 1, ...
    """
    sequences = [np.random.SeedSequence(seed, spawn_key=(r,)) for r in range(replicates)]
    return [ReplicateSeeds(*map(int, sequence.generate_state(3))) for sequence in sequences]
