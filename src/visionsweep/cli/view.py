"""Look at runs in TensorBoard: opens it on the outputs, showing the latest sweep.

    python src/view.py                                    the latest sweep in outputs
    python src/view.py outputs/2026-01-31/12-00-00-000000      the sweep you name
    python src/view.py --all                              every run there is

Prints the address, opens the browser if there is one, and runs until Ctrl-C. Only this machine can
reach it.
"""

import argparse
import os
import sys
import time
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from visionsweep.cli import entry
from visionsweep.cli.entry import path_argument
from visionsweep.report.numbers import counted
from visionsweep.runs.paths import default_outputs, event_folders, latest_sweep
from visionsweep.runtime import signals
from visionsweep.tensorboard import server

PATIENCE = 20.0  # seconds for TensorBoard to read the runs, before the browser opens all the same


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; arguments default to those of the process."""
    return entry.run(_view, arguments, script="view.py")


def _view(arguments: list[str]) -> int:
    """Serve until Ctrl-C; exit status 0."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "folder", nargs="?", type=path_argument, metavar="FOLDER",
        help="outputs, a sweep in them, or a run (outputs)",
    )  # fmt: skip
    parser.add_argument(
        "--port", type=_port, metavar="N", help="where it listens (6006, or the next free one)"
    )
    parser.add_argument(
        "--all", action="store_true", help="show every run, not those of the latest sweep alone"
    )
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    options = parser.parse_args(arguments)

    folder = options.folder or default_outputs()
    folders = event_folders(folder)
    shown = folder if options.all or folder in folders else latest_sweep(folders, folder)
    runs = [place for place in folders if place.is_relative_to(shown)]
    others = len(folders) - len(runs)
    content = f"{counted(len(runs), 'run')} in {shown}"
    if others:
        content += f"; --all shows {others} more"
    if shown in folders:  # a run, which TensorBoard would call "."
        with server.alone(shown) as served:
            return _serve(served, [shown.resolve().name], content, options)
    names = [run.relative_to(shown).as_posix() for run in runs]
    return _serve(shown, names, content, options)


def _serve(folder: Path, runs: list[str], content: str, options: argparse.Namespace) -> int:
    """Serve a folder until Ctrl-C.

    Args:
        folder: the folder of the runs.
        runs: names of the runs to wait for.
        content: which runs are shown, in words.
        options: the command's arguments.
    """
    url = server.serve(folder, options.port)
    address = server.address_of(url)
    print(f"TensorBoard: {address}")
    print(f"It shows {content}. Ctrl-C ends it.", flush=True)
    try:
        with signals.installed(acknowledge=False):  # it ends at once
            server.wait_for(url, runs, PATIENCE)
            if not options.no_browser and _has_window():
                webbrowser.open(address)
            while True:  # looks for a signal that an exception handler in between has swallowed
                signals.check()
                time.sleep(0.5)
    except KeyboardInterrupt:
        print()
    return 0


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{text}: a port is a number from 1 to 65535")
    return port


def _has_window() -> bool:
    """Say whether a browser would open a window, and not take over this terminal."""
    if sys.platform in ("darwin", "win32"):
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))
