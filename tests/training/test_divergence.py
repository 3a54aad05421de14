"""A NaN or infinite loss ends the run; a huge one does not."""

import math

import pytest
import torch

from visionsweep.config.schema import OptimizerConfig
from visionsweep.errors import UserError
from visionsweep.models.heads import Heads
from visionsweep.models.seeds import replicate_seeds
from visionsweep.runs.scores import Epoch, Scores, SplitScores
from visionsweep.training import loop
from visionsweep.training.batches import SplitBatches, TensorBatches
from visionsweep.training.divergence import DivergedError, stop_if_diverged
from visionsweep.training.optimizers import make_optimizer

CPU = torch.device("cpu")


def epoch(*losses: tuple[float, float], lr: float = 0.5) -> Epoch:
    """Return the third epoch, from the training and validation loss of each replicate."""
    replicates = tuple(
        SplitScores(Scores(train, 0.5), Scores(val, 0.5), Scores(1.0, 0.5)) for train, val in losses
    )
    first = replicates[0]
    return Epoch(3, first.train, first.val, first.test, lr, 0.1, replicates)


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ([(math.nan, 1.0)], "the training loss is NaN"),
        ([(1.0, math.nan)], "the validation loss is NaN"),
        ([(1.0, math.inf)], "the validation loss is infinite"),
        ([(1, 1), (math.nan, 1), (1, 1)], "the training loss of replicate 2 of 3 is NaN"),
        ([(1, 1), (1, math.inf), (1, math.nan)], "loss of replicates 2 and 3 of 3 is NaN"),
        ([(math.nan, 1)] * 5, "the training loss of all 5 replicates is NaN"),
    ],
)
def test_error_names_loss_epoch_and_a_lower_learning_rate(losses, message: str):
    with pytest.raises(DivergedError, match=message) as caught:
        stop_if_diverged(epoch(*losses))
    assert "in epoch 3" in caught.value.what and "learning rate of 0.5" in caught.value.what
    assert "optimizer.lr=0.05" in caught.value.hint
    assert isinstance(caught.value, UserError)


@pytest.mark.parametrize("loss", [0.0, 1.0, 3e38, 1e300])
def test_huge_finite_loss_does_not_end_the_run(loss: float):
    stop_if_diverged(epoch((loss, loss), (loss, loss)))


def train(lr: float) -> tuple[list[Epoch], DivergedError | None]:
    """Train three heads on noise for six epochs; return the epochs, and the error if any."""
    generator = torch.Generator().manual_seed(0)
    inputs, labels = torch.randn(24, 5, generator=generator), torch.arange(24) % 2
    batches = TensorBatches(inputs, labels, 8)
    generators = [torch.Generator().manual_seed(seed) for seed in range(3)]
    model = Heads(5, 2, 0.0, replicate_seeds(1, 3))
    optimizer = make_optimizer(OptimizerConfig(name="SGD", lr=lr, momentum=0.9), model)
    splits = SplitBatches(TensorBatches(inputs, labels, 8, generators), batches, batches)
    epochs: list[Epoch] = []
    try:
        loop.fit(model, splits, optimizer, 6, CPU, epochs.append)
    except DivergedError as error:
        return epochs, error
    return epochs, None


def test_training_ends_with_the_diverged_epoch_which_is_reported():
    epochs, error = train(3e38)
    assert 1 <= len(epochs) < 6 and f"in epoch {epochs[-1].epoch}:" in error.what
    assert not math.isfinite(epochs[-1].train.loss)
    assert all(math.isfinite(epoch.train.loss) for epoch in epochs[:-1])


def test_training_with_huge_finite_losses_runs_to_its_end():
    epochs, error = train(1e30)
    assert error is None and len(epochs) == 6 and epochs[-1].val.loss > 1e20
