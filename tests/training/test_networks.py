"""Networks that train on images: their scoring, and what precision and compilation change."""

from dataclasses import replace

import pytest
import torch

from visionsweep.data.transforms import resized
from visionsweep.errors import UserError
from visionsweep.experiment import run_experiment
from visionsweep.models import backbones, classifier
from visionsweep.models.backbone_spec import resolve_backbone
from visionsweep.models.batchnorm_calibration import calibration_images
from visionsweep.runs.record_diff import compare
from visionsweep.runtime.devices import pick_device
from visionsweep.training.networks import for_scoring


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


def in_bf16(config):
    return replace(config, training=replace(config.training, precision="bf16"))


@pytest.mark.parametrize("changed", [lambda config: config, in_bf16], ids=["fp32", "bf16"])
def test_run_on_images_resumes_bitwise_identical(fine_tuned, changed, run_dir, interrupted):
    fine_tuned = replace(changed(fine_tuned), checkpoint_seconds=0)
    whole = run_experiment(fine_tuned, run_dir.with_name("whole"), "whole")
    with interrupted(1):
        run_experiment(fine_tuned, run_dir, "resumed")
    resumed = run_experiment(fine_tuned, run_dir, "resumed")
    assert resumed.continued_after == [1]
    assert compare(whole, resumed, None, None).verdict == "identical"
    assert (run_dir / "model.safetensors").read_bytes() == (
        run_dir.with_name("whole") / "model.safetensors"
    ).read_bytes()


def test_bfloat16_changes_numbers_and_the_fingerprint(fine_tuned, run_dir):
    whole = run_experiment(fine_tuned, run_dir, "fp32")
    half = run_experiment(in_bf16(fine_tuned), run_dir.with_name("bf16"), "bf16")
    assert half.fingerprint != whole.fingerprint
    # Each step of so small a set amplifies rounding: about 5% in the first epoch.
    first, other = (record.history[0].train.loss for record in (whole, half))
    assert first != other and other == pytest.approx(first, rel=0.25)


def test_bfloat16_is_refused_on_a_device_without_it(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"training\.precision=bf16"):
        pick_device("cpu", "bf16")
    assert pick_device("cpu").type == "cpu"


def test_scored_copy_is_fused_and_agrees(config):
    backbone = backbones.build(resolve_backbone(config.model, random_if_unavailable=False), 32)
    module = classifier.build(backbone, 3, dropout=0, frozen=False)
    images = resized(32).normalize(calibration_images(4, 32))
    scored = for_scoring(module, resized(32))
    expected = module.eval()(images)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in scored.modules())
    torch.testing.assert_close(scored(images), expected, atol=1e-4, rtol=1e-4)
