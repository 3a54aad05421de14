"""Learning rates of a schedule, clipped gradients, layer-wise rates, frozen BatchNorm."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import lr_scheduler

from visionsweep.config.schema import ModelConfig, OptimizerConfig, TrainingConfig
from visionsweep.models import backbones, classifier
from visionsweep.models.backbone_spec import resolve_backbone
from visionsweep.models.heads import Heads
from visionsweep.models.seeds import replicate_seeds
from visionsweep.training import loop
from visionsweep.training.batches import SplitBatches, TensorBatches
from visionsweep.training.optimizers import averaged, layers, make_optimizer
from visionsweep.training.updates import Updates, clip_gradients

CPU = torch.device("cpu")
SGD = OptimizerConfig(name="SGD", lr=0.5)


def rates_of_torch(scheduler, steps: int) -> list[float]:
    rates = []
    for _ in range(steps):
        rates.append(scheduler.get_last_lr()[0])
        scheduler.optimizer.step()
        scheduler.step()
    return rates


@pytest.fixture
def optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)


def test_cosine_is_that_of_torch(optimizer):
    expected = rates_of_torch(lr_scheduler.CosineAnnealingLR(optimizer, T_max=40), 40)
    cosine = Updates(schedule="cosine")
    assert [cosine.rate(step, 40) for step in range(40)] == pytest.approx(expected)


def test_warm_up_is_that_of_torch_and_the_cosine_follows(optimizer):
    linear = lr_scheduler.LinearLR(optimizer, start_factor=1 / 8, total_iters=7)
    expected = rates_of_torch(linear, 8)
    ours = [Updates("cosine", warmup=0.2).rate(step, 40) for step in range(40)]
    assert ours[:8] == pytest.approx(expected) and ours[7] == ours[8] == 1
    assert ours[8:] == pytest.approx([Updates("cosine").rate(step, 32) for step in range(32)])
    constant = [Updates(warmup=0.2).rate(step, 40) for step in range(40)]
    assert constant == pytest.approx([*expected, *[1.0] * 32])


def points(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    return torch.randn(count, 7, generator=generator) + labels.unsqueeze(1), labels


def trained(updates: Updates, *, replicates: int = 1, epochs: int = 3):
    seeds = replicate_seeds(3, replicates)
    heads = Heads(7, 3, 0.2, seeds)
    orders = [torch.Generator().manual_seed(seed.shuffle) for seed in seeds]
    test = TensorBatches(*points(9, 1), 9)
    batches = SplitBatches(TensorBatches(*points(20), 8, orders), test, test)
    optimizer = make_optimizer(SGD, heads)
    history = loop.fit(heads, batches, optimizer, epochs, CPU, lambda _: None, updates=updates)
    return heads, [epoch.learning_rate for epoch in history]


def test_learning_rate_of_an_epoch_is_that_of_its_last_step():
    updates = Updates("cosine", warmup=0.25)
    _, rates = trained(updates)  # three steps per epoch, nine in all
    assert rates == pytest.approx([0.5 * updates.rate(step, 9) for step in (2, 5, 8)])
    assert rates[0] == 0.5 and rates[-1] < 0.05


def test_half_of_a_cosine_is_not_a_shorter_one_but_half_of_a_constant_is():
    short, long = (trained(Updates("cosine"), epochs=n)[1] for n in (2, 4))
    assert long[:2] != short
    assert trained(Updates(), epochs=4)[1][:2] == trained(Updates(), epochs=2)[1]


def test_clipping_is_that_of_torch_for_each_replicate():
    gradients = [torch.randn(3, 4, 7), torch.randn(3, 4)]
    gradients[0][1] *= 0.001  # a replicate with a small gradient,
    gradients[1][1] *= 0.001  # which keeps it
    expected = []
    for replicate in range(3):
        parameters = [nn.Parameter(torch.zeros_like(g[replicate])) for g in gradients]
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient[replicate].clone()
        clip_grad_norm_(parameters, 0.5)
        expected.append([parameter.grad for parameter in parameters])
    clip_gradients(gradients, 3, 0.5)
    for replicate, of_torch in enumerate(expected):
        for ours, theirs in zip(gradients, of_torch, strict=True):
            assert torch.allclose(ours[replicate], theirs, rtol=1e-5)


def test_replicates_do_not_affect_each_other_by_clipping():
    updates = Updates("cosine", 0.1, clip_norm=0.05)
    alone, together = (trained(updates, replicates=n)[0] for n in (1, 4))
    assert torch.equal(alone.weight[0], together.weight[0])
    assert not torch.equal(alone.weight, trained(Updates("cosine", 0.1))[0].weight)


@pytest.fixture(scope="module")
def network() -> classifier.Classifier:
    spec = resolve_backbone(
        ModelConfig("resnet18", "resnet18", weights=None), random_if_unavailable=False
    )
    backbone = backbones.build(spec, 32)
    return classifier.build(backbone, 3, dropout=0, frozen=False, freeze_batchnorm=True)


def test_layers_are_the_numbered_modules_in_order(network):
    names = [name.removeprefix("backbone.") for name in layers(network)]
    assert names == ["conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "head"]
    assert sum(map(len, layers(network).values())) == len(list(network.parameters()))


def test_layers_far_from_the_head_learn_slower(network):
    groups = make_optimizer(SGD, network, TrainingConfig(layer_decay=0.8)).param_groups
    assert [group["lr"] for group in groups] == pytest.approx([0.5 * 0.8**k for k in range(7)])
    assert groups[0]["params"] == list(network.head.parameters())
    assert any(p is network.backbone.conv1.weight for p in groups[-1]["params"])


def test_batchnorm_keeps_its_statistics_and_trains_its_weights(network):
    norm = network.backbone.bn1
    before = norm.running_mean.clone(), norm.weight.detach().clone()
    batches = TensorBatches(torch.randn(6, 3, 32, 32), torch.arange(6) % 3, 3)
    loop.train_one_epoch(network, batches, make_optimizer(SGD, network), CPU)
    assert torch.equal(norm.running_mean, before[0]) and not torch.equal(norm.weight, before[1])
    assert network.training and network.backbone.layer1.training and not norm.training


def test_rates_of_layers_follow_the_schedule(network):
    optimizer = make_optimizer(SGD, network, TrainingConfig(layer_decay=0.5))
    Updates("cosine").prepare(optimizer, 5, 10, 0, 1)
    assert [group["lr"] for group in optimizer.param_groups[:2]] == pytest.approx([0.25, 0.125])


def test_layers_start_to_train_one_after_another_from_the_head(network):
    updates = Updates(gradual_unfreezing=0.5)
    assert [updates.unfrozen(s, 20, 6) for s in range(12)] == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]
    optimizer = make_optimizer(SGD, network, TrainingConfig(gradual_unfreezing=1.0))
    batch = TensorBatches(torch.randn(3, 3, 32, 32), torch.arange(3), 3)
    weights = {name: [p.detach().clone() for p in ps] for name, ps in layers(network).items()}
    changed = []
    for step in range(3):  # of 10
        before = partial(Updates(gradual_unfreezing=1.0).prepare, optimizer, step * 2, 10)
        loop.train_one_epoch(network, batch, optimizer, CPU, before_step=before)
        changed.append(
            [
                name.removeprefix("backbone.")
                for name, parameters in layers(network).items()
                if not all(map(torch.equal, parameters, weights[name]))
            ]
        )
    assert changed == [["head"], ["layer4", "head"], ["layer3", "layer4", "head"]]


def test_moving_average_is_that_of_its_definition():
    heads = Heads(7, 3, 0.0, replicate_seeds(3, 2))
    optimizer = make_optimizer(SGD, heads)
    average = averaged(heads, optimizer, decay=0.75)
    batches = TensorBatches(*points(20), 10, [torch.Generator(), torch.Generator()])
    expected = None
    for _ in range(3):
        for batch in list(batches):
            loop.train_one_epoch(heads, [batch], optimizer, CPU)
            now = heads.weight.detach().clone()
            expected = now if expected is None else 0.75 * expected + 0.25 * now
    assert torch.allclose(average.module.weight, expected, atol=1e-6)
    assert not torch.allclose(average.module.weight, heads.weight, atol=1e-3)
    scores = loop.evaluate(average.module, batches, CPU)
    assert scores != loop.evaluate(heads, batches, CPU)
