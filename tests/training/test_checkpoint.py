"""A resumed run ends bitwise identical to one that was never interrupted."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from visionsweep.config.schema import AugmentationConfig, OptimizerConfig, TrainingConfig
from visionsweep.data.dataset import ImageBatches, ImageDataset
from visionsweep.data.images import ImageFile, digest_of
from visionsweep.data.transforms import build_augmentation, resized
from visionsweep.models.classifier import Classifier
from visionsweep.models.heads import Heads
from visionsweep.models.seeds import replicate_seeds
from visionsweep.training import loop
from visionsweep.training.batches import SplitBatches, TensorBatches
from visionsweep.training.checkpoint import Progress, read_checkpoint, write_checkpoint
from visionsweep.training.objective import objective_of
from visionsweep.training.optimizers import averaged, make_optimizer
from visionsweep.training.train_state import TrainState
from visionsweep.training.updates import Updates

OPTIMIZERS = {
    "Adam": OptimizerConfig("Adam", 0.01, 0.01),
    "AdamW": OptimizerConfig("AdamW", 0.01, 0.01, weight_decay=0.1),
    "SGD": OptimizerConfig("SGD", 0.1, 0.1, momentum=0.9),
    "plain SGD": OptimizerConfig("SGD", 0.1, 0.1),
}
CPU = torch.device("cpu")


def heads(optimizer: str):
    """Return the training state of heads on features, and their batches."""
    inputs = torch.randn(20, 6, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(20) % 3
    seeds = replicate_seeds(1, 3)
    generators = [torch.Generator().manual_seed(seed.shuffle) for seed in seeds]
    module = Heads(6, 3, 0.3, seeds)
    scored = TensorBatches(inputs, labels, 20)
    batches = SplitBatches(TensorBatches(inputs, labels, 8, generators), scored, scored)
    made = make_optimizer(OPTIMIZERS[optimizer], module)
    return TrainState(module, made, generators), batches


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> list[ImageFile]:
    folder, random = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    files = []
    for number in range(10):
        path = folder / f"{number}.png"
        Image.fromarray(random.integers(0, 255, (24, 24, 3), np.uint8)).save(path)
        files.append(ImageFile(path, number % 2, digest_of(path.read_bytes())))
    return files


class _Small(torch.nn.Module):
    """A backbone with every kind of state: convolution, BatchNorm, dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(),
            torch.nn.Dropout(0.3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
        )  # fmt: skip

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images)


def fine_tuning(pictures, workers: int = 0, recipe: TrainingConfig | None = None, **frozen: bool):
    """Return the training state of a network on augmented images, and its batches."""
    seeds = replicate_seeds(2, 1)
    generators = [torch.Generator().manual_seed(seeds[0].shuffle)]
    loop.seed_everything(7)
    module = Classifier(_Small(), Heads(4, 2, 0.2, seeds), frozen=False, **frozen)
    transform = resized(16)

    def loader(augmentation: str, shuffle=None):
        augmentation = build_augmentation(AugmentationConfig(augmentation))
        data = ImageDataset(pictures, transform.build(augmentation))
        return ImageBatches(data, 4, shuffle=shuffle, workers=workers if shuffle else 0)

    batches = SplitBatches(loader("trivial_augment", generators[0]), loader("none"), loader("none"))
    optimizer = make_optimizer(OPTIMIZERS["Adam"], module, recipe)
    return TrainState(module, optimizer, generators), batches


def interrupt_and_resume(make, tmp_path: Path, *, after: int, epochs: int = 6, **options):
    """Train without interruption, and again with one; return state and history of both."""
    whole, batches = make()
    expected = loop.fit(
        whole.module, batches, whole.optimizer, epochs, CPU, lambda epoch: None,
        scored=lambda: whole.deployed, **options,
    )  # fmt: skip

    first, batches = make()
    path, history = tmp_path / "checkpoint.safetensors", []

    def on_epoch(epoch):
        history.append(epoch)
        if len(history) == after:
            write_checkpoint(path, first.tensors(), Progress("f" * 32, {}, history))
        elif len(history) > after:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        loop.fit(
            first.module, batches, first.optimizer, epochs, CPU, on_epoch,
            scored=lambda: first.deployed, **options,
        )  # fmt: skip

    second, batches = make()
    tensors, progress = read_checkpoint(path)
    assert len(progress.history) == after
    second.load(tensors)
    resumed = loop.fit(
        second.module, batches, second.optimizer, epochs, CPU, lambda epoch: None,
        progress.history, scored=lambda: second.deployed, **options,
    )  # fmt: skip
    return (whole, expected), (second, resumed)


def assert_identical(uninterrupted, resumed):
    (state, history), (resumed_state, resumed_history) = uninterrupted, resumed
    assert [epoch.epoch for epoch in resumed_history] == [epoch.epoch for epoch in history]
    assert [(e.train, e.val, e.test) for e in resumed_history] == [
        (e.train, e.val, e.test) for e in history
    ]
    for name, tensor in state.module.state_dict().items():
        assert torch.equal(tensor, resumed_state.module.state_dict()[name]), name


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("after", [1, 4])
def test_resumed_heads_are_identical_to_uninterrupted_ones(tmp_path, optimizer, after):
    assert_identical(*interrupt_and_resume(lambda: heads(optimizer), tmp_path, after=after))


@pytest.mark.parametrize("workers", [0, 2])
def test_resumed_fine_tuning_on_augmented_images_is_identical(tmp_path, pictures, workers):
    def make():
        return fine_tuning(pictures, workers)

    assert_identical(*interrupt_and_resume(make, tmp_path, after=2, epochs=4))


@pytest.mark.parametrize("kind", ["heads", "network"])
def test_resumed_moving_average_is_identical(tmp_path, pictures, kind):
    def make():
        state, batches = heads("Adam") if kind == "heads" else fine_tuning(pictures)
        average = averaged(state.module, state.optimizer, decay=0.8)
        return replace(state, average=average), batches

    uninterrupted, resumed = interrupt_and_resume(make, tmp_path, after=2, epochs=4)
    assert_identical(uninterrupted, resumed)
    tensors, again = uninterrupted[0].tensors(), resumed[0].tensors()
    for name, average in uninterrupted[0].weights().items():
        assert torch.equal(average, resumed[0].weights()[name]), name
    assert not torch.equal(tensors["average.head.weight"], tensors["weights.head.weight"])
    assert torch.equal(tensors["average.steps"], again["average.steps"])


def test_resumed_training_by_a_schedule_is_identical(tmp_path, pictures):
    def make():
        return fine_tuning(pictures, recipe=TrainingConfig(layer_decay=0.8), freeze_batchnorm=True)

    updates = Updates("cosine", warmup=0.4, clip_norm=0.5)
    runs = interrupt_and_resume(make, tmp_path, after=1, epochs=4, updates=updates)
    assert_identical(*runs)
    assert [e.learning_rate for e in runs[0][1]] == [e.learning_rate for e in runs[1][1]]


def test_resumed_training_on_mixed_images_layer_by_layer_is_identical(tmp_path, pictures):
    recipe = TrainingConfig(gradual_unfreezing=1.0, mixup=0.5, cutmix=1.0)
    options = {"updates": Updates.of(recipe), "objective": objective_of(recipe, [0, 1], 2)}
    runs = interrupt_and_resume(
        lambda: fine_tuning(pictures, recipe=recipe), tmp_path, after=1, epochs=3, **options
    )
    assert_identical(*runs)


@pytest.mark.parametrize("optimizer", ["RMSprop", "NAdam", "Adagrad", "Adafactor", "Rprop"])
def test_state_of_any_torch_optimizer_is_restored(tmp_path, optimizer):
    check_optimizer(getattr(torch.optim, optimizer), tmp_path)


@pytest.mark.parametrize("optimizer", ["Lamb", "Lion", "AdaBelief", "NAdamW"])
def test_state_of_optimizers_of_timm_is_restored(tmp_path, optimizer):
    check_optimizer(getattr(pytest.importorskip("timm.optim"), optimizer), tmp_path)


def check_optimizer(optimizer, tmp_path):
    def make():
        state, batches = heads("Adam")
        made = optimizer(state.module.parameters(), lr=0.01)
        return replace(state, optimizer=made), batches

    assert_identical(*interrupt_and_resume(make, tmp_path, after=2))


def test_checkpoint_without_the_generators_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(TrainState, "_generators", [])
    uninterrupted, resumed = interrupt_and_resume(lambda: heads("Adam"), tmp_path, after=2)
    with pytest.raises(AssertionError):
        assert_identical(uninterrupted, resumed)


def test_frozen_backbone_is_not_part_of_the_state():
    module = Classifier(_Small(), Heads(4, 2, 0.2, replicate_seeds(2, 2)), frozen=True)
    state = TrainState(module, make_optimizer(OPTIMIZERS["Adam"], module), [])
    assert set(state.weights()) == {"head.weight", "head.bias"}


def test_checkpoint_of_another_network_is_refused():
    other = Heads(5, 3, 0.0, replicate_seeds(0, 1))
    state = TrainState(other, make_optimizer(OPTIMIZERS["Adam"], other), [])
    with pytest.raises(ValueError, match=r"random|weights"):
        state.load(heads("Adam")[0].tensors())


HARM = {
    "an extra tensor": lambda tensors: tensors.update(extra=torch.zeros(1)),
    "another type": lambda tensors: tensors.update(
        {"weights.head.bias": tensors["weights.head.bias"].double()}
    ),
    "NaN": lambda tensors: tensors["weights.head.bias"].fill_(float("nan")),
    "an infinite moment": lambda tensors: tensors["optimizer.0.exp_avg"].fill_(float("inf")),
    "a moment of another shape": lambda tensors: tensors.update(
        {"optimizer.0.exp_avg": torch.zeros(9)}
    ),
    "a moment without its step": lambda tensors: tensors.pop("optimizer.0.step"),
    "a moment of no parameter": lambda tensors: tensors.update(
        {"optimizer.99.exp_avg": torch.zeros(9)}
    ),
    "no random numbers": lambda tensors: tensors.pop("random.torch"),
    "random numbers of another size": lambda tensors: tensors.update(
        {"random.torch": torch.zeros(3, dtype=torch.uint8)}
    ),
}


@pytest.mark.parametrize("harm", HARM.values(), ids=HARM)
def test_tensors_of_another_state_are_refused_and_change_nothing(harm):
    trained, batches = heads("Adam")
    loop.fit(trained.module, batches, trained.optimizer, 1, CPU, lambda epoch: None)
    tensors = trained.tensors()
    harm(tensors)
    fresh, _ = heads("Adam")
    before = {name: tensor.clone() for name, tensor in fresh.tensors().items()}
    with pytest.raises((ValueError, KeyError)):
        fresh.load(tensors)
    after = fresh.tensors()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_missing_checkpoint_is_none_without_a_warning(tmp_path, caplog):
    assert read_checkpoint(tmp_path / "checkpoint.safetensors") is None
    assert caplog.text == ""


@pytest.mark.parametrize("content", [b"", b"{}", b"truncated"])
def test_damaged_checkpoint_is_named_and_not_used(tmp_path, content, caplog):
    path = tmp_path / "checkpoint.safetensors"
    write_checkpoint(path, heads("Adam")[0].tensors(), Progress("f" * 32, {}))
    path.write_bytes(path.read_bytes()[:100] if content == b"truncated" else content)
    assert read_checkpoint(path) is None and str(path) in caplog.text


@pytest.mark.parametrize(
    "progress",
    ['{"fingerprint":"f"}', "[" * 100_000, '{"fingerprint":"%s"}' % ("f" * 32), ""],
    ids=["no digest", "nested", "no config", "none"],
)
def test_checkpoint_with_invalid_progress_is_not_used(tmp_path, progress, caplog):
    path = tmp_path / "checkpoint.safetensors"
    save_file(heads("Adam")[0].tensors(), path, {"progress": progress})
    assert read_checkpoint(path) is None and str(path) in caplog.text


def test_checkpoint_of_the_former_format_is_not_used(tmp_path, caplog):
    """The former version named weights `trained.*` and kept optimizer numbers beside them."""
    path = tmp_path / "checkpoint.safetensors"
    tensors = {
        name.replace("weights.", "trained."): t for name, t in heads("Adam")[0].tensors().items()
    }
    progress = '{"fingerprint":"%s","config":{},"history":[],"continued_after":[]}' % ("f" * 32)
    save_file(tensors, path, {"progress": progress, "plain": "{}"})
    read, _ = read_checkpoint(path)
    with pytest.raises(ValueError, match="missing"):
        heads("Adam")[0].load(read)


def test_checkpoint_that_is_a_fifo_is_not_opened(tmp_path, caplog):
    os.mkfifo(tmp_path / "checkpoint.safetensors")
    assert read_checkpoint(tmp_path / "checkpoint.safetensors") is None
    assert "FIFO" in caplog.text
