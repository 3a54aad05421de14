"""A run's share of the machine: its threads and its GPU, and signals in a launcher's process."""

import os
import pickle
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from types import FrameType
from typing import Any, cast

from visionsweep.config.schema import Config
from visionsweep.runtime import signals
from visionsweep.runtime.threads import cores
from visionsweep.storage.cache import cache_folder
from visionsweep.sweeps.gpus import gpu_count, leased_gpu
from visionsweep.sweeps.launchers import kind_of, processes_of, runs_elsewhere


def threads_of(launcher: Mapping[str, Any], asked: int | None, cores: int) -> int | None:
    """Return the number of CPU threads of a run, so that simultaneous runs share the cores.

    The setting `threads`, if `asked` for, takes precedence. None if runs are sequential.
    """
    if asked is not None:
        return asked
    kind = kind_of(launcher)
    if kind == "JoblibLauncher":
        return max(1, cores // processes_of(launcher, cores))
    if kind == "RayLauncher":
        return max(1, int(launcher["ray"]["remote"].get("num_cpus") or 1))
    if kind in ("LocalLauncher", "SlurmLauncher"):
        return cast(int | None, launcher.get("cpus_per_task"))
    return None


@contextmanager
def machine_share(hydra: Any, config: Config) -> Iterator[None]:
    """Set the threads and the GPU of a run, and restore them afterwards.

    Under submitit_local, which starts all runs at once, a run waits until a GPU is free.
    """
    import torch

    before = torch.get_num_threads()
    chosen = threads_of(hydra.launcher, config.threads, cores())
    torch.set_num_threads(chosen or before)
    elsewhere = runs_elsewhere(hydra.launcher)
    try:
        with (
            signals.installed(acknowledge=False) if elsewhere else nullcontext(),
            _requeued_after(),
            _gpu(kind_of(hydra.launcher), config),
        ):
            yield
    except Exception as error:
        if elsewhere:
            try:  # an error that cannot be pickled would end the sweep
                pickle.loads(pickle.dumps(error))
            except Exception:
                raise RuntimeError(f"{type(error).__name__}: {error}") from error
        raise
    finally:
        torch.set_num_threads(before)


@contextmanager
def _gpu(launcher: str, config: Config) -> Iterator[None]:
    """Lease a GPU, and give `cuda` without a number its meaning inside the block.

    Unlike `torch.cuda.set_device`, `torch.cuda.device` creates no context on the GPU that it
    restores.
    """
    import torch

    if not (gpus := gpu_count(config.device)):
        yield
        return
    folder = cache_folder(config.features.cache_dir) / "gpus"
    with (
        leased_gpu(folder, gpus, alone=launcher == "LocalLauncher") as gpu,
        torch.cuda.device(gpu),
    ):
        yield


@contextmanager
def _requeued_after() -> Iterator[None]:
    """Under submitit, end a run as after Ctrl-C before its job is requeued.

    submitit exits at once when Slurm sends its warning signal. SIGTERM (`scancel`, `scontrol
    requeue`, preemption without a warning) ends the run in the same way; Slurm then decides
    whether the job is requeued.
    """
    number = getattr(signal, f"SIG{os.environ.get('SUBMITIT_PREEMPT_SIGNAL', 'USR2')}", None)
    usual = signal.getsignal(number) if number and "SUBMITIT_EXECUTOR" in os.environ else None
    if number is None or not callable(usual):
        yield
        return
    came = False

    def interrupt(received: int, frame: FrameType | None) -> None:
        nonlocal came
        came = came or received == number
        if not signals.status():  # a second signal would exit at once
            signals.ask(signal.SIGINT if received == number else signal.SIGTERM)

    ending = signal.signal(signal.SIGTERM, interrupt)
    signal.signal(number, interrupt)
    try:
        yield
    finally:
        signal.signal(number, usual)
        signal.signal(signal.SIGTERM, ending)
        if came:
            usual(number, None)  # requeues the job and exits
