"""Who is at work in a run's directory: a claim, taken by exclusive creation, gone when it is done.

What became of a run is read from these two files, never remembered:

    claim of a living process            running
    otherwise result.json                completed, failed or interrupted, as it says
    otherwise a claim                    crashed: its process is gone and left no word
    neither                              not begun
"""

import logging
import os
import platform
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Annotated

import msgspec
import psutil
from filelock import FileLock

from visionsweep.errors import UserError
from visionsweep.runs.fields import Name, NonNegative
from visionsweep.runs.paths import CLAIM, RECORD
from visionsweep.runs.validation import check_time
from visionsweep.runtime import signals
from visionsweep.storage.untrusted import UntrustedFileError, decode_json, read_regular

log = logging.getLogger(__name__)

BEAT_SECONDS = 15.0  # how often a living process touches its claim
SILENT_SECONDS = 150.0  # a claim of another machine untouched for so long has no living process
_POLL_SECONDS = 0.5
_LARGEST = 65_536  # bytes of a claim

_held: set[Path] = set()  # by this process, now


class Claim(msgspec.Struct, frozen=True):
    """The content of a claim.

    Attributes:
        host: the machine's name.
        pid: the process's id there.
        began: when the process did, seconds since 1970: ids are given again.
        system: tells this start of this machine, and its space of process ids, from all others.
        name: of the run.
        taken: date and time, ISO 8601 with offset.
    """

    host: Name
    pid: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
    began: NonNegative
    system: Name
    name: Name
    taken: Annotated[str, msgspec.Meta(max_length=64)]

    @property
    def holder(self) -> str:
        """Name the process for people."""
        return f"process {self.pid} on {self.host}"


@dataclass(frozen=True)
class Found:
    """A claim that lies in a run's directory.

    Attributes:
        claim: its content; None if that cannot be read, as in the instant of its making.
        alive: whether its process is, as far as can be seen from here.
        heard: when its process last touched it, seconds since 1970.
    """

    claim: Claim | None
    alive: bool
    heard: float

    @property
    def holder(self) -> str:
        """Name the process for people."""
        return self.claim.holder if self.claim else "a process that left no name"


@cache
def _system() -> str:
    """Name what process ids hold within: a start of a machine, and in it a container."""
    parts = [platform.node()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    with suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").stat().st_ino))
    return "/".join(parts)


def find(run_dir: Path) -> Found | None:
    """Return the claim on a run's directory, or None where there is none.

    Raises:
        UntrustedFileError: if what lies there is no file that a process of ours made: a link, a
            FIFO, a directory.
    """
    path = run_dir / CLAIM
    try:
        content, heard = read_regular(path, _LARGEST), path.lstat().st_mtime
    except OSError:
        return None
    # A time to come, too, is no word from a living process: clocks differ by less.
    recent = abs(time.time() - heard) < SILENT_SECONDS
    try:
        claim = decode_json(content, Claim)
        check_time(claim.taken)
    except ValueError:
        return Found(None, recent, heard)
    if claim.system == _system():
        left = claim.pid == os.getpid() and path.absolute() not in _held
        return Found(claim, not left and _lives(claim.pid, claim.began), heard)
    return Found(claim, recent, heard)


def _lives(pid: int, began: float) -> bool:
    try:
        process = psutil.Process(pid)
        return bool(abs(process.create_time() - began) < 2 and process.status() != "zombie")
    except psutil.Error:
        return False


@contextmanager
def held(run_dir: Path, name: str) -> Iterator[None]:
    """Hold a run's directory for this process alone while the block runs.

    A living process that has it is waited for. The claim of a process that is gone is broken, with
    a warning. The claim goes when the block ends, unless that left no `result.json`: then it stays
    as the only sign of the run.

    Args:
        run_dir: the directory; made if missing.
        name: of the run.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    _take(run_dir, name)
    path = run_dir / CLAIM
    stop = threading.Event()
    beat = threading.Thread(target=_beat, args=(path, stop), daemon=True)
    beat.start()
    try:
        yield
    finally:
        stop.set()
        beat.join()
        _held.discard(path.absolute())
        if (run_dir / RECORD).is_file():
            path.unlink(missing_ok=True)


def _take(run_dir: Path, name: str) -> None:
    waiting = False
    while not _create(run_dir, name):
        try:
            found = find(run_dir)
        except UntrustedFileError as error:
            raise UserError(
                str(error),
                where=run_dir / CLAIM,
                hint="Who is at work there cannot be said; remove it, or choose another sweep_dir.",
            ) from error
        if found is None:
            continue  # released in between
        if not found.alive:
            _break(run_dir, found)
            continue
        if found.claim is not None and not waiting:
            log.info("%s is being trained by %s: waiting for what it finds", name, found.holder)
            waiting = True
        signals.check()
        time.sleep(_POLL_SECONDS)


def _create(run_dir: Path, name: str) -> bool:
    process, path = os.getpid(), run_dir / CLAIM
    claim = Claim(
        host=socket.gethostname(),
        pid=process,
        began=psutil.Process(process).create_time(),
        system=_system(),
        name=name,
        taken=datetime.now().astimezone().isoformat(timespec="seconds"),
    )
    try:
        with path.open("xb") as file:
            _held.add(path.absolute())
            file.write(msgspec.json.encode(claim))
    except FileExistsError:
        return False
    return True


def _break(run_dir: Path, dead: Found) -> None:
    """Remove the claim of a process that is gone; a lock keeps others from doing so twice."""
    with FileLock(run_dir / ".claim.lock"):
        now = find(run_dir)
        if now is None or now.claim != dead.claim or now.alive:
            return  # somebody else was quicker
        log.warning(
            "%s: %s has it and is gone, last heard of %s ago; its claim is broken",
            run_dir,
            dead.holder,
            _ago(dead.heard),
        )
        (run_dir / CLAIM).unlink()


def _ago(moment: float) -> str:
    seconds = max(0, round(time.time() - moment))
    return f"{seconds} s" if seconds < 600 else f"{seconds // 60:,} minutes"


def _beat(path: Path, stop: threading.Event) -> None:
    """Touch a claim; where a link has taken its place, the link and not what it names."""
    while not stop.wait(BEAT_SECONDS):
        with suppress(OSError):
            os.utime(path, follow_symlinks=os.utime not in os.supports_follow_symlinks)
