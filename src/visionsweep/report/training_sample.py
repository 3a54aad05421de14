"""What it changes that other training images would have given other heads."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from visionsweep.analysis.comparison import Comparison, compare
from visionsweep.analysis.run_losses import RunLosses
from visionsweep.report.numbers import counted

MOST_RUNS = 200  # that are compared a second time, without the training sample


@dataclass(frozen=True)
class TrainingSample:
    """Effect of the training sample on the comparison of a group of runs.

    Attributes:
        samples: bootstrap samples of the training images per run.
        differences: number of differences to the best run that it counts in.
        wider: median factor by which their standard errors are larger.
        possible: number of runs that could be the best only because of it.
    """

    samples: int
    differences: int
    wider: float
    possible: int

    @property
    def sentence(self) -> str:
        """What it changes, in a sentence."""
        marks = f"; {counted(self.possible, 'run')} could be the best only because of it"
        return (
            f"Other training images would have given other losses, which counts in "
            f"{counted(self.differences, 'difference')} to the best run (heads on {self.samples} "
            f"bootstrap samples): standard errors are {100 * (self.wider - 1):.0f}% larger"
            f"{marks if self.possible else ''}."
        )


def effect_of_training_sample(
    losses: Sequence[RunLosses], comparisons: Sequence[Comparison]
) -> TrainingSample | None:
    """Return what the training sample changes; None if it does not count, or is unknown.

    Args:
        losses: losses of the runs, the best first.
        comparisons: comparison of each other one with it.
    """
    errors = [(c.error, c.training_error) for c in comparisons if c.training_error > 0]
    if not errors:
        return None
    first = [replace(run, samples=(), by_sample=run.by_sample[:0]) for run in losses[:MOST_RUNS]]
    without = compare(first)
    possible = sum(
        now.could_be_best and not then.could_be_best
        for now, then in zip(comparisons, without, strict=False)
    )
    wider = [error / np.sqrt(error**2 - training**2) for error, training in errors]
    samples = max(len(run.by_sample) for run in losses)
    return TrainingSample(samples, len(errors), float(np.median(wider)), possible)
