"""Score a model: losses and accuracies of each replicate, logits, and the scores of an epoch."""

import time
from collections.abc import Sequence
from functools import partial

import torch
from torch import nn

from visionsweep.runs.scores import NOT_SCORED, Epoch, Scores, SplitScores, mean_of
from visionsweep.runtime import signals
from visionsweep.runtime.micro_batching import AdaptiveMicroBatch
from visionsweep.training.batches import Batches, SplitBatches
from visionsweep.training.objective import cross_entropy

Part = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class Sums:
    """Loss and correct predictions per replicate, summed on the device and read once per epoch."""

    def __init__(self) -> None:
        self.losses: torch.Tensor | float = 0.0
        self.correct: torch.Tensor | int = 0
        self.images = 0

    def add(self, losses: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor) -> None:
        """Add a batch: losses `[R, N]`, logits `[R, N, C]`, labels as in `cross_entropy`.

        Where labels are probabilities, the most probable class is the correct one.
        """
        labels = labels.argmax(1) if labels.is_floating_point() else labels
        self.losses = self.losses + losses.detach().sum(1)
        self.correct = self.correct + (logits.argmax(2) == labels).sum(1)
        self.images += logits.shape[1]

    def scores(self) -> list[Scores]:
        """Return the means of each replicate."""
        assert isinstance(self.losses, torch.Tensor) and isinstance(self.correct, torch.Tensor)
        pairs = zip(self.losses.tolist(), self.correct.tolist(), strict=True)
        return [Scores(loss / self.images, correct / self.images) for loss, correct in pairs]


def forward(
    model: nn.Module, device: torch.device, inputs: torch.Tensor, labels: torch.Tensor
) -> Part:
    """Return the losses of a batch, its logits, and its labels on the device.

    Copies from page-locked memory are asynchronous.
    """
    inputs, labels = (t.to(device, non_blocking=True) for t in (inputs, labels))
    logits = model(inputs)
    return cross_entropy(logits, labels), logits, labels


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    batches: Batches,
    device: torch.device,
    micro_batch: AdaptiveMicroBatch | None = None,
) -> list[Scores]:
    """Return the scores of each replicate in evaluation mode, as `loop.train_one_epoch` does."""
    micro_batch = micro_batch or AdaptiveMicroBatch()
    model.eval()
    sums = Sums()
    score = partial(forward, model, device)
    for inputs, labels in batches:
        signals.check()
        for losses, logits, truth in micro_batch.map(score, inputs, labels, axis=labels.ndim - 1):
            sums.add(losses, logits, truth)
    return sums.scores()


@torch.inference_mode()
def predict_logits(
    model: nn.Module,
    batches: Batches,
    device: torch.device,
    micro_batch: AdaptiveMicroBatch | None = None,
) -> torch.Tensor:
    """Return the logits of all batches in order, `float32[R, N, classes]` on the CPU."""
    micro_batch = micro_batch or AdaptiveMicroBatch()
    model.eval()
    parts: list[torch.Tensor] = []

    def logits(part: torch.Tensor) -> torch.Tensor:
        of_part: torch.Tensor = model(part.to(device, non_blocking=True))
        return of_part.cpu()

    for inputs, labels in batches:
        signals.check()
        parts += micro_batch.map(logits, inputs, axis=labels.ndim - 1)
    return torch.cat(parts, dim=1)


def score(model: nn.Module, batches: SplitBatches, device: torch.device) -> Epoch:
    """Return the scores of a model that is not trained in epochs, as those of a first epoch.

    Those of the training images are of the whole model, without dropout; the learning rate is 0.
    """
    start = time.perf_counter()
    splits = (batches.train, batches.val, batches.test)
    scores = [evaluate(model, split, device) for split in splits if split is not None]
    return epoch_of(1, 0.0, time.perf_counter() - start, *scores)


def epoch_of(
    number: int,
    rate: float,
    seconds: float,
    train: list[Scores],
    val: list[Scores],
    test: Sequence[Scores] = (),
) -> Epoch:
    """Return the scores of an epoch from those of each replicate; `test` may be missing."""
    test = test or [NOT_SCORED] * len(val)
    return Epoch(
        epoch=number,
        train=mean_of(train),
        val=mean_of(val),
        test=mean_of(test),
        learning_rate=rate,
        seconds=seconds,
        replicates=tuple(map(SplitScores, train, val, test)),
    )
