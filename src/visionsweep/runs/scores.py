"""Scores in a record: per epoch, and with confidence intervals, overall and of each class."""

import math
from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta, Struct
from msgspec.structs import force_setattr, replace

from visionsweep.runs.fields import (
    MOST_REPLICATES,
    Count,
    Natural,
    NonNegative,
    Nullable,
    NullableScore,
    NullableShare,
)


class _NullIsNaN(Struct, frozen=True):
    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if getattr(self, name) is None:
                force_setattr(self, name, math.nan)


class Scores(_NullIsNaN, frozen=True, gc=False):
    """Mean loss and accuracy over images."""

    loss: NullableScore  # cross-entropy in nats; NaN if training diverged
    accuracy: NullableShare  # share of correctly classified images, 0 to 1; NaN: not scored

    @property
    def known(self) -> bool:
        """Whether images were scored; a model that diverged has an accuracy, too."""
        return not math.isnan(self.accuracy)


NOT_SCORED = Scores(math.nan, math.nan)


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
    test: Scores  # not scored in epochs before the last, unless `test_every_epoch`


class Epoch(EpochScores, frozen=True, gc=False):
    """Scores and facts of one epoch."""

    learning_rate: NonNegative
    seconds: NonNegative  # wall-clock seconds, evaluation included
    replicates: tuple[SplitScores, ...] = ()

    @property
    def means(self) -> EpochScores:
        """The scores alone, without the facts."""
        return EpochScores(self.epoch, self.train, self.val, self.test)

    def with_test(self, replicates: Sequence[Scores]) -> "Epoch":
        """Return the epoch with the test scores of each replicate."""
        pairs = zip(self.replicates, replicates, strict=True)
        of_each = tuple(replace(scores, test=test) for scores, test in pairs)
        return replace(self, test=mean_of(replicates), replicates=of_each)


def mean_of(scores: Sequence[Scores]) -> Scores:
    """Return the mean of the scores of replicates."""
    count = len(scores)
    return Scores(sum(s.loss for s in scores) / count, sum(s.accuracy for s in scores) / count)


class Metrics(Struct, frozen=True):
    """Scores by which a run is judged."""

    # Of the epoch whose weights are saved: the last, or with `training.patience` the best.
    final: EpochScores
    best: EpochScores  # of the epoch with the lowest validation loss


class Interval(_NullIsNaN, frozen=True):
    """A number with its 95% confidence interval; NaN if it is undefined."""

    value: NullableScore
    low: Nullable
    high: Nullable


class Measure(Interval, frozen=True):
    """One metric on one split: the mean over replicates, its interval over images and replicates.

    `replicates` has the value of each.
    """

    replicates: Annotated[list[NullableScore], Meta(min_length=1, max_length=MOST_REPLICATES)]

    def __post_init__(self) -> None:
        """Turn null into NaN."""
        super().__post_init__()
        if None in self.replicates:
            values = [math.nan if value is None else value for value in self.replicates]
            force_setattr(self, "replicates", values)


class ClassMeasures(_NullIsNaN, frozen=True):
    """Scores of one class, of the deployed predictor; intervals are Wilson's."""

    images: Count  # of the class
    predicted: Count  # as the class
    precision: Interval  # NaN if nothing is predicted as the class
    recall: Interval  # NaN if the class has no images
    f1: Interval | NullableScore  # NaN if the class occurs nowhere; older records: a number


def best_epoch(history: Sequence[Epoch]) -> Epoch:
    """Return the epoch with the lowest validation loss, of equal ones the first.

    A NaN loss counts as infinite.
    """
    return min(history, key=lambda e: math.inf if math.isnan(e.val.loss) else e.val.loss)


def summarize(history: Sequence[Epoch], patience: int | None = None) -> Metrics:
    """Return the scores of the epoch whose weights are saved, and of the best one.

    Args:
        history: all epochs.
        patience: `training.patience`; unless it is None, the weights of the best epoch are saved.
    """
    best = best_epoch(history).means
    return Metrics(history[-1].means if patience is None else best, best)
