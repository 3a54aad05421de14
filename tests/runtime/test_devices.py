"""Which device computes, and that it is made to repeat its numbers."""

import os

import pytest
import torch

from visionsweep.errors import UserError
from visionsweep.runtime.devices import pick_device
from visionsweep.training.feature_inputs import features_device


def test_auto_picks_an_available_device_and_a_missing_one_is_refused():
    assert torch.zeros(1, device=pick_device("auto")).sum() == 0
    assert pick_device("cpu") == torch.device("cpu")
    missing = f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(UserError) as error:
        pick_device(missing)
    assert error.value.where == f"device={missing}" and "device=auto" in str(error.value.hint)


def test_cuda_is_configured_to_be_deterministic(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")  # so that it is taken away afterwards
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    kernels = ("flash", "mem_efficient", "cudnn", "math")
    enabled = {k: getattr(torch.backends.cuda, f"{k}_sdp_enabled")() for k in kernels}
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    try:
        pick_device("cpu")
        assert not torch.are_deterministic_algorithms_enabled()
        assert pick_device("cuda").type == "cuda"
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.backends.cudnn.benchmark
        assert not torch.backends.cuda.mem_efficient_sdp_enabled()
        assert torch.backends.cuda.math_sdp_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    finally:
        torch.use_deterministic_algorithms(False)
        torch.utils.deterministic.fill_uninitialized_memory = True
        for kernel, usual in enabled.items():
            getattr(torch.backends.cuda, f"enable_{kernel}_sdp")(usual)


def test_cuda_is_queried_only_with_a_driver(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UserError) as error:
        pick_device("cuda")
    assert error.value.where == "device=cuda"


def test_heads_train_on_the_cpu_where_their_features_would_fill_a_gpu(monkeypatch, make_config):
    class Width:
        width = 1000

    class Frozen:
        summary = Width

    config, gpu = make_config(), torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (8_000_000, 80_000_000))
    assert features_device(config, Frozen, gpu, images=999) == gpu
    assert features_device(config, Frozen, gpu, images=1001) == torch.device("cpu")
    config.training.freeze_backbone = False  # images go through the network, batch by batch
    assert features_device(config, Frozen, gpu, images=1001) == gpu
