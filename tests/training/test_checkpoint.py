"""A run taken up after its checkpoint ends as one that was never cut off, to the last bit."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from visionsweep.config.schema import OptimizerConfig
from visionsweep.data.dataset import ImageBatches, ImageDataset
from visionsweep.data.images import ImageFile, digest_of
from visionsweep.data.transforms import resized
from visionsweep.models.classifier import Classifier
from visionsweep.models.heads import Heads
from visionsweep.models.seeds import seeds_of
from visionsweep.training import loop
from visionsweep.training.batches import SplitBatches, TensorBatches
from visionsweep.training.checkpoint import Checkpoint, Progress, Trained

OPTIMIZERS = {
    "Adam": OptimizerConfig("Adam", 0.01, 0.01),
    "AdamW": OptimizerConfig("AdamW", 0.01, 0.01, weight_decay=0.1),
    "SGD": OptimizerConfig("SGD", 0.1, 0.1, momentum=0.9),
    "plain SGD": OptimizerConfig("SGD", 0.1, 0.1),
}
CPU = torch.device("cpu")


def heads(optimizer: str):
    """Heads on features: what is trained, and its batches."""
    inputs = torch.randn(20, 6, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(20) % 3
    seeds = seeds_of(1, 3)
    orders = [torch.Generator().manual_seed(seed.order) for seed in seeds]
    module = Heads(6, 3, 0.3, seeds)
    scored = TensorBatches(inputs, labels, 20)
    batches = SplitBatches(TensorBatches(inputs, labels, 8, orders), scored, scored)
    made = loop.make_optimizer(OPTIMIZERS[optimizer], module)
    return Trained(module, made, orders), batches


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
    """A backbone with all that has state: convolution, BatchNorm, dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(),
            torch.nn.Dropout(0.3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
        )  # fmt: skip

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images)


def fine_tuning(pictures, workers: int = 0):
    """A whole network on augmented images."""
    seeds = seeds_of(2, 1)
    orders = [torch.Generator().manual_seed(seeds[0].order)]
    loop.seed_everything(7)
    module = Classifier(_Small(), Heads(4, 2, 0.2, seeds), frozen=False)
    transform = resized(16)

    def loader(augmentation: str, shuffle=None):
        data = ImageDataset(pictures, transform.build(augmentation))
        return ImageBatches(data, 4, shuffle=shuffle, workers=workers if shuffle else 0)

    batches = SplitBatches(loader("trivial_augment", orders[0]), loader("none"), loader("none"))
    return Trained(module, loop.make_optimizer(OPTIMIZERS["Adam"], module), orders), batches


def cut_off(make, tmp_path: Path, *, after: int, epochs: int = 6):
    """Train at one go, and again with a cut; return both, with their histories."""
    whole, batches = make()
    straight = loop.fit(whole.module, batches, whole.optimizer, epochs, CPU, lambda epoch: None)

    first, batches = make()
    checkpoint = Checkpoint(tmp_path, every=0)
    history: list = []

    def on_epoch(epoch):
        history.append(epoch)
        if len(history) == after:
            checkpoint.write(first, Progress("f" * 32, {}, history))

    loop.fit(first.module, batches, first.optimizer, after + 1, CPU, on_epoch)

    second, batches = make()
    checkpoint = Checkpoint(tmp_path, every=0)
    done = checkpoint.read()
    assert done is not None and len(done.history) == after
    assert checkpoint.restore(second)
    continued = loop.fit(
        second.module, batches, second.optimizer, epochs, CPU, lambda epoch: None, done.history
    )
    return (whole, straight), (second, continued)


def assert_equal(one, other):
    (a, straight), (b, continued) = one, other
    assert [e.epoch for e in continued] == [e.epoch for e in straight]
    assert [(e.train, e.val, e.test) for e in continued] == [
        (e.train, e.val, e.test) for e in straight
    ]
    for name, tensor in a.module.state_dict().items():
        assert torch.equal(tensor, b.module.state_dict()[name]), name


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("after", [1, 5])
def test_heads_taken_up_end_with_the_weights_of_heads_never_cut_off(tmp_path, optimizer, after):
    assert_equal(*cut_off(lambda: heads(optimizer), tmp_path, after=after))


def test_a_fine_tuned_network_on_augmented_images_does_so_too(tmp_path, pictures):
    assert_equal(*cut_off(lambda: fine_tuning(pictures), tmp_path, after=2, epochs=4))


def test_so_it_does_where_other_processes_decode_and_augment(tmp_path, pictures):
    assert_equal(*cut_off(lambda: fine_tuning(pictures, workers=2), tmp_path, after=2, epochs=3))


def test_a_checkpoint_that_leaves_out_a_source_of_chance_would_be_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(Trained, "_generators", [])
    one, other = cut_off(lambda: heads("Adam"), tmp_path, after=2)
    with pytest.raises(AssertionError):
        assert_equal(one, other)


def test_a_frozen_backbone_is_not_in_the_checkpoint(tmp_path):
    module = Classifier(_Small(), Heads(4, 2, 0.2, seeds_of(2, 2)), frozen=True)
    trained = Trained(module, loop.make_optimizer(OPTIMIZERS["Adam"], module), [])
    assert set(trained.tensors()) == {"head.weight", "head.bias"}


@pytest.mark.parametrize("damage", ["truncated", "not ours", "of another network"])
def test_a_damaged_checkpoint_is_said_and_not_used(tmp_path, damage, caplog):
    trained, _ = heads("Adam")
    checkpoint = Checkpoint(tmp_path, every=0)
    checkpoint.write(trained, Progress("f" * 32, {}))
    path = tmp_path / "checkpoint.safetensors"
    if damage == "of another network":
        other = Heads(5, 3, 0.0, seeds_of(0, 1))
        assert not checkpoint.restore(
            Trained(other, loop.make_optimizer(OPTIMIZERS["Adam"], other), [])
        )
    else:
        path.write_bytes(path.read_bytes()[:100] if damage == "truncated" else b"{}")
        assert checkpoint.read() is None
    assert "begins anew" in caplog.text


def test_none_is_no_progress_and_writing_waits_for_its_time(tmp_path):
    checkpoint = Checkpoint(tmp_path, every=3600)
    assert checkpoint.read() is None and not checkpoint.due
    assert Checkpoint(tmp_path, every=0).due
    checkpoint.remove()


HARM = {
    "an extra tensor": lambda tensors, plain: tensors.update(extra=torch.zeros(1)),
    "another type": lambda tensors, plain: tensors.update(
        {"trained.head.bias": tensors["trained.head.bias"].double()}
    ),
    "no number": lambda tensors, plain: tensors["trained.head.bias"].fill_(float("nan")),
    "a moment of another shape": lambda tensors, plain: tensors.update(
        {"optimizer.0.exp_avg": torch.zeros(9)}
    ),
    "a moment of no parameter": lambda tensors, plain: tensors.update(
        {"optimizer.99.exp_avg": torch.zeros(9)}
    ),
    "no random numbers": lambda tensors, plain: tensors.pop("random.torch"),
    "random numbers of another kind": lambda tensors, plain: plain.update(numpy=["PCG64", 0, 0, 0]),
    "random numbers too large": lambda tensors, plain: plain["python"].__setitem__(
        1, [2**40] * 625
    ),
    "nested deep": lambda tensors, plain: plain.update(optimizer={"0.step": [[[[]]]]}),
}


@pytest.mark.parametrize("harm", HARM.values(), ids=HARM)
def test_a_checkpoint_that_no_run_left_is_said_and_changes_nothing(tmp_path, harm, caplog):
    trained, batches = heads("Adam")
    loop.fit(trained.module, batches, trained.optimizer, 1, CPU, lambda epoch: None)
    checkpoint = Checkpoint(tmp_path, every=0)
    checkpoint.write(trained, Progress("f" * 32, {}))
    with safe_open(checkpoint.path, framework="pt") as opened:
        facts = opened.metadata()
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    plain = json.loads(facts["plain"])
    harm(tensors, plain)
    save_file(tensors, checkpoint.path, facts | {"plain": json.dumps(plain)})
    fresh, _ = heads("Adam")
    before = {name: tensor.clone() for name, tensor in fresh.tensors().items()}
    drawn = torch.get_rng_state()
    assert not checkpoint.restore(fresh)
    assert "begins anew" in caplog.text and torch.equal(torch.get_rng_state(), drawn)
    assert all(torch.equal(before[name], tensor) for name, tensor in fresh.tensors().items())


def test_progress_that_is_none_and_a_checkpoint_that_is_a_fifo_begin_anew(tmp_path, caplog):
    trained, _ = heads("Adam")
    checkpoint = Checkpoint(tmp_path, every=0)
    for progress in ('{"fingerprint":"f"}', "[" * 100_000, '{"fingerprint":"%s"}' % ("f" * 32)):
        save_file(trained.tensors(), checkpoint.path, {"progress": progress})
        assert checkpoint.read() is None
    checkpoint.remove()
    os.mkfifo(checkpoint.path)
    assert checkpoint.read() is None and "is a FIFO" in caplog.text
