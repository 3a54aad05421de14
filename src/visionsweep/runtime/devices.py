"""Picks the device that computes and sets it so that it repeats its numbers."""

import os
import platform
from typing import Any

import torch

from visionsweep.errors import UserError


def pick_device(name: str) -> torch.device:
    """Return the device by name; `auto` is CUDA, then Apple's MPS, then the CPU.

    CUDA is set to kernels that give the same numbers each time.

    Raises:
        UserError: if the device is not there.
    """
    if name == "auto":
        mps = "mps" if torch.backends.mps.is_available() else "cpu"
        name = "cuda" if torch.cuda.is_available() else mps
    device = torch.device(name)
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there[device.type]:
        raise UserError(
            "this machine has no such device", where=f"device={name}", hint="Use device=auto."
        )
    if device.type == "cuda":
        _make_cuda_repeatable()
    return device


def _make_cuda_repeatable() -> None:
    """Set what torch's notes on reproducibility ask for; a CPU's numbers repeat without it.

    Attention has no repeatable backward pass but the math kernel's: with the memory-efficient one
    the test loss of a ViT-B/16 after one epoch changed in the seventh digit, and a step of 32
    images took as long (94 ms on an H200). Convolutions may round their inputs to TF32, matrix
    products may not: torch's defaults, set here so that no environment variable changes them.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before cuBLAS is first used
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cuda.enable_flash_sdp(False)
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    torch.backends.cuda.enable_cudnn_sdp(False)
    torch.backends.cuda.enable_math_sdp(True)
    torch.use_deterministic_algorithms(True, warn_only=True)  # includes cuDNN's
    # Every output is written before it is read, so filling it first only takes time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def device_facts(device: torch.device) -> dict[str, Any]:
    """Return what of the device decides a run's numbers, for the record.

    Of a CPU these are the number of threads that torch computes with and the widest instructions;
    of CUDA also the compute capability, the versions of CUDA and cuDNN, and where TF32 is used.
    """
    facts: dict[str, Any] = {
        "type": device.type,
        "name": platform.machine(),
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        convolutions = "convolutions" if torch.backends.cudnn.allow_tf32 else ""
        products = "matrix products" if torch.backends.cuda.matmul.allow_tf32 else ""
        facts |= {
            "name": properties.name,
            "capability": f"{properties.major}.{properties.minor}",
            "cuda": str(torch.version.cuda or torch.version.hip),
            "cudnn": str(torch.backends.cudnn.version()),
            "tf32": " and ".join(filter(None, (convolutions, products))) or "none",
        }
    return facts


def release_memory(kind: str | None) -> None:
    """Return cached device memory to the system, for the next run or another process.

    Args:
        kind: the device's type; nothing is done for a CPU or None.
    """
    if kind == "cuda":
        torch.cuda.empty_cache()
    elif kind == "mps":
        torch.mps.empty_cache()
