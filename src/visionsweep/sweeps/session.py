"""Run a command to its end: report errors, show results, and print how to resume."""

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra.errors import HydraException

from visionsweep.errors import UserError
from visionsweep.runs.paths import goes_on
from visionsweep.runtime import signals, terminal
from visionsweep.runtime.streams import OutputError, give_up
from visionsweep.storage.files import disk_errors_explained
from visionsweep.sweeps import launchers, slurm
from visionsweep.sweeps.callback import command_state
from visionsweep.text import shell


def run(main: Callable[[], Any]) -> int:
    """Run a command to its end, show its results, and return its exit status.

    Returns:
        0; 1 if anything failed; 130 after Ctrl-C, 143 after SIGTERM.
    """
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra then raises errors
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
    finally:
        if (timer := command_state().timer) is not None:
            timer.cancel()
        launchers.end_workers()
    status = signals.status() or status
    if status >= 128 and (said := slurm.queue().cancel()):
        terminal.write(said)
    state = command_state()
    if state.progress is not None:
        state.progress.close()
    # The progress row of a run may show the error already.
    if failed is not None and not (state.progress is not None and state.progress.told(failed)):
        if isinstance(failed, UserError | HydraException):
            print(failed, file=sys.stderr)
        elif explanation := launchers.explained(failed):
            print(explanation, file=sys.stderr)
        else:
            traceback.print_exception(failed)
    sys.stderr.flush()
    try:
        if state.sweep_dir is not None and state.sweep_dir.is_dir():
            status = finish_sweep(state.sweep_dir, status)
        elif state.run_dir is not None:
            _finish_run(state.run_dir, status)
        sys.stdout.flush()
    except OutputError as error:
        lost = give_up(error)
        status = status or lost
    return status


def _finish_run(directory: Path, status: int) -> None:
    """Draw the figures of a run outside a sweep, and print its directory and next commands."""
    if status >= 128:
        print(f"Interrupted. {goes_on(directory)}:\n  {_again(directory)}")
    elif status == 0:
        from visionsweep.report.figures import draw_figures, runs_to_draw
        from visionsweep.report.leaderboard import groups_of
        from visionsweep.runs.discovery import find_runs

        state, runs = command_state(), find_runs([directory]).runs
        draw_figures(runs_to_draw(groups_of(runs), state.figures), state.cache_dir)
        print(
            f"Results are in {directory}. View them in TensorBoard, or predict with the model:\n"
            f"  {shell.run('view', directory)}\n"
            f"  {shell.run('predict', 'PHOTO', '--run', directory)}"
        )


def finish_sweep(directory: Path, status: int) -> int:
    """Draw figures, write the report, and print the leaderboard and the command that resumes.

    Return the exit status: that so far, or 1 if the report cannot be written.
    """
    from visionsweep.report import leaderboard
    from visionsweep.report.figures import draw_figures, runs_to_draw
    from visionsweep.report.numbers import counted
    from visionsweep.report.page import write_page
    from visionsweep.runs.costs import time_models
    from visionsweep.runs.discovery import completed, find_runs

    state = command_state()
    listing = find_runs([directory])
    if status < 128:
        time_models(directory, completed(listing.runs))
    groups = leaderboard.groups_of(listing.runs)
    page = directory / "report.html"
    failure: UserError | OSError | None = None
    if status < 128:
        draw_figures(runs_to_draw(groups, state.figures), state.cache_dir)
    if groups:  # before printing, which may fail
        command = shell.run("compare", directory, "--html", page)
        try:
            with disk_errors_explained(page):
                write_page(groups, listing.unfinished, page, command=command)
        except (UserError, OSError) as error:
            failure = error
    leaderboard.show([directory], listing, groups)
    if failure is not None:
        print(failure, file=sys.stderr)
        status = status or 1
    elif groups:
        print(f"Report for a browser, with curves and pictures:\n  {page}")
    elsewhere = state.progress.refused if state.progress is not None else []
    for name in dict.fromkeys([*state.refused, *elsewhere]):
        print(f"refused {name}: its directory holds a different run; see above")
    finished = sum(run.record.status == "completed" for run in listing.runs)
    done = counted(finished, "run")
    if state.planned is not None:
        done = f"{finished:,} of {state.planned:,} runs"
    if status >= 128:
        print(f"Interrupted. {done} finished. To run the rest:\n  {_again(directory)}")
    elif status:
        rest = "After fixing the errors above, run the rest with"
        print(f"{done} finished. {rest}:\n  {_again(directory)}")
    return status


def _again(directory: Path) -> str:
    """Return the command that completes the sweep or run in a directory."""
    asked = [a for a in sys.argv[1:] if a.partition("=")[0] not in ("sweep_dir", "resume", "force")]
    place = shell.setting("sweep_dir", directory)
    return shell.rerun([sys.argv[0], *asked, place])
