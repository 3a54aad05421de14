"""Training and evaluation: averages, determinism, and what they leave unchanged."""

import copy
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from visionsweep.config.schema import OptimizerConfig
from visionsweep.training import loop, scoring
from visionsweep.training.batches import SplitBatches, TensorBatches
from visionsweep.training.optimizers import make_optimizer

CPU = torch.device("cpu")


class SingleReplicate(nn.Sequential):
    """Layers as a model of one replicate, with logits `[1, N, classes]`."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return super().forward(inputs.flatten(0, -2)).unsqueeze(0)


def one(scores: list[loop.Scores]) -> loop.Scores:
    [score] = scores
    return score


def two_clouds(count: int, seed: int, *, distance: float = 4.0):
    """Return points of two linearly separable classes, and their labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    inputs = torch.randn(count, 5, generator=generator)
    inputs[:, 0] += distance * (labels - 0.5)
    return inputs, labels


def splits(*, batch_size: int = 8, seed: int = 3, distance: float = 4.0) -> SplitBatches:
    generators = [torch.Generator().manual_seed(seed)]
    return SplitBatches(
        TensorBatches(*two_clouds(33, 1, distance=distance), batch_size, generators),
        TensorBatches(*two_clouds(17, 2, distance=distance), batch_size),
        TensorBatches(*two_clouds(11, 3, distance=distance), batch_size),
    )


def head(*, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return SingleReplicate(nn.Dropout(0.2), nn.Linear(5, 2))


def sgd(model: nn.Module, lr: float = 0.1) -> torch.optim.Optimizer:
    return make_optimizer(OptimizerConfig(name="SGD", lr=lr), model)


def train(epochs: int, *, seed: int = 42, model: nn.Module | None = None, **options):
    loop.seed_everything(seed)
    model = model or SingleReplicate(nn.Dropout(0.2), nn.Linear(5, 2))
    reported: list[loop.Epoch] = []
    history = loop.fit(model, splits(seed=seed), sgd(model), epochs, CPU, reported.append)
    return model, history, reported


def without_times(history):
    return [(e.epoch, e.train, e.val, e.test, e.learning_rate) for e in history]


# ------------------------------------------------------------------------------------ averages


def test_scores_are_means_over_images_not_over_batches():
    model = SingleReplicate(nn.Identity())
    logits = torch.tensor([[9.0, 0.0]] * 4 + [[0.0, 9.0]])  # four correct, one very wrong
    labels = torch.zeros(5, dtype=torch.int64)
    scores = one(scoring.evaluate(model, TensorBatches(logits, labels, 4), CPU))
    assert scores.accuracy == pytest.approx(4 / 5)  # over batches it would be 1/2
    assert scores.loss == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-6)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 16, 17, 100])
def test_batch_size_does_not_change_scores(batch_size: int):
    model, (inputs, labels) = head(), two_clouds(17, 5)
    whole = one(scoring.evaluate(model, TensorBatches(inputs, labels, 17), CPU))
    scores = one(scoring.evaluate(model, TensorBatches(inputs, labels, batch_size), CPU))
    assert scores.loss == pytest.approx(whole.loss, rel=1e-6)
    assert scores.accuracy == whole.accuracy


def test_training_scores_are_means_over_images():
    model = SingleReplicate(nn.Linear(5, 2))
    inputs, labels = two_clouds(9, 4)
    expected = F.cross_entropy(model(inputs)[0], labels).item()
    accuracy = (model(inputs)[0].argmax(1) == labels).float().mean().item()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    scores = one(loop.train_one_epoch(model, TensorBatches(inputs, labels, 4), optimizer, CPU))
    assert scores.loss == pytest.approx(expected, rel=1e-6)
    assert scores.accuracy == pytest.approx(accuracy)


# ---------------------------------------------------------------------------------- determinism


def test_same_seed_gives_bitwise_identical_numbers():
    first, history, _ = train(3, seed=7)
    again, repeated, _ = train(3, seed=7)
    assert without_times(history) == without_times(repeated)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters()))  # noqa: B905


def test_another_seed_gives_other_numbers():
    assert without_times(train(2, seed=7)[1]) != without_times(train(2, seed=8)[1])


def test_seeding_reaches_python_numpy_and_torch():
    def draw():
        loop.seed_everything(11)
        return random.random(), np.random.rand(), torch.rand(1).item()

    assert draw() == draw()


# ------------------------------------------------------------------------------------- history


def test_fit_returns_and_reports_one_entry_per_epoch():
    model, history, reported = train(4)
    assert [e.epoch for e in history] == [1, 2, 3, 4]
    assert reported == history
    assert all(e.learning_rate == 0.1 and e.seconds > 0 for e in history)
    # The last entry has the scores of the returned model.
    assert history[-1].val == one(scoring.evaluate(model, splits().val, CPU))
    assert history[-1].test == one(scoring.evaluate(model, splits().test, CPU))


def test_epochs_are_reported_before_an_interruption():
    reported = []

    def stop_at_two(epoch):
        reported.append(epoch.epoch)
        if epoch.epoch == 2:
            raise KeyboardInterrupt

    model = head()
    with pytest.raises(KeyboardInterrupt):
        loop.fit(model, splits(), sgd(model), 5, CPU, stop_at_two)
    assert reported == [1, 2]


def test_separable_classes_are_learned():
    model = head()
    before = one(scoring.evaluate(model, splits(distance=8).val, CPU))
    history = loop.fit(model, splits(distance=8), sgd(model), 15, CPU, lambda _: None)
    assert history[-1].train.loss < history[0].train.loss
    assert history[-1].val.loss < before.loss
    assert history[-1].val.accuracy == history[-1].test.accuracy == 1.0


def test_validation_and_test_images_are_not_trained_on():
    model = head()
    twin = copy.deepcopy(model)
    torch.manual_seed(1)
    loop.fit(model, splits(), sgd(model), 2, CPU, lambda _: None)
    torch.manual_seed(1)
    train_only, optimizer = splits().train, sgd(twin)
    for _ in range(2):
        loop.train_one_epoch(twin, train_only, optimizer, CPU)
    assert torch.equal(model[1].weight, twin[1].weight)


def test_gradients_are_zeroed_before_each_step():
    model, twin = nn.Linear(5, 2), nn.Linear(5, 2)
    twin.load_state_dict(model.state_dict())
    inputs, labels = two_clouds(4, 6)
    loop.train_one_epoch(SingleReplicate(model), TensorBatches(inputs, labels, 2), sgd(model), CPU)
    for rows in (slice(0, 2), slice(2, 4)):
        weight, bias = torch.autograd.grad(
            F.cross_entropy(twin(inputs[rows]), labels[rows]), [twin.weight, twin.bias]
        )
        with torch.no_grad():
            twin.weight -= 0.1 * weight
            twin.bias -= 0.1 * bias
    assert torch.allclose(model.weight, twin.weight, atol=1e-7)


# ------------------------------------------------------------------------------------- evaluation


def scored_network() -> nn.Sequential:
    torch.manual_seed(0)
    return SingleReplicate(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))


@pytest.mark.parametrize("score", [scoring.evaluate, scoring.predict_logits])
def test_evaluation_keeps_weights_buffers_and_random_state(score):
    model = scored_network().train()
    before = copy.deepcopy(model.state_dict())
    state = torch.get_rng_state()
    score(model, TensorBatches(*two_clouds(10, 1), 4), CPU)
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is None for p in model.parameters())


def test_dropout_is_off_in_evaluation_and_on_in_every_training_epoch():
    model = scored_network()
    batches = TensorBatches(*two_clouds(10, 1), 4)
    assert scoring.evaluate(model, batches, CPU) == scoring.evaluate(model, batches, CPU)
    assert not model.training
    modes = []
    model[2].register_forward_hook(lambda module, *_: modes.append(module.training))
    data = SplitBatches(batches, batches, batches)
    loop.fit(model, data, sgd(model), 2, CPU, lambda _: None)
    assert modes == ([True] * 3 + [False] * 6) * 2


def test_logits_are_in_the_order_of_the_batches():
    model, (inputs, labels) = scored_network().eval(), two_clouds(10, 1)
    logits = scoring.predict_logits(model, TensorBatches(inputs, labels, 3), CPU)
    assert torch.allclose(logits, model(inputs), atol=1e-6)


# ----------------------------------------------------------------------------------- optimizer


@pytest.mark.parametrize("name", ["Adam", "AdamW", "SGD"])
def test_optimizers_have_the_configured_class_and_arguments(name: str):
    config = OptimizerConfig(
        name=name, lr=0.02, weight_decay=0.5, momentum=0.8 if name == "SGD" else None
    )
    optimizer = make_optimizer(config, head())
    assert type(optimizer) is getattr(torch.optim, name)
    (group,) = optimizer.param_groups
    assert (group["lr"], group["weight_decay"]) == (0.02, 0.5)
    assert group.get("momentum", 0.8) == 0.8


def test_optimizer_leaves_out_frozen_parameters():
    model = scored_network()
    model[0].requires_grad_(False)
    (group,) = sgd(model).param_groups
    assert {id(p) for p in group["params"]} == {
        id(p) for p in [*model[1].parameters(), *model[3].parameters()]
    }
