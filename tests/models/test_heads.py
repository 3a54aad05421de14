"""Replicates of a head: one computation, and no number of one in another."""

import itertools

import pytest
import torch

from visionsweep.config.schema import OptimizerConfig
from visionsweep.models.heads import Heads
from visionsweep.models.seeds import replicate_seeds
from visionsweep.runtime.threads import one_thread
from visionsweep.training import loop
from visionsweep.training.batches import SplitBatches, TensorBatches
from visionsweep.training.optimizers import make_optimizer

CPU = torch.device("cpu")
OPTIMIZERS = {
    "adam": OptimizerConfig(name="Adam", lr=1e-2, weight_decay=1e-2),
    "adamw": OptimizerConfig(name="AdamW", lr=1e-2, weight_decay=1e-1),
    "sgd": OptimizerConfig(name="SGD", lr=1e-1, momentum=0.9, weight_decay=1e-3),
}


def table(images: int, width: int, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    source = torch.Generator().manual_seed(images)
    labels = torch.randint(0, classes, (images,), generator=source)
    return torch.randn(images, width, generator=source) + labels.unsqueeze(1) / 4, labels


def trained(replicates: int, width: int, classes: int, optimizer: str, images: int = 75):
    """Train replicates for two epochs, as an experiment does."""
    seeds = replicate_seeds(42, replicates)
    heads = Heads(width, classes, 0.3, seeds)
    orders = [torch.Generator().manual_seed(each.shuffle) for each in seeds]
    batches = SplitBatches(
        TensorBatches(*table(images, width, classes), 16, orders),
        TensorBatches(*table(41, width, classes), 16),
        TensorBatches(*table(23, width, classes), 16),
    )
    made = make_optimizer(OPTIMIZERS[optimizer], heads)
    with one_thread():
        return heads, loop.fit(heads, batches, made, 2, CPU, lambda _: None)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(("width", "classes"), list(itertools.product((5, 513, 1280), (2, 3, 101))))
def test_first_of_five_replicates_is_bitwise_identical_to_a_single_one(
    width: int, classes: int, optimizer: str
):
    only, history = trained(1, width, classes, optimizer)
    five, together = trained(5, width, classes, optimizer)
    assert torch.equal(only.weight[0], five.weight[0]) and torch.equal(only.bias[0], five.bias[0])
    assert [e.replicates[0] for e in history] == [e.replicates[0] for e in together]
    inputs, _ = table(19, width, classes)
    with one_thread():  # as an experiment scores; two threads may divide five products otherwise
        assert torch.equal(only.eval()(inputs)[0], five.eval()(inputs)[0])


def test_replicates_differ_and_their_mean_is_reported():
    heads, history = trained(5, 40, 3, "adam")
    losses = [scores.val.loss for scores in history[-1].replicates]
    assert len(set(losses)) == 5
    assert history[-1].val.loss == pytest.approx(sum(losses) / 5)
    assert len({tuple(weight.flatten().tolist()) for weight in heads.weight}) == 5


def test_consecutive_seeds_share_no_replicate():
    drawn = [seeds for seed in range(20) for seeds in replicate_seeds(seed, 5)]
    for part in ("init", "shuffle", "dropout"):
        assert len({getattr(seeds, part) for seeds in drawn}) == 100
    assert replicate_seeds(3, 5)[:2] == replicate_seeds(3, 2)


def test_weights_are_drawn_as_by_a_linear_layer():
    heads = Heads(400, 50, 0.0, replicate_seeds(1, 5))
    bound = 1 / 20
    for tensor in (heads.weight, heads.bias):
        assert tensor.abs().max() <= bound
        assert tensor.std().item() == pytest.approx(bound / 3**0.5, rel=0.1)
    state = torch.get_rng_state()
    Heads(400, 50, 0.0, replicate_seeds(1, 5))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("rate", [1e-6, 0.2, 0.5, 0.999])
def test_dropout_zeroes_its_share_in_every_replicate_and_keeps_the_mean(rate: float):
    heads = Heads(1280, 3, rate, replicate_seeds(0, 3))
    shape = torch.Size((3, 200, 1280))
    mask, scale = heads.dropout_mask(shape)
    dropped = (~mask).float().mean((1, 2))
    spread = 4 * (rate * (1 - rate) / (200 * 1280)) ** 0.5 + 2 / 2**16
    assert ((dropped - rate).abs() < spread).all()
    assert scale * mask.float().mean().item() == pytest.approx(1, abs=0.15)
    assert not torch.equal(mask[0], mask[1])
    assert not torch.equal(mask, heads.dropout_mask(shape)[0])


def test_without_dropout_and_in_evaluation_nothing_is_dropped():
    features, _ = table(7, 12, 3)
    heads = Heads(12, 3, 0.5, replicate_seeds(0, 2))
    expected = torch.stack([features @ w.T + b for w, b in zip(heads.weight, heads.bias)])  # noqa: B905
    assert torch.allclose(heads.eval()(features), expected, atol=1e-6)
    assert not torch.allclose(heads.train()(features), expected, atol=1e-3)
    heads.dropout = 0.0
    assert torch.allclose(heads(features), expected, atol=1e-6)


def test_gradients_of_many_classes_are_those_of_autograd():
    heads = Heads(12, 100, 0.3, replicate_seeds(4, 3))
    assert heads.has_many_classes
    inputs, labels = torch.randn(3, 8, 12, requires_grad=True), torch.randint(100, (3, 8))
    torch.nn.functional.cross_entropy(heads(inputs).flatten(0, 1), labels.flatten()).backward()

    heads.sources = Heads(12, 100, 0.3, replicate_seeds(4, 3)).sources  # the same mask again
    mask, scale = heads.dropout_mask(inputs.shape)
    same, weight, bias = (t.detach().requires_grad_() for t in (inputs, heads.weight, heads.bias))
    logits = torch.einsum("hnw,hcw->hnc", scale * mask * same, weight) + bias.unsqueeze(1)
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten()).backward()
    for ours, expected in zip(
        (inputs, heads.weight, heads.bias), (same, weight, bias), strict=True
    ):
        torch.testing.assert_close(ours.grad, expected.grad)


@pytest.mark.parametrize(("classes", "fused"), [(99, False), (100, True)])
def test_one_kernel_updates_the_weights_of_many_classes(classes: int, fused: bool):
    heads = Heads(16, classes, 0.0, replicate_seeds(0, 2))
    optimizer = make_optimizer(OPTIMIZERS["adam"], heads)
    assert bool(optimizer.param_groups[0].get("fused")) == fused
