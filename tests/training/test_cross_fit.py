"""Cross-fitting: each image is scored once, by heads that did not see it or a copy of it."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from visionsweep.config.schema import EvidenceConfig
from visionsweep.errors import UserError
from visionsweep.experiment import run_experiment
from visionsweep.features.cached import cached_features
from visionsweep.models.heads import Heads
from visionsweep.models.seeds import fold_seeds
from visionsweep.report.columns import columns_of
from visionsweep.report.hints import hints
from visionsweep.report.leaderboard import groups_of, heading
from visionsweep.runs import logits
from visionsweep.runs.discovery import find_runs
from visionsweep.training import loop
from visionsweep.training.batches import SplitBatches, TensorBatches
from visionsweep.training.cross_fit import folds_of
from visionsweep.training.optimizers import make_optimizer
from visionsweep.training.resolve import resolve
from visionsweep.training.trainer import network_of, new_state, prepare


@pytest.fixture
def cross_fitted(config):
    return replace(config, evidence=EvidenceConfig(name="cross_fit", training_bootstrap=4))


def folds_and_images(config):
    splits = resolve(config).splits
    return folds_of(config, splits), (*splits.train, *splits.val), splits


def test_heads_of_a_fold_see_no_image_that_they_score(cross_fitted):
    folds, images, splits = folds_and_images(cross_fitted)
    digests = np.array([image.digest for image in images])
    assert Counter(folds.scored.tolist()) == Counter(range(len(images)))
    for k, seen in enumerate(folds.samples.numpy()):
        scored = digests[folds.scored[folds.fold == k]]
        assert not set(scored) & set(digests[seen])
        labels = [images[place].label for place in seen]
        assert labels == [image.label for image in splits.train]
        kept = np.flatnonzero(~np.isin(digests[: len(seen)], scored))
        assert seen[kept].tolist() == kept.tolist()  # only images of the fold are replaced


def test_run_is_that_without_cross_fitting_and_has_a_score_of_each_image(
    config, cross_fitted, run_dir
):
    plain, more = run_dir.with_name("plain"), run_dir
    without, beside = (
        run_experiment(config, plain, "a-run"),
        run_experiment(cross_fitted, more, "a-run"),
    )
    assert beside.fingerprint != without.fingerprint
    for split in ("val", "test"):
        for section in ("evaluation", "deployed"):
            assert getattr(beside, section)[split] == getattr(without, section)[split]
    assert beside.temperature == without.temperature and beside.metrics == without.metrics
    assert (more / "head.safetensors").read_bytes() == (plain / "head.safetensors").read_bytes()
    assert beside.data.counts["cross_fit"] == 14
    assert (beside.evidence, without.evidence) == ("cross_fit", "val")
    assert beside.validation == without.validation == without.compared
    assert beside.compared.loss == beside.deployed["cross_fit"]["loss"].value
    kept = logits.read(more, beside)["cross_fit"]
    assert kept.logits.shape == (2, 14, 2) and len(set(kept.images)) == 14
    samples = [
        logits.read(place, record)["val"].bootstrap
        for place, record in ((more, beside), (plain, without))
    ]
    assert (samples[0] == samples[1][:4]).all() and len(samples[0]) == 4
    assert logits.read(plain, without).keys() == {"val", "test"}


def scored_by_a_plain_loop(config, run_dir) -> torch.Tensor:
    """Train the heads of each fold alone, and score its images: logits, `float32[R, P, C]`."""
    resolved, folds = resolve(config), None
    splits, network = resolved.splits, network_of(config, resolved)
    images, cpu = (*splits.train, *splits.val), torch.device("cpu")
    features = cached_features(images, network, resolved.preprocessing, cpu, config.features)
    labels = torch.tensor([image.label for image in images])
    folds = folds_of(config, splits)
    result = torch.empty(config.replicates, len(images), network.classes)
    seeds = fold_seeds(config.seed, config.replicates, len(folds.samples))
    for k, rows in enumerate(folds.samples):
        own = seeds[k * config.replicates : (k + 1) * config.replicates]
        heads = Heads(network.summary.width, network.classes, 0.0, own)
        orders = [torch.Generator().manual_seed(seed.shuffle) for seed in own]
        train = TensorBatches(features[rows], labels[rows], config.batch_size, orders)
        one = TensorBatches(features[:1], labels[:1], 8)
        optimizer = make_optimizer(config.optimizer, heads)
        loop.fit(
            heads, SplitBatches(train, one, one), optimizer, config.epochs, cpu, lambda _: None
        )
        places = folds.scored[folds.fold == k]
        with torch.inference_mode():
            result[:, places] = heads.eval()(features[torch.from_numpy(places)])
    return result[:, folds.scored]


def test_scores_are_those_of_a_plain_loop_over_the_folds(cross_fitted, run_dir):
    record = run_experiment(cross_fitted, run_dir, "a-run")
    found = logits.read(run_dir, record)["cross_fit"].logits
    np.testing.assert_allclose(found, scored_by_a_plain_loop(cross_fitted, run_dir), atol=2e-5)


@pytest.mark.parametrize("poisoned", [0, 3])
def test_images_of_a_fold_change_all_heads_but_those_that_score_them(
    cross_fitted, run_dir, poisoned
):
    def trained(shift: float) -> tuple[torch.Tensor, torch.Tensor]:
        resolved = resolve(cross_fitted)
        network, device = network_of(cross_fitted, resolved), torch.device("cpu")
        run = prepare(cross_fitted, run_dir, resolved, network, 0.0, device)
        features, inside = run.batches["train"], run.folds.fold == poisoned
        features.inputs = features.inputs.clone()
        features.inputs[torch.from_numpy(run.folds.scored[inside])] += shift
        state = new_state(run)
        loop.fit(
            state.module, SplitBatches(**run.batches), state.optimizer, 2, device, lambda _: None
        )
        weight = state.module.weight.detach()
        return weight[:2], weight[-10:].unflatten(0, (5, 2))

    (deployed, heads), (poisoned_deployed, poisoned_heads) = trained(0.0), trained(1.0)
    changed = [not torch.equal(a, b) for a, b in zip(heads, poisoned_heads, strict=True)]
    assert changed == [fold != poisoned for fold in range(5)]
    assert not torch.equal(deployed, poisoned_deployed)


def test_class_of_a_single_image_is_refused(cross_fitted, tmp_path):
    for split in ("train", "val", "test"):
        Image.new("RGB", (40, 40), "red" if split == "test" else "blue").save(
            tmp_path / "pictures" / split / "cat" / "only.png"
        )
    for split in ("train", "val"):
        for path in (tmp_path / "pictures" / split / "cat").glob("[0-9].png"):
            path.unlink()
    with pytest.raises(UserError) as refused:
        resolve(cross_fitted)
    assert "cat" in refused.value.what and "holdout" in refused.value.hint


def test_interrupted_run_resumes_with_the_same_scores_of_each_image(
    cross_fitted, run_dir, interrupted
):
    whole_dir = run_dir.with_name("whole")
    whole = run_experiment(cross_fitted, whole_dir, "a-run")

    with interrupted(1):
        run_experiment(replace(cross_fitted, checkpoint_seconds=0.0), run_dir, "a-run")
    resumed = run_experiment(cross_fitted, run_dir, "a-run")
    assert resumed.continued_after == [1] and resumed.deployed == whole.deployed
    scores = [logits.read(place, resumed)["cross_fit"].logits for place in (run_dir, whole_dir)]
    assert np.array_equal(*scores)


def test_runs_are_compared_on_the_images_that_both_scored_and_apart_from_a_holdout(
    config, cross_fitted, run_dir
):
    half = replace(cross_fitted, data=replace(config.data, fraction=0.5))
    for name, given in (("all", cross_fitted), ("half", half), ("plain", config)):
        run_experiment(given, run_dir.with_name(name), name)
    crossed, plain = sorted(groups_of(find_runs([run_dir.parent]).runs), key=lambda e: -e.images)
    assert (crossed.kind, crossed.images) == ("cross-fitted", 10)  # 4 of 8 training images, 6 more
    assert (plain.kind, plain.images, len(plain.rows)) == ("validation", 6, 1)
    best, other = (row.scores["val"]["loss"].value for row in crossed.rows)
    assert other - best == pytest.approx(crossed.rows[1].comparison.difference.value, abs=1e-5)
    titles = {column.title for column in columns_of(crossed.rows, "table")}
    assert "cross-fit loss" in titles and "val loss" not in titles
    assert "10 cross-fitted" in heading(crossed) and "6 validation" in heading(plain)
    reference, kind, *_ = hints(crossed)
    assert "shufflenet, folder, data.fraction 0.5: " in reference and "cross-fitted" in kind
