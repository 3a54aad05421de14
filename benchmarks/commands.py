"""Runs the project's commands for the benchmarks: as a user does, in a folder of their own."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "src"


def run(
    *command: str | Path, folder: Path, on_line: Callable[[int, str], None] | None = None
) -> float:
    """Run a Python script to its end and return the seconds it took, imports included.

    Args:
        command: the script and its arguments.
        folder: working directory; its `cache` is the cache.
        on_line: told of the process's id and of each line that it prints.

    Raises:
        RuntimeError: with the last lines printed, if it fails.
    """
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *map(str, command)],
        cwd=folder,
        env=os.environ | {"VISIONSWEEP_CACHE": str(folder / "cache")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if on_line is not None:
            on_line(process.pid, line)
    if process.wait():
        raise RuntimeError("".join(lines[-20:]))
    return time.perf_counter() - start


def photographs() -> list[str]:
    """Return settings for the real photographs if `VISIONSWEEP_PHOTOGRAPHS` names their folder."""
    folder = os.environ.get("VISIONSWEEP_PHOTOGRAPHS")
    return [f"data.base_url={Path(folder).resolve().as_uri()}"] if folder else []
