"""A loss that is no number any more ends the run; a huge one does not."""

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
    """The third epoch, by the training and validation loss of each replicate."""
    each = tuple(
        SplitScores(Scores(train, 0.5), Scores(val, 0.5), Scores(1.0, 0.5)) for train, val in losses
    )
    first = each[0]
    return Epoch(3, first.train, first.val, first.test, lr, 0.1, each)


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        ([(math.nan, 1.0)], "the training loss is not a number"),
        ([(1.0, math.nan)], "the validation loss is not a number"),
        ([(1.0, math.inf)], "the validation loss is infinite"),
        ([(1, 1), (math.nan, 1), (1, 1)], "the training loss of replicate 2 of 3 is not a number"),
        ([(1, 1), (1, math.inf), (1, math.nan)], "loss of replicates 2 and 3 of 3 is not a number"),
        ([(math.nan, 1)] * 5, "the training loss of all 5 replicates is not a number"),
    ],
)
def test_the_message_says_what_where_and_what_to_do(losses, said: str):
    with pytest.raises(DivergedError, match=said) as caught:
        stop_if_diverged(epoch(*losses))
    text = str(caught.value)
    assert "in epoch 3" in text and "learning rate of 0.5" in text and "optimizer.lr=0.05" in text
    assert isinstance(caught.value, UserError)


@pytest.mark.parametrize("loss", [0.0, 1.0, 3e38, 1e300])
def test_a_huge_loss_that_is_finite_passes(loss: float):
    stop_if_diverged(epoch((loss, loss), (loss, loss)))


def trained(lr: float, told: list[Epoch]) -> None:
    """Train three heads on noise for six epochs."""
    source = torch.Generator().manual_seed(0)
    inputs, labels = torch.randn(24, 5, generator=source), torch.arange(24) % 2
    batches = TensorBatches(inputs, labels, 8)
    orders = [torch.Generator().manual_seed(seed) for seed in range(3)]
    model = Heads(5, 2, 0.0, replicate_seeds(1, 3))
    optimizer = make_optimizer(OptimizerConfig(name="SGD", lr=lr, momentum=0.9), model)
    loop.fit(
        model,
        SplitBatches(TensorBatches(inputs, labels, 8, orders), batches, batches),
        optimizer,
        6,
        CPU,
        told.append,
    )


def test_training_ends_with_the_epoch_that_diverged_which_is_told_of_first():
    told: list[Epoch] = []
    with pytest.raises(DivergedError) as caught:
        trained(3e38, told)
    assert 1 <= len(told) < 6 and f"in epoch {told[-1].epoch}:" in str(caught.value)
    assert not math.isfinite(told[-1].train.loss)
    assert all(math.isfinite(each.train.loss) for each in told[:-1])


def test_training_with_a_rate_that_only_makes_losses_huge_goes_to_its_end():
    told: list[Epoch] = []
    trained(1e30, told)
    assert len(told) == 6 and told[-1].val.loss > 1e20
