"""Networks that train on images: their scoring, and what precision and compilation change."""

from dataclasses import replace

import pytest

from visionsweep.experiment import run_experiment
from visionsweep.runs.record_diff import compare


@pytest.fixture
def fine_tuned(config):
    """A configuration that trains the whole network."""
    recipe = replace(config.training, freeze_backbone=False, replicates=1)
    return replace(config, training=recipe, replicates=1, epochs=3)


def test_test_images_are_scored_once_unless_every_epoch_is_asked_for(fine_tuned, run_dir):
    once = run_experiment(fine_tuned, run_dir, "once")
    each = run_experiment(
        replace(fine_tuned, test_every_epoch=True), run_dir.with_name("each"), "each"
    )
    assert [epoch.test.known for epoch in once.history] == [False, False, True]
    assert [epoch.test.known for epoch in each.history] == [True] * 3
    assert once.metrics.final.test.accuracy == once.evaluation["test"]["accuracy"].value
    assert once.metrics.final.test.loss == pytest.approx(each.metrics.final.test.loss, abs=1e-6)
    assert [e.val for e in once.history] == [e.val for e in each.history]
    assert once.fingerprint == each.fingerprint
    assert compare(each, once, None, None).verdict != "different"


def test_run_on_images_resumes_bitwise_identical(fine_tuned, run_dir, interrupted):
    fine_tuned = replace(fine_tuned, checkpoint_seconds=0)
    whole = run_experiment(fine_tuned, run_dir.with_name("whole"), "whole")
    with interrupted(1):
        run_experiment(fine_tuned, run_dir, "resumed")
    resumed = run_experiment(fine_tuned, run_dir, "resumed")
    assert resumed.continued_after == [1]
    assert compare(whole, resumed, None, None).verdict == "identical"
    assert (run_dir / "model.safetensors").read_bytes() == (
        run_dir.with_name("whole") / "model.safetensors"
    ).read_bytes()
