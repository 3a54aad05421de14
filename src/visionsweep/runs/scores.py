"""Loss and accuracy per epoch."""

import math

from msgspec import Struct
from msgspec.structs import force_setattr

from visionsweep.runs.fields import Natural, NonNegative, NullableScore, Share


class Scores(Struct, frozen=True, gc=False):
    """Mean loss and accuracy over images."""

    loss: NullableScore  # cross-entropy in nats; NaN if training diverged
    accuracy: Share  # share of correctly classified images, 0 to 1

    def __post_init__(self) -> None:
        """Turn null into NaN."""
        if self.loss is None:
            force_setattr(self, "loss", math.nan)


class SplitScores(Struct, frozen=True, gc=False):
    """Scores of one replicate in one epoch."""

    train: Scores
    val: Scores
    test: Scores


class EpochScores(Struct, frozen=True, gc=False):
    """Scores of one epoch, means over replicates."""

    epoch: Natural  # from 1
    train: Scores  # running scores during training, with dropout
    val: Scores  # after the epoch
    test: Scores


class Epoch(EpochScores, frozen=True, gc=False):
    """Scores and facts of one epoch."""

    learning_rate: NonNegative
    seconds: NonNegative  # wall-clock seconds, evaluation included
    replicates: tuple[SplitScores, ...] = ()

    @property
    def means(self) -> EpochScores:
        """The scores alone, without the facts."""
        return EpochScores(self.epoch, self.train, self.val, self.test)


class Metrics(Struct, frozen=True):
    """Scores by which a run is judged."""

    final: EpochScores  # of the last epoch, which the saved weights reproduce
    best: EpochScores  # of the epoch with the lowest validation loss


def summarize(history: list[Epoch]) -> Metrics:
    """Return the scores of the last epoch and of the epoch with the lowest validation loss.

    A NaN loss counts as infinite; of equal epochs, the first is the best.
    """

    def val_loss(epoch: Epoch) -> float:
        return math.inf if math.isnan(epoch.val.loss) else epoch.val.loss

    return Metrics(history[-1].means, min(history, key=val_loss).means)
