"""Class weights, focal loss, and balanced sampling against imbalance."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from visionsweep.analysis.metrics import confusion
from visionsweep.analysis.per_class import balanced_accuracy
from visionsweep.config.schema import TrainingConfig
from visionsweep.data.dataset import random_order
from visionsweep.models.heads import Heads
from visionsweep.models.seeds import replicate_seeds
from visionsweep.training import loop
from visionsweep.training.batches import SplitBatches, TensorBatches
from visionsweep.training.objective import (
    Objective,
    balanced_weights,
    cross_entropy,
    objective_of,
    sampling_weights,
)

CPU = torch.device("cpu")
PLAIN = TrainingConfig(name="head", freeze_backbone=True, replicates=2)
IMBALANCED = {
    "weights": replace(PLAIN, class_weights="balanced"),
    "sampling": replace(PLAIN, sampling="balanced"),
}


def test_balanced_weights_are_inverse_to_the_images_of_a_class():
    weights = balanced_weights([0] * 6 + [2] * 2, 3)
    assert weights.tolist() == pytest.approx([8 / 12, 0, 2])
    assert weights[torch.tensor([0] * 6 + [2] * 2)].mean() == pytest.approx(1)


def test_weighted_loss_is_that_of_torch():
    logits, labels = torch.randn(2, 9, 3, generator=torch.manual_seed(0)), torch.arange(9) % 3
    objective = objective_of(IMBALANCED["weights"], [0, 0, 0, 1, 2, 2], 3)
    ours = objective(cross_entropy(logits, labels), labels, logits)
    for replicate in range(2):
        expected = F.cross_entropy(
            logits[replicate], labels, weight=objective.class_weights, reduction="none"
        )
        assert torch.allclose(ours[replicate], expected)


def test_focal_loss_is_that_of_its_definition():
    logits, labels = torch.randn(1, 9, 3, generator=torch.manual_seed(0)), torch.arange(9) % 3
    objective = objective_of(replace(PLAIN, focal_gamma=2.0), labels.tolist(), 3)
    p = logits[0].softmax(1)[torch.arange(9), labels]
    ours = objective(cross_entropy(logits, labels), labels, logits)
    assert torch.allclose(ours[0], -((1 - p) ** 2) * p.log(), atol=1e-6)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_loss_of_a_certain_image_has_no_gradient(gamma):
    logits = torch.tensor([[[200.0, 0.0], [0.0, 1.0]]], requires_grad=True)
    labels = torch.tensor([0, 0])
    objective = objective_of(replace(PLAIN, focal_gamma=gamma), [0, 1], 2)
    objective(cross_entropy(logits, labels), labels, logits).sum().backward()
    assert logits.grad[0, 0].tolist() == [0, 0]
    assert logits.grad[0, 1].abs().min() > 0


def test_by_default_the_loss_is_the_cross_entropy_itself():
    losses = torch.rand(2, 5)
    labels, logits = torch.zeros(5, dtype=torch.int64), torch.rand(2, 5, 2)
    assert objective_of(PLAIN, [0, 1, 0], 2)(losses, labels, logits) is losses


def test_smoothing_of_labels_is_that_of_torch():
    logits, labels = torch.randn(2, 9, 3, generator=torch.manual_seed(0)), torch.arange(9) % 3
    smoothed = objective_of(replace(PLAIN, label_smoothing=0.1), labels.tolist(), 3)
    ours = smoothed(cross_entropy(logits, labels), labels, logits)
    for replicate in range(2):
        expected = F.cross_entropy(logits[replicate], labels, label_smoothing=0.1, reduction="none")
        assert torch.allclose(ours[replicate], expected, atol=1e-6)


@pytest.mark.parametrize("weights", [None, torch.tensor([0.5, 1.0, 2.0])])
def test_mixed_images_have_the_mean_loss_of_their_labels(weights):
    recipe = TrainingConfig(mixup=0.4)
    torch.manual_seed(0)
    images, labels = torch.eye(4).view(4, 1, 2, 2), torch.tensor([0, 1, 2, 0])
    mixed, both = objective_of(recipe, labels.tolist(), 3).mix(images, labels)
    share = mixed[0, 0, 0, 0]  # of the image itself, the rest being that of its neighbor
    assert 0 < share < 1 and not torch.equal(mixed, images)
    logits = torch.randn(1, 4, 3)
    objective = Objective(class_weights=weights)
    loss = objective(cross_entropy(logits, both), both, logits)
    of_one = torch.ones(3) if weights is None else weights
    for row in range(4):
        own, other = (labels[row], labels[row - 1])
        ours, theirs = (cross_entropy(logits, label.repeat(4))[0, row] for label in (own, other))
        weight = share * of_one[own] + (1 - share) * of_one[other]
        expected = weight * (share * ours + (1 - share) * theirs)
        assert loss[0, row].item() == pytest.approx(expected.item(), rel=1e-5)


def test_balanced_sampling_draws_each_class_equally_often():
    labels = [0] * 90 + [1] * 10
    weights = sampling_weights(IMBALANCED["sampling"], labels, 2)
    drawn = [random_order(100, weights, torch.Generator().manual_seed(s)) for s in range(50)]
    counts = Counter(labels[place] for order in drawn for place in order.tolist())
    assert counts[1] / 5000 == pytest.approx(0.5, abs=0.03)
    assert sampling_weights(PLAIN, labels, 2) is None


def train(config: TrainingConfig) -> float:
    """Train heads on two overlapping classes, 20 to 1; return the balanced accuracy."""
    source = np.random.default_rng(0)

    def draw(counts):
        labels = np.repeat([0, 1], counts)
        features = source.normal(size=(len(labels), 8)).astype(np.float32)
        features[:, 0] += 1.5 * labels
        return torch.from_numpy(features), torch.from_numpy(labels)

    inputs, labels = draw((200, 10))
    seeds = replicate_seeds(0, 2)
    heads = Heads(8, 2, 0.0, seeds)
    shuffle = [torch.Generator().manual_seed(seed.shuffle) for seed in seeds]
    weights = sampling_weights(config, labels.tolist(), 2)
    test = draw((500, 500))
    batches = TensorBatches(*test, 1000)
    split = SplitBatches(TensorBatches(inputs, labels, 32, shuffle, weights), batches, batches)
    optimizer = torch.optim.Adam(heads.parameters(), lr=0.05)
    objective = objective_of(config, labels.tolist(), 2)
    loop.fit(heads, split, optimizer, 20, CPU, lambda _: None, objective=objective)
    predicted = heads.eval()(test[0]).softmax(2).mean(0).argmax(1).numpy()
    return balanced_accuracy(confusion(test[1].numpy(), predicted, 2))


@pytest.mark.parametrize("config", IMBALANCED.values(), ids=IMBALANCED)
def test_class_weights_and_balanced_sampling_raise_balanced_accuracy(config):
    assert train(config) > train(PLAIN) + 0.1
