"""Frozen means frozen; unfrozen means that everything trains."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from visionsweep.config.schema import ModelConfig, OptimizerConfig
from visionsweep.models import backbone_spec, backbones, classifier
from visionsweep.models.classifier import Classifier
from visionsweep.models.heads import Heads
from visionsweep.models.seeds import replicate_seeds
from visionsweep.models.summary import count_parameters
from visionsweep.training import loop
from visionsweep.training.batches import TensorBatches
from visionsweep.training.optimizers import make_optimizer


@pytest.fixture(scope="module")
def resnet() -> backbones.Backbone:
    config = ModelConfig(label="resnet18", name="resnet18", weights=None)
    return backbones.build(backbone_spec.resolve_backbone(config, random_if_unavailable=False), 32)


@pytest.fixture
def make(resnet):
    """Put a head on a copy of a small real backbone."""

    def make(*, frozen: bool, dropout: float | None = None) -> Classifier:
        torch.manual_seed(0)
        copied = backbones.Backbone(
            copy.deepcopy(resnet.module), resnet.width, resnet.dropout, resnet.spec
        )
        return classifier.build(copied, 3, dropout=dropout, frozen=frozen)

    return make


@pytest.fixture
def batches() -> TensorBatches:
    images = torch.randn(12, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 + 1
    return TensorBatches(images, torch.arange(12) % 3, 4)


def train(model: Classifier, batches: TensorBatches, epochs: int = 2) -> None:
    optimizer = make_optimizer(OptimizerConfig(name="Adam", lr=0.01), model)
    for _ in range(epochs):
        loop.train_one_epoch(model, batches, optimizer, torch.device("cpu"))


def changed(before: dict, after: dict) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_frozen_backbone_has_no_gradients(make, batches):
    model = make(frozen=True)
    images, labels = next(iter(batches))
    F.cross_entropy(model(images)[0], labels).backward()
    assert not any(p.requires_grad or p.grad is not None for p in model.backbone.parameters())
    assert all(p.grad is not None for p in model.head.parameters())


def test_frozen_backbone_stays_in_evaluation_mode_when_the_classifier_trains(make):
    model = make(frozen=True)
    for put in (
        lambda: model.train(),
        lambda: model.train(True),
        lambda: nn.Sequential(model).train(),
    ):
        put()
        assert model.training and model.head.training
        assert not any(m.training for m in model.backbone.modules())
    model.eval()
    assert not any(m.training for m in model.modules())


def test_frozen_backbone_keeps_its_batchnorm_statistics(make, batches):
    model = make(frozen=True)
    before = {name: buffer.clone() for name, buffer in model.backbone.named_buffers()}
    assert any("running_mean" in name for name in before)
    train(model, batches)
    assert changed(before, dict(model.backbone.named_buffers())) == set()


def test_training_changes_the_head_and_no_bit_of_a_frozen_backbone(make, batches):
    model = make(frozen=True)
    before = copy.deepcopy(model.state_dict())
    train(model, batches)
    assert changed(before, model.state_dict()) == {"head.weight", "head.bias"}


def test_optimizer_of_a_frozen_classifier_has_only_the_head(make):
    model = make(frozen=True)
    optimizer = make_optimizer(OptimizerConfig(name="Adam", lr=0.01), model)
    seen = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert seen == {id(p) for p in model.head.parameters()}


def test_unfrozen_classifier_trains_all_parameters(make, batches):
    model = make(frozen=False)
    before = copy.deepcopy(model.state_dict())
    assert all(m.training for m in model.modules())
    train(model, batches)
    assert changed(before, model.state_dict()) == set(before)
    trainable, total = count_parameters(model)
    assert trainable == total


def test_a_backbone_that_was_frozen_once_can_be_unfrozen(resnet):
    module = copy.deepcopy(resnet.module)
    Classifier(module, Heads(512, 3, 0.0, replicate_seeds(0, 1)), frozen=True)
    model = Classifier(module, Heads(512, 3, 0.0, replicate_seeds(0, 1)), frozen=False)
    assert all(p.requires_grad for p in model.parameters())
    assert all(m.training for m in model.modules())


def test_frozen_classifier_is_its_head_on_the_features_of_its_backbone(make, batches):
    model = make(frozen=True).eval()
    images, _ = next(iter(batches))
    assert torch.equal(model(images), model.head(model.backbone(images).flatten(1)))


@pytest.mark.parametrize(("asked", "expected"), [(None, 0.0), (0.4, 0.4), (0.0, 0.0)])
def test_dropout_is_that_of_the_original_model_by_default(make, asked, expected):
    assert make(frozen=True, dropout=asked).head.dropout == expected


def test_dropout_of_zero_is_not_taken_for_the_default():
    original = backbones.Backbone(nn.Flatten(), 12, 0.3, spec=None)
    assert classifier.build(original, 2, dropout=None, frozen=True).head.dropout == 0.3
    assert classifier.build(original, 2, dropout=0.0, frozen=True).head.dropout == 0.0


def test_parameters_are_counted_trainable_and_all(make):
    trainable, total = count_parameters(make(frozen=True))
    assert trainable == 512 * 3 + 3
    assert total == 11_176_512 + trainable
