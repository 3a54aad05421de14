"""Run the project's commands as subprocesses, in a folder of their own."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "src"


def run(
    *command: str | Path, folder: Path, on_line: Callable[[int, str], None] | None = None
) -> float:
    """Run a Python script and return its wall time in seconds, imports included.

    Args:
        command: the script and its arguments.
        folder: working directory; its `cache` is the cache.
        on_line: callback for each printed line, with the process id.

    Raises:
        RuntimeError: if the script fails; the message has its last lines.
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


@dataclass(frozen=True)
class Measured:
    """Time and memory of one command.

    Attributes:
        seconds: wall time, imports included.
        cpu_seconds: CPU time over all cores; other work on the machine affects it less.
        memory: peak resident set size, in bytes.
        output: standard output.
    """

    seconds: float
    cpu_seconds: float
    memory: int
    output: str


# A process's peak includes what its parent held when it was forked, so a small process starts it.
_LAUNCHER = """
import resource, subprocess, sys, time
start = time.perf_counter()
status = subprocess.run(sys.argv[1:]).returncode
seconds = time.perf_counter() - start
used = resource.getrusage(resource.RUSAGE_CHILDREN)
peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(status, seconds, used.ru_utime + used.ru_stime, peak, file=sys.stderr)
"""


def measured(*command: str | Path, folder: Path) -> Measured:
    """Run a Python script in a folder and return its time and memory.

    Raises:
        RuntimeError: if the script fails; the message has its last lines.
    """
    done = subprocess.run(
        [sys.executable, "-S", "-c", _LAUNCHER, sys.executable, *map(str, command)],
        cwd=folder,
        env=os.environ | {"VISIONSWEEP_CACHE": str(folder / "cache")},
        capture_output=True,
        text=True,
        check=True,
    )
    status, seconds, cpu_seconds, peak = done.stderr.splitlines()[-1].split()
    if int(status):
        raise RuntimeError("\n".join((done.stdout + done.stderr).splitlines()[-20:]))
    return Measured(float(seconds), float(cpu_seconds), int(peak), done.stdout)


def photographs() -> list[str]:
    """Return settings for the real photographs if `VISIONSWEEP_PHOTOGRAPHS` names their folder."""
    folder = os.environ.get("VISIONSWEEP_PHOTOGRAPHS")
    return [f"data.base_url={Path(folder).resolve().as_uri()}"] if folder else []
