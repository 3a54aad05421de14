"""How well a model does, as numbers; without torch, so that what only reads them is quick."""

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta


@dataclass(frozen=True)
class Scores:
    """Averages over images.

    Attributes:
        loss: cross-entropy in nats.
        accuracy: part of the images that are classified correctly, 0 to 1.
    """

    loss: Annotated[float, Meta(ge=0)]
    accuracy: Annotated[float, Meta(ge=0, le=1)]


@dataclass(frozen=True)
class SplitScores:
    """The scores of one replicate in one epoch."""

    train: Scores
    val: Scores
    test: Scores


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to.

    Attributes:
        epoch: its number, from 1.
        train: scores while training, before each step and with dropout; means over replicates.
        val, test: scores after the epoch, means over replicates.
        learning_rate: during the epoch.
        seconds: of wall-clock time, scoring included.
        replicates: the scores of each.
    """

    epoch: Annotated[int, Meta(ge=1, le=2**53)]
    train: Scores
    val: Scores
    test: Scores
    learning_rate: Annotated[float, Meta(ge=0)]
    seconds: Annotated[float, Meta(ge=0)]
    replicates: tuple[SplitScores, ...] = ()
