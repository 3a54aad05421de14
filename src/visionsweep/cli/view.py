"""Look at runs in TensorBoard: opens it on the outputs, showing the latest sweep.

    python src/view.py                                    the latest sweep in outputs
    python src/view.py outputs/2026-01-31/12-00-00-000000      the sweep you name
    python src/view.py --all                              every run there is

Prints the address, opens the browser if there is one, and runs until Ctrl-C. Only this machine can
reach it.
"""

import os
import sys
import time
import webbrowser
from contextlib import nullcontext

from visionsweep.cli.entry import command, number, parser, path_argument
from visionsweep.report.numbers import counted
from visionsweep.runs.paths import default_outputs, event_folders, latest_sweep
from visionsweep.runtime import signals
from visionsweep.tensorboard import server

PATIENCE = 20.0  # seconds for TensorBoard to read the runs, before the browser opens all the same


@command("view")
def main(arguments: list[str]) -> int:
    """Serve until Ctrl-C; exit status 0."""
    parse = parser(__doc__)
    add = parse.add_argument
    add(
        "folder", nargs="?", type=path_argument, metavar="FOLDER",
        help="outputs, a sweep in them, or a run (outputs)",
    )  # fmt: skip
    add(
        "--port", type=number(int, 0, 65535), metavar="N",
        help="where it listens (6006, or the next free one)",
    )  # fmt: skip
    add("--all", action="store_true", help="show every run, not those of the latest sweep alone")
    add("--no-browser", action="store_true", help="only print the address")
    options = parse.parse_args(arguments)
    folder = options.folder or default_outputs()
    folders = event_folders(folder)
    shown = folder if options.all or folder in folders else latest_sweep(folders, folder)
    runs = [place for place in folders if place.is_relative_to(shown)]
    others = len(folders) - len(runs)
    content = f"{counted(len(runs), 'run')} in {shown}"
    if others:
        content += f"; --all shows {others} more"
    single = shown in folders  # a run, which TensorBoard would call "."
    names = [shown.resolve().name if single else run.relative_to(shown).as_posix() for run in runs]
    with server.alone(shown) if single else nullcontext(shown) as served:
        url = server.serve(served, options.port)
        address = server.address_of(url)
        print(f"TensorBoard: {address}")
        print(f"It shows {content}. Ctrl-C ends it.", flush=True)
        try:
            with signals.installed(acknowledge=False):  # it ends at once
                server.wait_for(url, names, PATIENCE)
                if not options.no_browser and _has_window():
                    webbrowser.open(address)
                while True:  # looks for a signal that an exception handler has swallowed
                    signals.check()
                    time.sleep(0.5)
        except KeyboardInterrupt:
            print()
    return 0


def _has_window() -> bool:
    """Say whether a browser would open a window, and not take over this terminal."""
    names = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    return sys.platform in ("darwin", "win32") or any(map(os.environ.get, names))
