"""Select the compute device and make it deterministic."""

import os
import platform
from typing import Any

import torch

from visionsweep.errors import UserError


def pick_device(name: str) -> torch.device:
    """Return a device by name; `auto` selects CUDA, Apple's MPS, or the CPU, in this order.

    CUDA is set to deterministic kernels.

    Raises:
        UserError: if the machine has no such device.
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
    if device.type == "cuda":
        _make_cuda_deterministic()
    return device


def refuse_without_bfloat16(device: torch.device, setting: str, neutral: str) -> None:
    """Refuse a setting that computes in bfloat16 on a device without such instructions.

    On MPS, bfloat16 is not tried. A CPU without them would emulate it, slower than float32.

    Args:
        device: device that computes.
        setting: the setting, as `training.precision=bf16`.
        neutral: its value that works on every device.

    Raises:
        UserError: if the device has none.
    """
    if device.type == "cuda":
        with torch.cuda.device(device):
            computes = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        known = torch.cpu.get_capabilities() if device.type == "cpu" else {}
        computes = any(known.get(name) for name in ("amx_bf16", "avx512_bf16", "bf16"))
    if not computes:
        has = "this CPU" if device.type == "cpu" else str(device)
        raise UserError(
            f"{has} has no bfloat16 instructions (AMX or AVX-512 BF16 on a CPU)",
            where=setting,
            hint=f"Use {setting.partition('=')[0]}={neutral}.",
        )


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
