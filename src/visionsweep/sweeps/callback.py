"""Hydra callback: records directories, endings, and progress of runs; implements `fail_fast`."""

import itertools
import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from visionsweep.command_memory import remembered
from visionsweep.config.overrides import values_of
from visionsweep.errors import RefusedError, UserError
from visionsweep.runtime import signals, terminal
from visionsweep.storage.files import write_atomically
from visionsweep.storage.untrusted import read_regular
from visionsweep.sweeps import launchers
from visionsweep.sweeps.endings import Ending, ending_of, entered_at, note_end
from visionsweep.sweeps.progress import Progress

log = logging.getLogger(__name__)

_STOPPED = ".stopped"  # in a sweep's directory: name of the run whose failure stopped the sweep


@dataclass
class CommandState:
    """Directories and results of the runs of this process's command."""

    sweep_dir: Path | None = None  # None in a launcher's process
    run_dir: Path | None = None  # of a run outside a sweep
    planned: int | None = None  # number of runs; None if a sweeper decides it
    figures: str = "auto"  # the setting
    cache_dir: str | None = None  # the setting `features.cache_dir`
    refused: list[str] = field(default_factory=list)  # names of runs that have no record
    timer: threading.Timer | None = None  # of max_seconds
    progress: Progress | None = None  # None in a launcher's process


@remembered()
def command_state() -> CommandState:
    """Return the state of the command in this process."""
    return CommandState()


class SweepCallback(Callback):
    """Records in the command's process where runs go, and shows their progress.

    Hydra does not call it at the end of a sweep in which a run failed; see `session.run`.
    """

    def __init__(self) -> None:
        self.command = launchers.Command()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Arrive in a launcher's process, before it composes the configuration of a run."""
        self.__dict__ |= state
        launchers.prepare_composition()

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Take over arguments and environment of the command; show that a run begins."""
        self.command.join(config.hydra.launcher)
        if config.hydra.mode != RunMode.MULTIRUN:
            return
        state = command_state()
        terminal.terminal().in_worker = state.sweep_dir is None
        if config.hydra.verbose is False:
            terminal.SweepHandler.install()
        if state.progress is not None:
            state.progress.begin(Path(config.hydra.runtime.output_dir).name)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Show how a run ended, or write it down for the process that shows it."""
        if config.hydra.mode != RunMode.MULTIRUN:
            return
        run_dir, error = Path(config.hydra.runtime.output_dir), job_return._return_value
        refused = str(error) if isinstance(error, RefusedError) else ""
        progress = command_state().progress
        if progress is None:
            note_end(run_dir, refused)
            return
        reason = str(error) if isinstance(error, Exception) else ""
        ending = Ending(run_dir.name, "refused" if refused else "failed", reason=reason)
        if not refused:
            ending = ending_of(run_dir, entered_at(run_dir) or 0.0, over=True) or ending
        progress.end(ending, list(config.hydra.overrides.task))

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Record the directory and the runs of a sweep."""
        self.command.prepare(config.hydra.launcher)
        state = command_state()
        state.sweep_dir = Path(config.hydra.sweep.dir)
        _take_settings(config)
        planned = planned_runs(config.hydra)
        state.planned = None if planned is None else len(planned)
        (state.sweep_dir / _STOPPED).unlink(missing_ok=True)
        watching = launchers.runs_elsewhere(config.hydra.launcher)
        state.progress = Progress(state.sweep_dir, planned, watching=watching)

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Record the directory of a run outside a sweep."""
        state = command_state()
        state.run_dir = Path(config.hydra.run.dir)
        _take_settings(config)


def _take_settings(config: DictConfig) -> None:
    """Take the settings of the whole command, and start to count its time."""
    state = command_state()
    state.figures, state.cache_dir = config.figures, config.features.cache_dir
    if config.max_seconds is not None:
        _limit_time(config.max_seconds)


def _limit_time(seconds: float) -> None:
    """End the command as SIGTERM does once it has taken a number of seconds.

    A process of a launcher gets the signal from this one, as it does from a terminal.
    """

    def end() -> None:
        terminal.write(f"max_seconds={seconds:g}: the time is over.")
        os.kill(os.getpid(), signal.SIGTERM)

    timer = command_state().timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


def tries_all(sweeper: DictConfig) -> bool:
    """Return whether a sweeper runs all combinations of the given values, and no others."""
    return str(sweeper._target_).endswith(".BasicSweeper")


def planned_runs(hydra: DictConfig) -> list[dict[str, str]] | None:
    """Return the given settings of each run in order; None if the sweeper decides them."""
    if not tries_all(hydra.sweeper):
        return None
    params = [f"{key}={value}" for key, value in (hydra.sweeper.get("params") or {}).items()]
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    overrides = parser.parse_overrides([*params, *hydra.overrides.task])
    # If a key is given twice, Hydra uses the last.
    lists = {override.get_key_element(): values_of(override) for override in overrides}
    texts = [[value.partition("=")[2] for value in values] for values in lists.values()]
    return [dict(zip(lists, values, strict=True)) for values in itertools.product(*texts)]


@contextmanager
def job(config: DictConfig, name: str) -> Iterator[None]:
    """Wrap one run: report an error at once; with `fail_fast`, start no further run after it.

    Raises:
        UserError: if `fail_fast` stopped the sweep before this run.
    """
    signals.check()
    stopped = Path(config.sweep_dir) / _STOPPED
    sweeping = HydraConfig.get().mode == RunMode.MULTIRUN
    one_stops_all = config.fail_fast and sweeping
    if one_stops_all:
        with suppress(OSError, ValueError):
            failed = read_regular(stopped, 1024).decode(errors="replace")
            raise UserError(f"{name}: not started, because {failed} failed (fail_fast=true)")
    state = command_state()
    try:
        yield
    except Exception as error:
        if isinstance(error, UserError) and sweeping:
            log.error("%s: %s", name, error, extra={"told": True})  # shown in the progress row
        if isinstance(error, RefusedError):
            state.refused.append(name)
        if one_stops_all:
            write_atomically(stopped, name.encode())
            if state.sweep_dir is not None:  # the parent process: the basic launcher
                raise SystemExit(1) from error
        raise
