"""Select the compute device and make it deterministic."""

import os
import platform
from typing import Any

import torch

from visionsweep.errors import UserError


def pick_device(name: str, precision: str = "fp32") -> torch.device:
    """Return a device by name; `auto` selects CUDA, Apple's MPS, or the CPU, in this order.

    CUDA is set to deterministic kernels.

    Raises:
        UserError: if the machine has no such device, or the device no `training.precision`.
    """
    counts = {
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
        "cpu": 1,
    }
    if name == "auto":
        name = next(kind for kind, count in counts.items() if count)
    device = torch.device(name)
    if (device.index or 0) >= counts[device.type]:
        raise UserError(
            "this machine has no such device", where=f"device={name}", hint="Use device=auto."
        )
    if precision == "bf16" and not _has_bfloat16(device):
        raise UserError(
            f"{device} does not compute in bfloat16",
            where="training.precision=bf16",
            hint="Use training.precision=fp32.",
        )
    if device.type == "cuda":
        _make_cuda_deterministic()
    return device


def _has_bfloat16(device: torch.device) -> bool:
    """Return whether a device has kernels for bfloat16; on MPS, autocast is not tried."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    cpu = device.type == "cpu" and torch.backends.mkldnn.is_available()
    return bool(cpu and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _make_cuda_deterministic() -> None:
    """Apply torch's notes on reproducibility; a CPU is deterministic without them.

    Only the math kernel of attention has a deterministic backward pass. With the memory-efficient
    one, the test loss of a ViT-B/16 after one epoch changed in the seventh digit, and a step of 32
    images took as long (94 ms on an H200). TF32 is allowed in convolutions, not in matrix products:
    torch's defaults, set here so that no environment variable changes them.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS is first used
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cuda.enable_flash_sdp(False)
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    torch.backends.cuda.enable_cudnn_sdp(False)
    torch.backends.cuda.enable_math_sdp(True)
    torch.use_deterministic_algorithms(True, warn_only=True)  # includes cuDNN's
    # Every output is written before it is read; filling it first would only take time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def device_facts(device: torch.device) -> dict[str, Any]:
    """Return the properties of a device that affect numbers, for the record.

    For a CPU: the number of torch's threads and the widest vector instructions. For CUDA also the
    compute capability, the versions of CUDA and cuDNN, and where TF32 is used.
    """
    facts: dict[str, Any] = {
        "type": device.type,
        "name": platform.machine(),
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        tf32 = {
            "convolutions": torch.backends.cudnn.allow_tf32,
            "matrix products": torch.backends.cuda.matmul.allow_tf32,
        }
        facts |= {
            "name": properties.name,
            "capability": f"{properties.major}.{properties.minor}",
            "cuda": str(torch.version.cuda or torch.version.hip),
            "cudnn": str(torch.backends.cudnn.version()),
            "tf32": " and ".join(use for use, allowed in tf32.items() if allowed) or "none",
        }
    return facts


def release_memory() -> None:
    """Return cached device memory to the system, for the next run or another process."""
    torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
