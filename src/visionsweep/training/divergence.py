"""Stops a run whose loss is no longer a number."""

import math

from visionsweep.errors import UserError
from visionsweep.runs.scores import Epoch

_SPLITS = {"train": "training", "val": "validation"}


class DivergedError(UserError):
    """Training went astray: a loss is infinite or not a number, and no later epoch mends that."""


def stop_if_diverged(epoch: Epoch) -> None:
    """Look at the losses of an epoch, replicate by replicate. A huge one that is finite may pass.

    Args:
        epoch: with the scores of each replicate.

    Raises:
        DivergedError: if a training or validation loss is not finite.
    """
    for split, name in _SPLITS.items():
        losses = [getattr(scores, split).loss for scores in epoch.replicates]
        astray = [number for number, loss in enumerate(losses, 1) if not math.isfinite(loss)]
        if not astray:
            continue
        kind = "not a number" if any(math.isnan(loss) for loss in losses) else "infinite"
        rate = epoch.learning_rate
        raise DivergedError(
            f"Training diverged in epoch {epoch.epoch}: the {name} loss{_of(astray, len(losses))} "
            f"is {kind}, at a learning rate of {rate:g}. Take a smaller one, such as a tenth: "
            f"optimizer.lr={rate / 10:g}. If it diverges with any, look at the images, at "
            "optimizer.weight_decay and optimizer.momentum, or try optimizer=adam."
        )


def _of(astray: list[int], replicates: int) -> str:
    """Say which replicates are meant, counted from 1; nothing where there is only one."""
    if replicates == 1:
        return ""
    if len(astray) == replicates:
        return f" of all {replicates} replicates"
    *others, last = map(str, astray)
    listed = f"{', '.join(others)} and {last}" if others else last
    return f" of replicate{'s' if others else ''} {listed} of {replicates}"
