"""Train a model in plain PyTorch: heads on features, or a network on images."""

import logging
import random
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from visionsweep.runs.scores import Epoch, Scores, best_epoch
from visionsweep.runtime import signals, terminal
from visionsweep.runtime.micro_batching import TRAINING_WARNING, AdaptiveMicroBatch
from visionsweep.training.batches import Batches, SplitBatches
from visionsweep.training.divergence import stop_if_diverged
from visionsweep.training.objective import Objective, axis_of_images
from visionsweep.training.scoring import Part, Sums, epoch_of, evaluate, forward
from visionsweep.training.updates import Updates

if TYPE_CHECKING:
    from tqdm import tqdm

log = logging.getLogger(__name__)


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch, on every device."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def train_one_epoch(
    model: nn.Module,
    batches: Batches,
    optimizer: torch.optim.Optimizer,
    device: torch.device,
    micro_batch: AdaptiveMicroBatch | None = None,
    objective: Objective | None = None,
    before_step: Callable[[int, int], None] | None = None,
) -> list[Scores]:
    """Train for one epoch, and return the running scores of each replicate.

    Losses are summed over replicates, so each replicate's gradient is that of its own mean loss.
    Scores are of the unweighted cross-entropy, whatever the objective.

    A batch that device memory does not hold is split into micro-batches; their gradients add up to
    that of the batch, up to rounding. But BatchNorm in training mode normalizes each micro-batch by
    its own statistics, and a repeated batch draws a new dropout mask.

    Args:
        model: model from inputs to logits, `float32[R, N, classes]`.
        batches: pairs of inputs and labels, `int64[N]` or `int64[R, N]`.
        optimizer: optimizer of the model's parameters.
        device: device of the model.
        micro_batch: micro-batch size, lowered when memory runs out; a whole batch by default.
        objective: training loss; by default the cross-entropy.
        before_step: called before each step of the optimizer with the number of earlier steps in
            this epoch, and of replicates.

    Raises:
        UserError: if device memory does not hold one image.
    """
    micro_batch = micro_batch or AdaptiveMicroBatch(warning=TRAINING_WARNING)
    objective = objective or Objective()
    model.train()
    sums = Sums()
    for step, (inputs, labels) in enumerate(batches):
        signals.check()
        if objective.mix is not None:
            inputs, labels = objective.mix(inputs, labels)
        axis = axis_of_images(labels)
        backward = partial(_backward, model, device, objective, labels.shape[axis])
        parts = micro_batch.map(
            backward, inputs, labels, axis=axis, before_attempt=optimizer.zero_grad
        )
        if before_step is not None:
            before_step(step, len(parts[0][0]))
        optimizer.step()
        for losses, logits, truth in parts:
            sums.add(losses, logits, truth)
    return sums.scores()


def _backward(
    model: nn.Module,
    device: torch.device,
    objective: Objective,
    images: int,
    inputs: torch.Tensor,
    labels: torch.Tensor,
) -> Part:
    """Add the gradient of a micro-batch of a batch of N images; return losses, logits, labels."""
    losses, logits, labels = forward(model, device, inputs, labels)
    (objective(losses, labels, logits).sum() / images).backward()
    return losses, logits, labels


def fit(
    model: nn.Module,
    batches: SplitBatches,
    optimizer: torch.optim.Optimizer,
    epochs: int,
    device: torch.device,
    on_epoch: Callable[[Epoch], None],
    done: Sequence[Epoch] = (),
    micro_batch: AdaptiveMicroBatch | None = None,
    objective: Objective | None = None,
    updates: Updates | None = None,
    scored: Callable[[], nn.Module] | None = None,
    patience: int | None = None,
) -> list[Epoch]:
    """Train a model, and evaluate it after each epoch on validation images, and test images if any.

    Args:
        model: model from inputs to logits, `float32[R, N, classes]`.
        batches: batches of each split.
        optimizer: optimizer of the model's parameters.
        epochs: number of epochs, those of `done` included.
        device: device of the model.
        on_epoch: called with the scores of each epoch, also of one that diverged.
        done: scores of the epochs that the model has been trained for already.
        micro_batch: micro-batch size, as for `train_one_epoch`.
        objective: training loss, as for `train_one_epoch`.
        updates: learning rate of each step, and the largest gradient; by default as they are.
        scored: returns the model to evaluate after an epoch; by default the trained one.
        patience: epochs without a lower validation loss after which training ends; None for all.

    Returns:
        The scores of all epochs in order, those of `done` included.

    Raises:
        Interrupted: between two batches, after Ctrl-C or SIGTERM.
        DivergedError: if a training or validation loss of a replicate is not finite.
        UserError: if device memory does not hold one image.
    """
    micro_batch = micro_batch or AdaptiveMicroBatch(warning=TRAINING_WARNING)
    history = list(done)
    splits = [b for b in (batches.train, batches.val, batches.test) if b is not None]
    sizes = [len(split) for split in splits if isinstance(split, DataLoader)]
    steps = len(batches.train)
    updates = updates or Updates()
    with _bar(epochs, len(done), sizes) as bar:
        train_batches, *scored_batches = (
            _Counted(split, bar) if sizes else split for split in splits
        )
        for number in range(len(done) + 1, epochs + 1):
            if patience and history and history[-1].epoch - best_epoch(history).epoch >= patience:
                log.info("No lower validation loss in %d epochs: training ends early", patience)
                break
            start = time.perf_counter()
            prepare = partial(updates.prepare, optimizer, (number - 1) * steps, epochs * steps)
            train = train_one_epoch(
                model, train_batches, optimizer, device, micro_batch, objective, prepare
            )
            scorer = scored() if scored else model
            val, *test = (evaluate(scorer, b, device, micro_batch) for b in scored_batches)
            rate, seconds = optimizer.param_groups[0]["lr"], time.perf_counter() - start
            epoch = epoch_of(number, rate, seconds, train[: len(val)], val, *test)  # of replicates
            history.append(epoch)
            if not sizes:
                bar.update()
            bar.set_postfix_str(
                f"{number} of {epochs} epochs, val loss {epoch.val.loss:.3f}, "
                f"accuracy {epoch.val.accuracy:.1%}"
            )
            on_epoch(epoch)
            stop_if_diverged(epoch)
    return history


def _bar(epochs: int, done: int, sizes: Sequence[int]) -> "tqdm[Any]":
    """Return a progress bar: of batches if their numbers are known, else of epochs."""
    if not sizes:
        return terminal.bar(desc="Training", unit="epoch", total=epochs, initial=done)
    batches = sum(sizes)
    return terminal.bar(
        desc="Training", unit="batch", total=epochs * batches, initial=done * batches
    )


class _Counted:
    """Batches that advance a progress bar."""

    def __init__(self, batches: Batches, bar: "tqdm[Any]") -> None:
        self._batches, self._bar = batches, bar

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for batch in self._batches:
            yield batch
            self._bar.update()
