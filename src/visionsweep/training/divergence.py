"""End a run whose loss is NaN or infinite."""

import math

from visionsweep.errors import UserError
from visionsweep.runs.scores import Epoch

_SPLITS = {"train": "training", "val": "validation"}


class DivergedError(UserError):
    """Training diverged: a loss is NaN or infinite, and no later epoch can repair that."""


def stop_if_diverged(epoch: Epoch) -> None:
    """Raise if a training or validation loss of a replicate is not finite.

    Args:
        epoch: scores of the epoch, with those of each replicate.

    Raises:
        DivergedError: if a loss is NaN or infinite.
    """
    for split, name in _SPLITS.items():
        losses = [getattr(scores, split).loss for scores in epoch.replicates]
        diverged = [number for number, loss in enumerate(losses, 1) if not math.isfinite(loss)]
        if not diverged:
            continue
        kind = "NaN" if any(math.isnan(loss) for loss in losses) else "infinite"
        rate = epoch.learning_rate
        raise DivergedError(
            f"Training diverged in epoch {epoch.epoch}: the {name} loss"
            f"{_replicates(diverged, len(losses))} is {kind}, at a learning rate of {rate:g}",
            hint=f"Lower it, for instance to a tenth: optimizer.lr={rate / 10:g}. If training "
            "still diverges, check the images, optimizer.weight_decay and optimizer.momentum, or "
            "try optimizer=adam.",
        )


def _replicates(numbers: list[int], count: int) -> str:
    """Name replicates by number, from 1, as `" of replicates 2 and 3 of 5"`."""
    if count == 1:
        return ""
    if len(numbers) == count:
        return f" of all {count} replicates"
    *others, last = map(str, numbers)
    listed = f"{', '.join(others)} and {last}" if others else last
    return f" of replicate{'s' if others else ''} {listed} of {count}"
