"""The device that computes, made to repeat itself."""

import os

import torch

from visionsweep.errors import UserError


def pick_device(name: str) -> torch.device:
    """Return the device by name; `auto` is CUDA, then Apple's MPS, then the CPU.

    CUDA is told to take kernels that give the same numbers each time, where there are any.

    Raises:
        UserError: if the device is not there.
    """
    if name == "auto":
        mps = "mps" if torch.backends.mps.is_available() else "cpu"
        name = "cuda" if torch.cuda.is_available() else mps
    device = torch.device(name)
    there = {
        "cpu": True,
        "cuda": (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there[device.type]:
        raise UserError(f"device={name}: this machine has no such device; use device=auto")
    if device.type == "cuda":
        _take_repeatable_kernels()
    return device


def _take_repeatable_kernels() -> None:
    """Set what torch's notes on reproducibility ask for; what CPUs compute repeats without it."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before cuBLAS is first used
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True, warn_only=True)  # includes cuDNN's
