"""Networks that train on images: their scoring, and what precision and compilation change."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from visionsweep.data.transforms import resized
from visionsweep.errors import UserError
from visionsweep.experiment import run_experiment
from visionsweep.models import backbones, classifier
from visionsweep.models.backbone_spec import resolve_backbone
from visionsweep.models.batchnorm_calibration import calibration_images
from visionsweep.models.heads import Heads
from visionsweep.runs.record_diff import compare
from visionsweep.training import networks
from visionsweep.training.networks import for_scoring, refuse_recipe


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


def test_a_step_in_bfloat16_has_nearly_the_gradients_of_float32():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2), nn.ReLU()]
    backbone = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1))
    model = classifier.Classifier(backbone, Heads(32, 3, 0, classifier.ONE), frozen=False)
    images = resized(32).normalize(calibration_images(8, 32))
    labels = torch.arange(8) % 3

    def gradient(bf16: bool) -> torch.Tensor:
        model.bf16 = bf16
        model.zero_grad()
        nn.functional.cross_entropy(model.train()(images)[0], labels).backward()
        return torch.cat([p.grad.flatten() for p in model.parameters()])

    exact, half = gradient(False), gradient(True)
    assert 0 < (half - exact).norm() / exact.norm() < 0.05
    model.eval()
    in_float32 = model(images)
    model.bf16 = True  # has no effect on scoring
    assert torch.equal(model(images), in_float32)


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_bfloat16_is_refused_on_a_device_without_it(device, config, run_dir, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_f": True})
    half = replace(config, training=replace(config.training, precision="bf16"))
    with pytest.raises(UserError) as error:
        refuse_recipe(half, torch.device(device))
    assert error.value.where == "training.precision=bf16"
    refuse_recipe(config, torch.device(device))


def test_compilation_is_refused_where_it_does_not_pay_or_cannot_work(
    fine_tuned, run_dir, monkeypatch
):
    compiled = replace(fine_tuned, training=replace(fine_tuned.training, compile=True))
    with pytest.raises(UserError, match="only CUDA") as error:
        run_experiment(compiled, run_dir, "compiled")
    assert error.value.where == "training.compile=true"
    gpu = torch.device("cuda")
    monkeypatch.setattr(networks.shutil, "which", lambda name: None)
    monkeypatch.setattr(networks.importlib.util, "find_spec", lambda name: object())
    with pytest.raises(UserError, match="C compiler"):
        refuse_recipe(compiled, gpu)
    monkeypatch.setattr(networks.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="triton"):
        refuse_recipe(compiled, gpu)


def test_compiled_network_trains_and_its_copies_and_weights_are_those_of_a_plain_one(
    config, monkeypatch
):
    backbone = backbones.build(resolve_backbone(config.model, random_if_unavailable=False), 32)
    plain = classifier.build(backbone, 3, dropout=0, frozen=False, freeze_batchnorm=True)
    model = copy.deepcopy(plain)
    calls = []

    def compiler(function, **options):
        assert options == {"dynamic": False}
        return lambda images: calls.append(len(images)) or function(images)

    monkeypatch.setattr(torch, "compile", compiler)  # the real one needs a minute
    model.compile_for_training()
    images = resized(32).normalize(calibration_images(4, 32))
    assert model.state_dict().keys() == plain.state_dict().keys()
    assert torch.equal(model.train()(images), plain.train()(images)) and calls == [4]
    with torch.no_grad():
        scored = for_scoring(copy.deepcopy(model), resized(32))
    torch.testing.assert_close(scored(images), plain.eval()(images), atol=1e-4, rtol=1e-4)
    assert calls == [4]


def test_scored_copy_is_fused_and_agrees(config):
    backbone = backbones.build(resolve_backbone(config.model, random_if_unavailable=False), 32)
    module = classifier.build(backbone, 3, dropout=0, frozen=False)
    images = resized(32).normalize(calibration_images(4, 32))
    scored = for_scoring(module, resized(32))
    expected = module.eval()(images)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in scored.modules())
    torch.testing.assert_close(scored(images), expected, atol=1e-4, rtol=1e-4)
