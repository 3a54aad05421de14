"""The linear probe: the optimum of its objective, its penalty, and runs that consist of it."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file

from visionsweep.config.schema import (
    Config,
    DataConfig,
    EvidenceConfig,
    FeaturesConfig,
    ModelConfig,
)
from visionsweep.config.schema import TrainingConfig as Training
from visionsweep.experiment import run_experiment
from visionsweep.runs import logits
from visionsweep.training.linear_probe import FOLDS, LinearProbe, folds, solve


def clouds(images: int, width: int, *, classes: int = 3, distance: float = 2.0, seed: int = 0):
    """Return points around one center per class, and their labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(images) % classes
    centers = distance * torch.randn(classes, width, generator=generator)
    return centers[labels] + torch.randn(images, width, generator=generator), labels


def gradient(
    probe: LinearProbe,
    features: torch.Tensor,
    labels: torch.Tensor,
    class_weights: torch.Tensor | None = None,
    head: int = 0,
) -> float:
    """Return the largest derivative of the penalized loss at a head's weights, by autograd."""
    weight = probe.weight[head].double().requires_grad_()
    bias = probe.bias[head].double().requires_grad_()
    logits = features.double() @ weight.T + bias
    loss = F.cross_entropy(
        logits, labels, weight=None if class_weights is None else class_weights.double()
    )
    (loss + probe.penalty / 2 * weight.square().sum()).backward()
    assert weight.grad is not None and bias.grad is not None
    return float(max(weight.grad.abs().max(), bias.grad.abs().max()))


@pytest.mark.parametrize(("images", "width"), [(40, 90), (200, 12)])
@pytest.mark.parametrize(
    "weights", [None, torch.tensor([1.0, 3.0, 0.5])], ids=["equal", "weighted"]
)
def test_probe_is_the_minimum_of_the_penalized_loss(images, width, weights):
    features, labels = clouds(images, width, distance=0.3)
    probe = solve(features + 5, labels, 3, weights)  # a mean that the penalty must not see
    assert probe.weight.shape == (1, 3, width) and probe.bias.shape == (1, 3)
    assert gradient(probe, features + 5, labels, weights) < 3e-5


@pytest.mark.parametrize("weights", [None, torch.tensor([1.0, 3.0, 0.5])])
def test_heads_of_samples_are_minima_on_these_and_leave_the_probe_as_it_is(weights):
    features, labels = clouds(60, 20, distance=0.3)
    samples = torch.randint(60, (3, 60), generator=torch.Generator().manual_seed(0))
    alone, probe = (solve(features, labels, 3, weights, rows) for rows in (None, samples))
    assert probe.weight.shape == (4, 3, 20) and probe.penalty == alone.penalty
    assert torch.equal(probe.weight[:1], alone.weight) and torch.equal(probe.bias[:1], alone.bias)
    for head, rows in enumerate(samples, start=1):
        assert gradient(probe, features[rows], labels[rows], weights, head) < 3e-5
        assert gradient(probe, features, labels, weights, head) > 1e-3


def test_heads_of_folds_may_train_on_further_images():
    features, labels = clouds(60, 80, distance=0.3)
    samples = torch.randint(60, (2, 45), generator=torch.Generator().manual_seed(0))
    alone = solve(features[:45], labels[:45], 3)
    probe = solve(features, labels, 3, samples=samples, images=45)
    assert torch.equal(probe.weight[:1], alone.weight) and probe.penalty == alone.penalty
    for head, rows in enumerate(samples, start=1):
        assert gradient(probe, features[rows], labels[rows], None, head) < 3e-5


def test_heads_of_views_are_minima_over_all_views():
    features, labels = clouds(45, 20, distance=0.3)
    views = features.unsqueeze(1) + 0.1 * torch.randn(45, 3, 20)
    samples = torch.randint(45, (1, 45), generator=torch.Generator().manual_seed(0))
    probe = solve(views, labels, 3, samples=samples)
    rows, repeated = views.flatten(0, 1), labels.repeat_interleave(3)
    assert gradient(probe, rows, repeated) < 3e-5
    own = samples[0]
    rows, repeated = views[own].flatten(0, 1), labels[own].repeat_interleave(3)
    assert gradient(probe, rows, repeated, head=1) < 3e-5
    alone = solve(features, labels, 3)
    copies = solve(features.unsqueeze(1).expand(-1, 3, -1), labels, 3)
    assert copies.penalty == alone.penalty
    torch.testing.assert_close(copies.weight, alone.weight, rtol=0, atol=1e-4)


def test_features_without_information_are_penalized_down_to_guessing():
    noise = torch.randn(90, 200, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(90) % 3
    probe = solve(noise, labels, 3)
    assert probe.loss < math.log(3) + 0.05
    assert (
        F.cross_entropy(noise @ probe.weight[0].T + probe.bias[0], labels) > 0.7
    )  # not learned by heart


def test_penalty_is_weaker_for_features_that_tell_classes_apart():
    clear, labels = clouds(90, 20, distance=1.5)
    vague, _ = clouds(90, 20, distance=0.1)
    assert solve(clear, labels, 3).penalty < solve(vague, labels, 3).penalty
    new, truth = clouds(300, 20, distance=1.5)
    probe = solve(clear, labels, 3)
    assert (new @ probe.weight[0].T + probe.bias[0]).argmax(1).eq(truth).float().mean() > 0.95


def test_folds_hold_equal_shares_of_each_class_and_no_class_as_a_whole():
    labels = torch.tensor([0] * 12 + [1] * 2 + [2])
    fold = folds(labels)
    assert fold[-1] == -1
    for label, images in ((0, 12), (1, 2)):
        counts = torch.bincount(fold[labels == label], minlength=FOLDS)
        assert counts.sum() == images and counts.max() - counts.min() <= 1


def test_one_image_per_class_and_constant_features_are_solved():
    features, labels = clouds(3, 8)
    probe = solve(features, labels, 3)
    assert math.isnan(probe.loss)
    assert (features @ probe.weight[0].T + probe.bias[0]).argmax(1).equal(labels)
    probe = solve(torch.ones(6, 4), torch.tensor([0, 0, 0, 0, 1, 2]), 3)
    shares = (probe.weight[0].sum(1) + probe.bias[0]).softmax(0)
    assert shares.tolist() == pytest.approx([4 / 6, 1 / 6, 1 / 6], abs=1e-4)


# -------------------------------------------------------------------------------------- a run


@pytest.fixture
def config(tmp_path: Path, make_config: Callable[..., Config]) -> Config:
    """A configuration of a linear probe on a random resnet18, over small noisy pictures."""
    generator = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 4), ("test", 4)):
        for index, name in enumerate(("cat", "dog")):
            folder = tmp_path / "pictures" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(12 * index, 12 * index + 200, (40, 40, 3))
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    return replace(
        make_config(),
        model=ModelConfig(label="resnet18", name="resnet18", weights=None),
        data=DataConfig(label="folder", source="folder", root=str(tmp_path / "pictures")),
        training=Training("linear_probe", True, linear_probe="only", replicates=1),
        features=FeaturesConfig(cache_dir=str(tmp_path / "cache")),
        epochs=1,
        sweep_dir=str(tmp_path / "outputs"),
    )


def test_run_of_a_probe_has_its_weights_and_scores(config, tmp_path):
    record = run_experiment(config, tmp_path / "outputs" / "a", "a")
    assert record.status == "completed" and record.is_solved
    (epoch,) = record.history
    assert epoch.learning_rate == 0 and len(epoch.replicates) == 1
    assert record.evaluation["val"]["loss"].value == pytest.approx(epoch.val.loss, rel=1e-5)
    assert epoch.train.loss < epoch.val.loss < 2
    weights = load_file(tmp_path / "outputs" / "a" / "head.safetensors")
    assert weights["head.weight"].shape == (1, 2, 512)
    losses = logits.read(tmp_path / "outputs" / "a", record, ["val"])["val"].bootstrap
    assert losses.shape == (8, 8) and len(np.unique(losses, axis=0)) > 4


@pytest.mark.parametrize("when", ["only", "first"])
def test_a_cross_fitted_probe_has_the_weights_of_one_that_is_not(config, tmp_path, when):
    training = replace(config.training, linear_probe=when, schedule="cosine")
    config = replace(config, training=training, batch_size=5)
    cross_fitted = replace(config, evidence=EvidenceConfig("cross_fit", 0))
    records = [
        run_experiment(each, tmp_path / "outputs" / name, name)
        for name, each in (("holdout", config), ("cross_fit", cross_fitted))
    ]
    first, second = (load_file(tmp_path / "outputs" / r.name / "head.safetensors") for r in records)
    assert all(torch.equal(first[name], second[name]) for name in ("head.weight", "head.bias"))
    assert records[1].data.counts["cross_fit"] == 24 and records[1].deployed["cross_fit"]


def test_settings_of_training_in_steps_do_not_matter_to_a_probe(config, tmp_path):
    first = run_experiment(config, tmp_path / "outputs" / "a", "a")
    other = replace(
        config, seed=7, batch_size=5, optimizer=replace(config.optimizer, name="SGD", lr=0.3)
    )
    second = run_experiment(other, tmp_path / "outputs" / "b", "b")
    assert second.fingerprint == first.fingerprint and second.metrics == first.metrics
    again = run_experiment(other, tmp_path / "outputs" / "a", "a")
    assert again.started == first.started  # finished earlier
    balanced = replace(config, training=replace(config.training, class_weights="balanced"))
    assert run_experiment(balanced, tmp_path / "c", "c").fingerprint != first.fingerprint


def test_heads_that_start_from_the_probe_begin_with_its_weights(config, tmp_path):
    probe = run_experiment(config, tmp_path / "outputs" / "a", "a")
    tiny = replace(config.optimizer, lr=1e-12)
    started = replace(
        config, optimizer=tiny, training=replace(config.training, linear_probe="first")
    )
    trained = run_experiment(replace(started, replicates=2), tmp_path / "outputs" / "b", "b")
    for scores in trained.history[0].replicates:
        assert scores.val.loss == pytest.approx(probe.history[0].val.loss, rel=1e-4)
    weights = [
        load_file(tmp_path / "outputs" / name / "head.safetensors")["head.weight"] for name in "ab"
    ]
    assert torch.allclose(weights[1], weights[0].expand_as(weights[1]), atol=1e-6)
