"""Around runs: where they go, how one that fails is taken, what is printed when all has ended."""

import itertools
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from visionsweep.config.overrides import values_of
from visionsweep.errors import RefusedError, UserError
from visionsweep.runs.paths import goes_on
from visionsweep.runtime import signals, terminal
from visionsweep.runtime.streams import OutputError, give_up
from visionsweep.storage.files import disk_errors_explained, open_regular, write_atomically
from visionsweep.sweep import launchers, slurm
from visionsweep.sweep.endings import Ending, ending_of, entered_at, note_end
from visionsweep.sweep.progress import Progress
from visionsweep.text import shell

log = logging.getLogger(__name__)

_STOPPED = ".stopped"  # in a sweep's directory: the run whose failure let no other begin


class NoteSweep(Callback):
    """Notes in the parent process where runs go; Hydra calls it before the first.

    At the end of a sweep in which a run failed it calls nothing: that is for `run`.
    """

    sweep_dir: Path | None = None
    asked: int | None = None  # how many runs the command asks for, if that is known beforehand
    run_dir: Path | None = None
    figures: ClassVar[str] = "auto"  # runs that get figures at the end
    refused: ClassVar[list[str]] = []  # runs of this process that have no record to tell of them
    progress: ClassVar[Progress | None] = None  # in the parent process of a sweep

    def __init__(self) -> None:
        self.command = launchers.Command()

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Make the process of a launcher one of the command's; show that a run begins."""
        self.command.join()
        if config.hydra.mode != RunMode.MULTIRUN:
            return
        terminal.in_worker = NoteSweep.sweep_dir is None
        if config.hydra.verbose is False:
            terminal.SweepHandler.install()
        if NoteSweep.progress is not None:
            NoteSweep.progress.begin(Path(config.hydra.runtime.output_dir).name)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Show how a run ended, or leave word for the process that does."""
        if config.hydra.mode != RunMode.MULTIRUN:
            return
        run_dir, error = Path(config.hydra.runtime.output_dir), job_return._return_value
        refused = str(error) if isinstance(error, RefusedError) else ""
        if NoteSweep.progress is None:
            note_end(run_dir, refused)
            return
        ending = ending_of(run_dir, entered_at(run_dir) or 0.0, over=True)
        if refused:
            ending = Ending(run_dir.name, "refused", reason=refused)
        elif ending is None:
            reason = str(error) if isinstance(error, Exception) else ""
            ending = Ending(run_dir.name, "failed", reason=reason)
        NoteSweep.progress.end(ending, list(config.hydra.overrides.task))

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Take down the sweep's directory, in which everything may begin."""
        self.command.prepare(config.hydra.launcher)
        NoteSweep.sweep_dir = Path(config.hydra.sweep.dir)
        NoteSweep.figures = config.figures
        planned = planned_runs(config.hydra)
        NoteSweep.asked = None if planned is None else len(planned)
        (NoteSweep.sweep_dir / _STOPPED).unlink(missing_ok=True)
        watching = launchers.kind_of(config.hydra.launcher) != "BasicLauncher"
        NoteSweep.progress = Progress(NoteSweep.sweep_dir, planned, watching=watching)

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Take down the directory of a run outside a sweep."""
        NoteSweep.run_dir = Path(config.hydra.run.dir)
        NoteSweep.figures = config.figures


def planned_runs(hydra: DictConfig) -> list[dict[str, str]] | None:
    """Return the settings of each run of a sweep, in order; None where its sweeper decides them.

    Args:
        hydra: Hydra's node of the composed configuration.
    """
    if not hydra.sweeper._target_.endswith(".BasicSweeper"):
        return None
    params = [f"{key}={value}" for key, value in (hydra.sweeper.get("params") or {}).items()]
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    overrides = parser.parse_overrides([*params, *hydra.overrides.task])
    # Of a key that is given twice Hydra takes the last.
    lists = {override.get_key_element(): values_of(override) for override in overrides}
    swept = {key: values for key, values in lists.items() if len(values) != 1}
    texts = [[value.partition("=")[2] for value in values] for values in swept.values()]
    return [dict(zip(swept, values, strict=True)) for values in itertools.product(*texts)]


@contextmanager
def job(config: DictConfig, name: str) -> Iterator[None]:
    """Around one run: what fails is said at once; with `fail_fast` no further one begins.

    Args:
        config: the run's configuration.
        name: the run's.

    Raises:
        UserError: if `fail_fast` stopped the sweep before this run.
    """
    signals.check()
    stopped = Path(config.sweep_dir) / _STOPPED
    sweeping = HydraConfig.get().mode == RunMode.MULTIRUN
    one_stops_all = config.fail_fast and sweeping
    if one_stops_all and (failed := _failed_run(stopped)) is not None:
        raise UserError(f"{name}: not begun, since {failed} failed (fail_fast=true)")
    try:
        yield
    except Exception as error:
        if isinstance(error, UserError) and sweeping:  # of a run by itself it is said at the end
            log.error("%s: %s", name, error, extra={"told": True})  # by the row of the run
        if isinstance(error, RefusedError):
            NoteSweep.refused.append(name)
        if one_stops_all:
            write_atomically(stopped, name.encode())
            if NoteSweep.sweep_dir is not None:  # the parent process: the basic launcher
                raise SystemExit(1) from error
        raise


def _failed_run(stopped: Path) -> str | None:
    """Return the name of the run whose failure stopped a sweep, or None if none did."""
    try:
        with open_regular(stopped) as file:
            return file.read(1024).decode(errors="replace")
    except OSError:
        return None


def run(main: Callable[[], Any]) -> int:
    """Run a command to its end, say what came of it, and return its exit status.

    Args:
        main: the function decorated by `hydra.main`.

    Returns:
        0; 1 if anything failed; 130 after Ctrl-C, 143 after SIGTERM.
    """
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra then leaves errors to us
    status, failed = 1, None
    try:
        with disk_errors_explained(Path("outputs")):
            main()
        status = 0
    except KeyboardInterrupt:
        status = 130
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except Exception as error:
        failed = error
    status = signals.status() or status
    if status >= 128 and (said := slurm.queue.cancel()):
        terminal.write(said)
    if NoteSweep.progress is not None:
        NoteSweep.progress.close()
    if failed is not None:
        _tell_error(failed)
    sys.stderr.flush()
    try:
        if NoteSweep.sweep_dir is not None and NoteSweep.sweep_dir.is_dir():
            status = _tell(NoteSweep.sweep_dir, status)
        elif NoteSweep.run_dir is not None:
            _tell_of_one(NoteSweep.run_dir, status)
        sys.stdout.flush()
    except OutputError as error:
        lost = give_up(error)
        status = status or lost
    return status


def _tell_error(error: Exception) -> None:
    """Print what ended a command, unless the row of a run has told it."""
    if NoteSweep.progress is not None and NoteSweep.progress.told(error):
        return
    if isinstance(error, UserError | HydraException):
        print(error, file=sys.stderr)
    elif said := launchers.explained(error):
        print(said, file=sys.stderr)
    else:
        traceback.print_exception(error)


def _tell_of_one(directory: Path, status: int) -> None:
    """Say where a run outside a sweep lies and what can be done with it.

    Args:
        directory: of the run.
        status: the exit status.
    """
    if status >= 128:
        print(f"Interrupted. {goes_on(directory)}:\n  {_again(directory)}")
    elif status == 0:
        from visionsweep.report.figures import draw_figures, runs_to_draw
        from visionsweep.report.leaderboard import groups_of
        from visionsweep.runs.discovery import find_runs

        draw_figures(runs_to_draw(groups_of(find_runs([directory]).runs), NoteSweep.figures))
        predict = ("python", shell.script("predict.py"), "PHOTO", "--run", directory)
        print(
            f"Results are in {directory}. View them in TensorBoard, or predict with the model:\n"
            f"  {shell.command('tensorboard', '--logdir', directory)}\n"
            f"  {shell.command(*predict)}"
        )


def _tell(directory: Path, status: int) -> int:
    """Print the leaderboard and what is unfinished, write the page, and say how to go on.

    Args:
        directory: of the sweep.
        status: the exit status so far.

    Returns:
        The exit status: another if the page cannot be written.
    """
    from visionsweep.report import leaderboard
    from visionsweep.report.figures import draw_figures, runs_to_draw
    from visionsweep.report.numbers import counted
    from visionsweep.report.page import write_page
    from visionsweep.runs.discovery import find_runs

    found = find_runs([directory])
    groups = leaderboard.groups_of(found.runs)
    page = directory / "report.html"
    failure: UserError | OSError | None = None
    if status < 128:
        draw_figures(runs_to_draw(groups, NoteSweep.figures))
    if groups:  # before anything is printed: output may be closed, or know no Unicode
        compare = shell.script("compare.py")
        command = shell.command("python", compare, directory, "--html", page)
        try:
            with disk_errors_explained(page):
                write_page(groups, found.unfinished, page, command=command)
        except (UserError, OSError) as error:
            failure = error
    leaderboard.show([directory], found, groups)
    if failure is not None:
        print(failure, file=sys.stderr)
        status = status or 1
    elif groups:
        print(f"The same with curves and pictures, for a browser:\n  {page}")
    elsewhere = NoteSweep.progress.refused if NoteSweep.progress is not None else []
    for name in dict.fromkeys([*NoteSweep.refused, *elsewhere]):
        print(f"refused {name}: its directory holds a run that differs, as said above")
    finished = sum(run.record.status == "completed" for run in found.runs)
    kept = f"{counted(finished, 'run')} here {'is' if finished == 1 else 'are'} finished and kept"
    if NoteSweep.asked is not None:
        kept += f"; the command asks for {NoteSweep.asked:,}"
    if status >= 128:
        print(f"Interrupted. {kept}. This does the rest:\n  {_again(directory)}")
    elif status:
        print(
            f"Not everything was done. {kept}. When what is said above is mended, this does the "
            f"rest:\n  {_again(directory)}"
        )
    return status


def _again(directory: Path) -> str:
    """Return the command that goes on with what lies in a directory."""
    asked = [a for a in sys.argv[1:] if a.partition("=")[0] not in ("sweep_dir", "resume", "force")]
    place = shell.setting("sweep_dir", directory)
    return shell.command("python", Path(sys.argv[0]), *asked, place)
