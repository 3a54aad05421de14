"""GPUs of runs: how many there are, and which of them a run has."""

import logging
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from filelock import FileLock, Timeout

from visionsweep.command_memory import remembered
from visionsweep.runtime import signals
from visionsweep.storage.files import why
from visionsweep.storage.locks import lock_at

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.5


def gpu_count(device: str) -> int:
    """Return the number of GPUs among which runs with a setting `device` choose; else 0."""
    if device not in ("auto", "cuda"):
        return 0
    import torch  # for runs, and for a launcher whose defaults depend on it

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


@contextmanager
def leased_gpu(folder: Path, gpus: int, *, alone: bool) -> Iterator[int]:
    """Lease the GPU that the fewest processes have leased; the operating system ends their leases.

    Args:
        folder: folder of the locks, one per machine, GPU, and lease.
        gpus: number of GPUs that this process sees.
        alone: whether to wait for a GPU that no other process has leased.

    Yields:
        Index of the GPU. The first one without a lease if the folder cannot be written.
    """
    lock = None
    try:
        lock, gpu = _take(folder, gpus, alone)
    except OSError as error:
        gpu = 0
        if gpus > 1:
            log.warning("%s: no GPU can be leased, using the first: %s", folder, why(error))
    try:
        yield gpu
    finally:
        if lock is not None:
            lock.release()


@remembered()
def _last() -> list[int]:
    """Return the GPU of this process's last run, where it still has a context."""
    return []


def _take(folder: Path, gpus: int, alone: bool) -> tuple[FileLock, int]:
    folder.mkdir(parents=True, exist_ok=True)
    visible = (os.environ.get("CUDA_VISIBLE_DEVICES") or "").split(",")
    names = visible if len(visible) == gpus and all(visible) else [str(n) for n in range(gpus)]
    while True:
        for lease in range(1) if alone else count():
            for gpu in sorted(range(gpus), key=lambda gpu: gpu not in _last()):
                name = re.sub(r"[^\w.-]", "_", f"{socket.gethostname()}-{names[gpu]}-{lease}")
                lock = lock_at(folder / f"{name}.lock")
                try:
                    lock.acquire(timeout=0)
                except Timeout:
                    continue
                _last()[:] = [gpu]
                return lock, gpu
        signals.check()
        time.sleep(_POLL_SECONDS)
