"""Sweeps in other processes, by Hydra's launchers: joblib, Ray and submitit.

Results travel through files, the resolvers of `runs/names.py` with Hydra's own state. What is
left is here: that a launcher is there, a run's share of the machine, and a word when one fails.
"""

import importlib.util
import os
import pickle
import re
import shutil
import signal
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from traceback import walk_tb
from types import FrameType
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from visionsweep.config.schema import Config
from visionsweep.errors import UserError
from visionsweep.runtime import signals, terminal
from visionsweep.runtime.threads import cores
from visionsweep.sweep import slurm

_EXTRAS = {  # of this package, by the plugin of Hydra's that each brings
    "hydra_joblib_launcher": "joblib",
    "hydra_ray_launcher": "ray",
    "hydra_submitit_launcher": "submitit",
}
_FOR_RUNS = {"VISIONSWEEP_CACHE", "TORCH_HOME"}  # of the command's environment
# Read when Ray is imported or started. It reports its use to its makers unless told otherwise,
# swallows lines of the log that resemble others, and hides GPUs from runs that reserve none.
_RAY = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}

# Presets in conf/hydra/launcher/ bear the plugins' own names. Hydra takes ours, holds it against
# the plugin's schema, and warns of that in every process that composes a run.
warnings.filterwarnings("ignore", r"\s*'hydra/launcher/\w+' is validated against ConfigStore")


def kind_of(launcher: Mapping[str, Any]) -> str:
    """Return the name of a launcher's class, `JoblibLauncher`.

    Args:
        launcher: the node `hydra.launcher` of a configuration.
    """
    return str(launcher["_target_"]).rpartition(".")[2]


def refuse_impossible(config: DictConfig) -> None:
    """Refuse a launcher that cannot work here, or not with these paths.

    Args:
        config: a composed configuration, `hydra` included.

    Raises:
        UserError: if the launcher's plugin is not installed, if it is Slurm's and Slurm is not at
            hand or can never give what is asked for, or if it is a Ray cluster's and a path means
            another place on each machine.
    """
    launcher = config.hydra.launcher
    parts = str(launcher._target_).split(".")
    if parts[0] == "hydra_plugins" and importlib.util.find_spec(".".join(parts[:2])) is None:
        extra = _EXTRAS.get(parts[1])
        remedy = f"pip install -e '.[{extra}]'" if extra else f"install {parts[1]}"
        raise UserError(f"hydra/launcher: {parts[-1]} is not installed; {remedy}")
    if parts[-1] == "SlurmLauncher" and not (shutil.which("sbatch") and shutil.which("srun")):
        raise UserError(
            "hydra/launcher=submitit_slurm: no sbatch and srun here; start it on a machine that "
            "hands jobs to Slurm, or take hydra/launcher=joblib"
        )
    if parts[-1] == "SlurmLauncher":
        slurm.refuse_impossible(launcher)
    if parts[-1] == "RayLauncher" and launcher.ray.init.get("address") is not None:
        # The processes of a cluster start where `ray start` was called.
        for key in ("outputs_dir", "sweep_dir", "data.root"):
            if not Path(path := OmegaConf.select(config, key)).is_absolute():
                raise UserError(
                    f"{key}={path}: a process of the Ray cluster would look for it elsewhere; give "
                    f"the whole path, of a place that all its machines share: {key}=/.../{path}"
                )


@dataclass(frozen=True)
class Command:
    """What a run in a launcher's process has to know of the command that it is a part of.

    Attributes:
        arguments: the command line.
        environment: variables that say where things are.
    """

    arguments: list[str] = field(default_factory=lambda: list(sys.argv))
    environment: dict[str, str] = field(
        default_factory=lambda: {name: os.environ[name] for name in _FOR_RUNS & os.environ.keys()}
    )

    def prepare(self, launcher: Mapping[str, Any]) -> None:
        """Set, in the process of the command, what launchers read when they are imported.

        Args:
            launcher: the node `hydra.launcher` of the sweep's configuration.
        """
        for name, value in _RAY.items():
            os.environ.setdefault(name, value)
        if kind_of(launcher) == "SlurmLauncher":
            slurm.watch(terminal.write)

    def join(self) -> None:
        """Make this process one of the command's."""
        sys.argv[:] = self.arguments
        os.environ.update(self.environment)


def threads_of(launcher: Mapping[str, Any], asked: int | None, cores: int) -> int | None:
    """Return in how many threads a run computes, so that runs side by side share the cores.

    Args:
        launcher: the node `hydra.launcher` of the run's configuration.
        asked: the setting `threads`, which decides where it is set.
        cores: of the machine that the run is on.

    Returns:
        The number; None where the run has the machine to itself.
    """
    if asked is not None:
        return asked
    kind = kind_of(launcher)
    if kind == "JoblibLauncher":
        jobs = int(launcher["n_jobs"])
        return max(1, cores // (jobs if jobs > 0 else max(1, cores + 1 + jobs)))
    if kind == "RayLauncher":
        return max(1, int(launcher["ray"]["remote"].get("num_cpus") or 1))
    if kind in ("LocalLauncher", "SlurmLauncher"):
        return cast(int | None, launcher.get("cpus_per_task"))
    return None


def gpu_of(launcher: Mapping[str, Any], job: int, gpus: int) -> int | None:
    """Return the GPU that a run has its turn on.

    Args:
        launcher: the node `hydra.launcher` of the run's configuration.
        job: the run's number within the sweep.
        gpus: how many GPUs its process sees.

    Returns:
        Its index; None where there is no choice, or where runs come one after the other.
    """
    turns = gpus > 1 and kind_of(launcher) != "BasicLauncher"
    return job % gpus if turns else None


@contextmanager
def share_of_the_machine(hydra: Any, config: Config) -> Iterator[None]:
    """Give a run its threads and its GPU; afterwards the process is as it was.

    Args:
        hydra: Hydra's node of the run's configuration.
        config: the run's own.
    """
    import torch

    before = torch.get_num_threads()
    chosen = threads_of(hydra.launcher, config.threads, cores())
    counting = config.device in ("auto", "cuda") and torch.cuda.is_available()
    gpus = torch.cuda.device_count() if counting else 0
    gpu = gpu_of(hydra.launcher, hydra.job.get("num", 0), gpus)
    usual = None if gpu is None else torch.cuda.current_device()
    torch.set_num_threads(chosen or before)
    if gpu is not None:
        torch.cuda.set_device(gpu)  # what `cuda` without a number then means
    elsewhere = kind_of(hydra.launcher) != "BasicLauncher"
    try:
        with signals.installed() if elsewhere else nullcontext(), _requeued_after():
            yield
    except Exception as error:
        if not elsewhere or _can_travel(error):
            raise
        raise RuntimeError(f"{type(error).__name__}: {error}") from error
    finally:
        torch.set_num_threads(before)
        if usual is not None:
            torch.cuda.set_device(usual)


def _can_travel(error: Exception) -> bool:
    """Say whether an error can be sent to the command; one that cannot would end the sweep."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return False
    return True


@contextmanager
def _requeued_after() -> Iterator[None]:
    """Under submitit, let a run end as after Ctrl-C before its job is queued again.

    Slurm's warning is a signal, upon which submitit leaves the process at once, wherever it is.
    SIGTERM (`scancel`, `scontrol requeue`, preemption without a warning) ends the run in the same
    way; whether the job is queued again is then for Slurm to decide.
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
        if not signals.status():  # Slurm repeats itself; a second one would leave at once
            signals.ask(signal.SIGINT if received == number else signal.SIGTERM)

    ending = signal.signal(signal.SIGTERM, interrupt)
    signal.signal(number, interrupt)
    try:
        yield
    finally:
        signal.signal(number, usual)
        signal.signal(signal.SIGTERM, ending)
        if came:
            usual(number, None)  # queues the job again and leaves


def explained(error: BaseException) -> str | None:
    """Say in a sentence or two what ended a launcher, in place of its traceback.

    Args:
        error: what ended a sweep, as caught in the process of the command.

    Returns:
        The sentences; None if it was no launcher.
    """
    frames = [frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__)]
    plugin = next((_EXTRAS[p] for n in frames for p in _EXTRAS if f"hydra_plugins.{p}" in n), None)
    if plugin is None or isinstance(error, KeyboardInterrupt):
        return None
    kind, lines = type(error).__name__, str(error).strip().splitlines() or ["no reason given"]
    if kind in ("TerminatedWorkerError", "BrokenProcessPool"):
        return (
            "A worker process was killed, by the system for want of memory or by hand; joblib then "
            "ends the others, too. Fewer side by side want less: a smaller hydra.launcher.n_jobs"
        )
    if kind in ("FailedJobError", "UncompletedJobError"):
        state = re.search(r"\(state: (\w+)", str(error))
        how = f"Slurm says {state[1]}" if state and slurm.queue.ids else "killed or out of memory"
        rest = (
            slurm.still_there(slurm.queue)
            if slurm.queue.ids
            else "Others may be at work still: compare.py shows when they are done."
        )
        return f"The process of a run ended without a word, {how} ({lines[0]}).\n{rest}".rstrip()
    if kind in ("WorkerCrashedError", "OutOfMemoryError", "NodeDiedError"):
        return (
            f"The process of a run was killed, and Ray gave it up ({lines[0]}). Runs that were at "
            "work then have ended with it; hydra.launcher.ray.remote.max_retries says how often "
            "one is begun again."
        )
    return f"{plugin} could not go on: {kind}: {lines[-1].strip()}"
