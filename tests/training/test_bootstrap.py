"""Heads on bootstrap samples of the training images: what they train on, and what they change."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from safetensors.torch import save_file

from visionsweep.config.schema import EvidenceConfig
from visionsweep.data.images import ImageFile, digest_of
from visionsweep.experiment import run_experiment
from visionsweep.runs import logits
from visionsweep.training.batches import TensorBatches
from visionsweep.training.bootstrap import bootstrap_samples, samples_of_heads
from visionsweep.training.checkpoint import read_checkpoint, write_checkpoint


def images(count: int, classes: int = 3, first: int = 0) -> list[ImageFile]:
    numbers = range(first, first + count)
    return [ImageFile(Path(), n % classes, digest_of(str(n).encode())) for n in numbers]


def drawn(files: list[ImageFile], seed: int = 42, samples: int = 8) -> list[Counter[str]]:
    rows = bootstrap_samples(files, seed, samples).tolist()
    return [Counter(files[place].digest for place in row) for row in rows]


def test_sample_has_as_many_images_of_each_class_at_the_places_of_that_class():
    files = images(100)
    samples = bootstrap_samples(files, 42, 8)
    assert samples.shape == (8, 100)
    labels = torch.tensor([image.label for image in files])
    assert (labels[samples] == labels).all()
    assert len({tuple(row) for row in samples.tolist()}) == 8


def test_samples_follow_from_content_and_seed_alone():
    files = images(60)
    shuffled = [files[k] for k in np.random.default_rng(0).permutation(60)]
    assert drawn(files) == drawn(shuffled) != drawn(files, seed=43)
    assert drawn(files, samples=3) == drawn(files)[:3]


def test_images_are_drawn_as_often_as_with_replacement():
    """Of n draws, an image has Binomial(n, 1/n): 36.8% none, variance 1 - 1/n."""
    files = images(200, classes=1)
    counts = np.array([[c[image.digest] for image in files] for c in drawn(files, samples=100)])
    assert counts.sum(1).tolist() == [200] * 100
    assert (counts == 0).mean() == pytest.approx(0.366, abs=0.01)
    assert counts.var() == pytest.approx(0.995, abs=0.03)
    assert np.corrcoef(counts[:, 0], counts[:, 1])[0, 1] == pytest.approx(0, abs=0.3)


def test_samples_of_a_subset_are_nearly_those_of_the_set():
    """Otherwise the difference between two data sizes would have the error of unrelated images."""
    small, large = images(150), images(300)
    pairs = zip(drawn(small), drawn(large), strict=True)
    table = np.array([[[a[i.digest], b[i.digest]] for i in small] for a, b in pairs]).reshape(-1, 2)
    assert np.corrcoef(table.T)[0, 1] > 0.85


def test_images_of_a_group_are_drawn_together():
    files = [replace(image, group=str(k // 5)) for k, image in enumerate(images(100, classes=1))]
    for sample in drawn(files):
        counts = np.array([sample[image.digest] for image in files]).reshape(20, 5)
        assert (np.ptp(counts, axis=1) > 0).sum() <= 1  # the last group to arrive is cut
    alone = [replace(image, group=image.digest[::-1]) for image in files]
    assert drawn(alone) == drawn(images(100, classes=1))


def test_each_head_trains_on_its_own_sample():
    files = images(30)
    rows = samples_of_heads(files, 42, 2, 3)
    orders = [torch.Generator().manual_seed(k) for k in range(5)]
    numbers = torch.arange(30)
    batches = TensorBatches(torch.zeros(30, 1), numbers, 8, orders, samples=rows)
    seen = torch.cat([labels for _, labels in batches], dim=1)
    assert torch.equal(seen.sort(dim=1).values, rows.sort(dim=1).values)
    assert torch.equal(rows[:2], numbers.expand(2, -1)) and len(set(rows[2].tolist())) < 25


def run_of(config, run_dir, heads: int):
    given = replace(config, evidence=EvidenceConfig(training_bootstrap=heads))
    return run_experiment(given, run_dir, "a-run")


def test_bootstrap_heads_change_no_number_of_the_run(config, run_dir):
    none, some = run_dir.with_name("none"), run_dir
    without, beside = run_of(config, none, 0), run_of(config, some, 8)
    assert beside.fingerprint == without.fingerprint
    for name in ("metrics", "evaluation", "deployed", "temperature"):
        assert getattr(beside, name) == getattr(without, name)
    for one, other in zip(beside.history, without.history, strict=True):
        assert (one.train, one.replicates) == (other.train, other.replicates)
    for name in ("head.safetensors", "predictions.csv"):
        assert (some / name).read_bytes() == (none / name).read_bytes()
    kept = logits.read(some, beside)
    assert kept["val"].bootstrap.shape == (8, 6) and kept["test"].bootstrap is None
    assert logits.read(none, without)["val"].bootstrap is None
    assert len({tuple(row) for row in kept["val"].bootstrap.tolist()}) == 8


def test_without_features_there_are_no_heads_on_samples(config, run_dir):
    training = replace(config.training, freeze_backbone=False)
    record = run_of(replace(config, training=training, replicates=1, epochs=1), run_dir, 8)
    assert logits.read(run_dir, record)["val"].bootstrap is None


@pytest.mark.filterwarnings("ignore")
def test_optimizer_that_mixes_heads_trains_none_on_samples(config, run_dir):
    lamb = replace(config.optimizer, name="lamb", _target_="timm.optim.Lamb")
    record = run_of(replace(config, optimizer=lamb, replicates=1), run_dir, 8)
    assert logits.read(run_dir, record)["val"].bootstrap is None


def test_run_that_an_earlier_version_interrupted_is_resumed(config, run_dir, interrupted):
    """Its checkpoint has no heads on samples, and its configuration does not know of them."""
    whole = run_of(config, run_dir.with_name("whole"), 8)

    with interrupted(1):
        run_of(replace(config, checkpoint_seconds=0.0), run_dir, 0)
    tensors, progress = read_checkpoint(run_dir / "checkpoint.safetensors")
    del progress.config["evidence"]
    write_checkpoint(run_dir / "checkpoint.safetensors", tensors, progress)
    (run_dir / "result.json").unlink()
    resumed = run_of(config, run_dir, 8)
    assert resumed.continued_after == [1]
    assert resumed.metrics == whole.metrics and resumed.deployed == whole.deployed
    assert logits.read(run_dir, resumed)["val"].bootstrap is None


@pytest.mark.parametrize(
    "broken",
    [
        np.zeros((8, 5), np.float32), np.zeros(6, np.float32), np.zeros((8, 6)),
        np.full((8, 6), -1, np.float32), np.zeros((1001, 6), np.float32),
    ],
    ids=["images", "axes", "type", "negative", "many"],
)  # fmt: skip
def test_losses_of_another_shape_or_range_are_refused(config, run_dir, broken):
    record = run_of(config, run_dir, 8)
    path = run_dir / "logits.safetensors"
    tensors = load_file(path) | {"val.bootstrap": broken}
    whole = logits.read(run_dir, record)
    named = {split: json.dumps(kept.images) for split, kept in whole.items()}
    save_file({name: torch.from_numpy(tensor) for name, tensor in tensors.items()}, path, named)
    with pytest.raises(ValueError, match="bootstrap"):
        logits.read(run_dir, record)
