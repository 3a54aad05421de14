"""Views: features of fixed random transforms are stored once, trained on, and averaged."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from visionsweep.config.schema import AugmentationConfig, EvidenceConfig
from visionsweep.data.transforms import build_augmentation
from visionsweep.data.views import views_of
from visionsweep.experiment import run_experiment
from visionsweep.features.cached import cached_features
from visionsweep.features.maintenance import stores
from visionsweep.inference.evaluation import evaluate
from visionsweep.inference.predictor import load_predictor, predict
from visionsweep.runs import logits
from visionsweep.runs.discovery import Run
from visionsweep.training.resolve import resolve
from visionsweep.training.trainer import network_of

CROP_FLIP = AugmentationConfig(
    name="crop_flip",
    _target_="torchvision.transforms.v2.RandomHorizontalFlip",
    crop_scale=0.4,
    views=3,
    test_views=2,
)
CPU = torch.device("cpu")


@pytest.fixture
def config(config, tmp_path):
    return replace(
        config,
        augmentation=CROP_FLIP,
        features=replace(config.features, cache_dir=str(tmp_path / "cache")),
        evidence=EvidenceConfig(training_bootstrap=4),
    )


def stored_rows(config) -> list[int]:
    """Return the number of features in each store, those of images first."""
    found = stores(Path(config.features.cache_dir))
    return [s.images for s in sorted(found, key=lambda store: "augmentation" in store.about)]


def test_views_go_through_the_backbone_once(config, run_dir):
    run_experiment(config, run_dir, "a-run")
    # 8 training, 6 validation, and 4 test images; each of them is the first of its views.
    assert stored_rows(config) == [18, 8 * 2 + (6 + 4) * 1]
    shards = set(Path(config.features.cache_dir).rglob("*.safetensors"))
    run_experiment(replace(config, seed=1, epochs=1), run_dir.with_name("another"), "another")
    assert set(Path(config.features.cache_dir).rglob("*.safetensors")) == shards
    more = replace(config, augmentation=replace(CROP_FLIP, views=5))
    run_experiment(more, run_dir.with_name("more"), "more")
    assert stored_rows(config) == [18, 8 * 4 + (6 + 4) * 1]


def test_view_is_determined_by_the_image_and_its_number(config):
    resolved = resolve(config)
    given = network_of(config, resolved), resolved.preprocessing, CPU, config.features
    augmentation = build_augmentation(config.augmentation)
    views = [view for file in resolved.splits.train for view in views_of(file, augmentation, 3)]
    state = torch.get_rng_state()
    features = cached_features(views, *given, augmentation)
    assert torch.equal(torch.get_rng_state(), state)
    assert len({row.numpy().tobytes() for row in features}) == len(views)
    network, pixels = given[0].backbone.module, [v.pixels(resolved.preprocessing) for v in views]
    with torch.inference_mode():
        expected = network(resolved.preprocessing.normalize(torch.stack(pixels))).flatten(1)
    torch.testing.assert_close(features, expected, rtol=0, atol=1e-3)
    elsewhere = replace(config.features, cache_dir=config.features.cache_dir + "-2")
    backwards = cached_features(views[::-1], *given[:3], elsewhere, augmentation)
    assert torch.equal(backwards.flip(0), features)


@pytest.mark.parametrize("evidence", ["holdout", "cross_fit"])
def test_interrupted_run_with_views_resumes_with_the_same_numbers(
    config, run_dir, interrupted, evidence
):
    config = replace(config, evidence=EvidenceConfig(evidence, 4))
    whole = run_experiment(config, run_dir.with_name("whole"), "a-run")
    with interrupted(1):
        run_experiment(replace(config, checkpoint_seconds=0.0), run_dir, "a-run")
    resumed = run_experiment(config, run_dir, "a-run")
    assert resumed.continued_after == [1] and resumed.metrics == whole.metrics
    places = (run_dir, run_dir.with_name("whole"))
    for split, kept in logits.read(run_dir, resumed).items():
        again = logits.read(places[1], whole)[split]
        assert np.array_equal(kept.logits, again.logits) and kept.images == again.images
    assert len({(place / "head.safetensors").read_bytes() for place in places}) == 1


def test_one_view_is_the_image_and_gives_the_run_without_augmentation(config, run_dir):
    one = replace(config, augmentation=replace(CROP_FLIP, views=1, test_views=1))
    plain = replace(config, augmentation=AugmentationConfig(name="none"))
    first, second = (
        run_experiment(c, run_dir.with_name(name), name)
        for name, c in (("one", one), ("plain", plain))
    )
    assert first.deployed == second.deployed and first.fingerprint != second.fingerprint
    assert stored_rows(config) == [18]


@pytest.mark.parametrize("linear_probe", ["none", "only"])
def test_evaluating_and_predicting_average_the_same_views(config, run_dir, linear_probe):
    solved = {"linear_probe": linear_probe}
    config = replace(config, training=replace(config.training, **solved))
    if linear_probe == "only":
        config = replace(config, replicates=1, epochs=1)
    record = run_experiment(config, run_dir, "a-run")
    run = Run(run_dir, record)
    scored = evaluate(run, config.data, "val", CPU)
    assert scored.as_recorded and scored.deployed == record.deployed["val"]
    files = resolve(config).splits.val
    found = list(predict(load_predictor(run, CPU), [file.path for file in files]))
    kept = logits.read(run_dir, record)["val"].logits / record.temperature
    expected = torch.from_numpy(kept).softmax(2).mean(0)
    for prediction, row in zip(found, expected, strict=True):
        by_name = dict(prediction.probabilities)
        assert [by_name[name] for name in ("cat", "dog")] == pytest.approx(row.tolist(), abs=1e-4)
    single = replace(config, augmentation=replace(CROP_FLIP, test_views=1))
    other = run_experiment(single, run_dir.with_name("single"), "single")
    assert other.deployed["val"] != record.deployed["val"]


def test_fresh_augmentation_of_a_frozen_backbone_is_scored_on_stored_features(config, run_dir):
    fresh = replace(config, augmentation=replace(CROP_FLIP, views=0, test_views=1))
    record = run_experiment(fresh, run_dir, "fresh")
    assert stored_rows(config) == [6 + 4]  # validation and test images
    assert all(epoch.test.known for epoch in record.history)  # it is free
    plain = replace(config, augmentation=AugmentationConfig(name="none"), epochs=1)
    run_experiment(plain, run_dir.with_name("plain"), "plain")
    assert stored_rows(config) == [18]  # the same features


def test_fresh_augmentation_of_a_frozen_backbone_warns_once(config, run_dir, caplog):
    fresh = replace(config, augmentation=replace(CROP_FLIP, views=0, test_views=1), epochs=1)
    for name in ("a", "b"):
        run_experiment(fresh, run_dir.with_name(name), name)
    warned = [record for record in caplog.records if "augmentation.views=6" in record.getMessage()]
    assert len(warned) == 1
