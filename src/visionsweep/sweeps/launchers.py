"""Hydra's launchers joblib, Ray and submitit: checks before a sweep, messages when one fails."""

import importlib.util
import os
import re
import shutil
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from traceback import walk_tb
from typing import Any

from omegaconf import DictConfig, OmegaConf

from visionsweep.config.schema import register_schema
from visionsweep.errors import UserError
from visionsweep.runs import names
from visionsweep.runtime import terminal
from visionsweep.runtime.threads import cores
from visionsweep.sweeps import slurm
from visionsweep.sweeps.gpus import gpu_count

# Hydra's plugins by the extras of this package that install them.
_PLUGIN = re.compile(r"hydra_plugins\.hydra_(joblib|ray|submitit)_launcher")
_FOR_RUNS = {"VISIONSWEEP_CACHE", "TORCH_HOME"}  # environment variables that runs need
_VISIBLE_GPUS = "CUDA_VISIBLE_DEVICES"
# Read when Ray is imported or started. By default it sends usage statistics, drops log lines that
# resemble others, and hides GPUs from runs that reserve none.
_RAY = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


def prepare_composition() -> None:
    """Prepare a process for composing configurations: schema, resolvers, warnings.

    The resolvers `one_process_per_gpu` and `one_gpu_per_run` give launchers their defaults.

    Hydra warns that presets in `conf/hydra/launcher/` have the plugins' names. It validates them
    against the plugins' schemas, which is intended.
    """
    register_schema()
    names.register_resolvers()
    OmegaConf.register_new_resolver(
        "one_process_per_gpu", lambda device: gpu_count(device) or -1, replace=True
    )
    OmegaConf.register_new_resolver(
        "one_gpu_per_run",
        lambda device, address: min(1, gpu_count(device)) if address is None else 0,
        replace=True,
    )
    warnings.filterwarnings("ignore", r"\s*'hydra/launcher/\w+' is validated against ConfigStore")


def kind_of(launcher: Mapping[str, Any]) -> str:
    """Return the name of the class in `hydra.launcher`, such as `JoblibLauncher`."""
    return str(launcher["_target_"]).rpartition(".")[2]


def processes_of(launcher: Mapping[str, Any], cores: int) -> int:
    """Return the number of processes of the joblib launcher, which counts cores from -1 down."""
    jobs = int(launcher["n_jobs"])
    return jobs if jobs > 0 else max(1, cores + 1 + jobs)


def runs_elsewhere(launcher: Mapping[str, Any]) -> bool:
    """Return whether runs are trained in other processes; one process of joblib is the command."""
    kind = kind_of(launcher)
    return kind != "BasicLauncher" and (
        kind != "JoblibLauncher" or processes_of(launcher, cores()) > 1
    )


def refuse_impossible(config: DictConfig) -> None:
    """Refuse a launcher that cannot run the sweep of a configuration with the `hydra` node.

    Raises:
        UserError: if the launcher's plugin is not installed; if Slurm is not available or cannot
            provide the resources; or if a Ray cluster would resolve a relative path differently.
    """
    launcher = config.hydra.launcher
    parts = str(launcher._target_).split(".")
    if parts[0] == "hydra_plugins" and importlib.util.find_spec(".".join(parts[:2])) is None:
        extra = _PLUGIN.match(launcher._target_)
        remedy = f"pip install -e '.[{extra[1]}]'" if extra else f"install {parts[1]}"
        raise UserError(f"{parts[-1]} is not installed; {remedy}", where="hydra/launcher")
    if parts[-1] == "SlurmLauncher":
        if not (shutil.which("sbatch") and shutil.which("srun")):
            raise UserError(
                "sbatch and srun are not available here; start it on a machine that submits jobs "
                "to Slurm, or use hydra/launcher=joblib",
                where="hydra/launcher=submitit_slurm",
            )
        slurm.refuse_impossible(launcher)
    if parts[-1] == "RayLauncher" and launcher.ray.init.get("address") is not None:
        # The processes of a cluster start where `ray start` was called.
        for key in ("outputs_dir", "sweep_dir", "data.root"):
            if not Path(path := OmegaConf.select(config, key)).is_absolute():
                raise UserError(
                    "a process of the Ray cluster would look for it elsewhere; give the absolute "
                    f"path of a folder that all its machines share: {key}=/.../{path}",
                    where=f"{key}={path}",
                )


@dataclass(frozen=True)
class Command:
    """The command that a run in a launcher's process belongs to."""

    arguments: list[str] = field(default_factory=lambda: list(sys.argv))
    environment: dict[str, str] = field(
        default_factory=lambda: {name: os.environ[name] for name in _FOR_RUNS & os.environ.keys()}
    )

    visible_gpus: str | None = field(default_factory=lambda: os.environ.get(_VISIBLE_GPUS))

    def prepare(self, launcher: Mapping[str, Any]) -> None:
        """Set the environment variables that launchers read when they are imported."""
        for name, value in _RAY.items():
            os.environ.setdefault(name, value)
        if kind_of(launcher) == "SlurmLauncher":
            slurm.watch(terminal.write)

    def join(self, launcher: Mapping[str, Any]) -> None:
        """Take over the command's arguments and environment in this process.

        submitit_local numbers GPUs from 0; its processes get those that the command sees.
        """
        sys.argv[:] = self.arguments
        os.environ.update(self.environment)
        if kind_of(launcher) == "LocalLauncher":
            count, visible = launcher.get("gpus_per_node"), self.visible_gpus
            if visible is not None:
                os.environ[_VISIBLE_GPUS] = ",".join(visible.split(",")[: count or None])
            elif not count:
                os.environ.pop(_VISIBLE_GPUS, None)


def end_workers() -> None:
    """End the processes that joblib keeps for a next sweep.

    They would run it in the folder and environment of this one.
    """
    if (loky := sys.modules.get("joblib.externals.loky")) is not None:
        loky.get_reusable_executor(reuse=True).shutdown()


def explained(error: BaseException) -> str | None:
    """Return why a launcher ended a sweep, in place of a traceback, or None for other errors."""
    modules = [frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__)]
    plugin = _PLUGIN.search(" ".join(modules))
    if plugin is None or isinstance(error, KeyboardInterrupt):
        return None
    kind, lines = type(error).__name__, str(error).strip().splitlines() or ["no reason given"]
    if kind in ("TerminatedWorkerError", "BrokenProcessPool"):
        return (
            "A worker process was killed, by hand or by the system because memory ran out; joblib "
            "then ends the others. Use fewer simultaneous runs: a smaller hydra.launcher.n_jobs"
        )
    if kind in ("FailedJobError", "UncompletedJobError"):
        how = "killed or out of memory"
        rest = "Others may still be running: compare.py shows when they are done."
        if slurm.queue().ids:
            rest = slurm.still_there()
            if state := re.search(r"\(state: (\w+)", str(error)):
                how = f"Slurm says {state[1]}"
        return f"The process of a run ended without a message, {how} ({lines[0]}).\n{rest}".rstrip()
    if kind in ("WorkerCrashedError", "OutOfMemoryError", "NodeDiedError"):
        return (
            f"The process of a run was killed, and Ray gave up on it ({lines[0]}). Runs in "
            "progress ended with it. hydra.launcher.ray.remote.max_retries sets how often a run is "
            "retried."
        )
    return f"{plugin[1]} failed: {kind}: {lines[-1].strip()}"
