"""Claims: which process trains the run in a directory.

A claim is a file created exclusively and deleted at the end. The status of a run follows from it:

    claim of a living process            running
    otherwise result.json                completed, failed or interrupted
    otherwise a claim                    crashed
    neither                              not started
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
from datetime import datetime, timedelta
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

HEARTBEAT_SECONDS = 15.0  # interval at which a process touches its claim
STALE_AFTER_SECONDS = 150.0  # age after which a claim of another machine is stale
_POLL_SECONDS = 0.5
_LARGEST = 65_536  # bytes of a claim

_held: set[Path] = set()  # by this process, now


class Claim(msgspec.Struct, frozen=True):
    """The content of a claim."""

    host: Name
    pid: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
    began: NonNegative  # start of the process in seconds since 1970, since ids are reused
    system: Name  # identifies the boot of the machine and its namespace of process ids
    name: Name  # of the run
    taken: Annotated[str, msgspec.Meta(max_length=64)]  # date and time, ISO 8601 with offset


@dataclass(frozen=True)
class ClaimStatus:
    """The claim on a run directory."""

    claim: Claim | None  # None if it cannot be read, as while it is written
    alive: bool  # whether its process is alive, as far as this machine can tell
    heard: float  # time of the last heartbeat, in seconds since 1970

    @property
    def holder(self) -> str:
        """Description of the process."""
        claim = self.claim
        return f"process {claim.pid} on {claim.host}" if claim else "an unknown process"


@cache
def _system() -> str:
    """Identify the namespace of process ids: the boot of a machine, and a container in it."""
    parts = [platform.node()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    with suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").stat().st_ino))
    return "/".join(parts)


def find(run_dir: Path) -> ClaimStatus | None:
    """Return the claim on a run's directory, or None if there is none.

    Raises:
        UntrustedFileError: if it is a link, a FIFO, or a directory.
    """
    path = run_dir / CLAIM
    try:
        content, heard = read_regular(path, _LARGEST), path.lstat().st_mtime
    except OSError:
        return None
    # A future time is stale too: clocks differ by less.
    recent = abs(time.time() - heard) < STALE_AFTER_SECONDS
    try:
        claim = decode_json(content, Claim)
        check_time(claim.taken)
    except ValueError:
        return ClaimStatus(None, recent, heard)
    if claim.system == _system():
        left = claim.pid == os.getpid() and path.absolute() not in _held
        return ClaimStatus(claim, not left and _lives(claim.pid, claim.began), heard)
    return ClaimStatus(claim, recent, heard)


def _lives(pid: int, began: float) -> bool:
    try:
        process = psutil.Process(pid)
        return bool(abs(process.create_time() - began) < 2 and process.status() != "zombie")
    except psutil.Error:
        return False


@contextmanager
def held(run_dir: Path, name: str) -> Iterator[None]:
    """Hold the claim on a run's directory while the block runs.

    Waits while a living process holds it; the claim of a dead process is broken with a warning.
    At the end the claim is deleted, unless there is no `result.json`: then it is the only trace of
    the run.
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
            status = find(run_dir)
        except UntrustedFileError as error:
            raise UserError(
                str(error), where=run_dir / CLAIM, hint="Delete it, or choose another sweep_dir."
            ) from error
        if status is None:
            continue  # released in between
        if not status.alive:
            _break(run_dir, status)
            continue
        if status.claim is not None and not waiting:
            log.info("%s is being trained by %s: waiting for its result", name, status.holder)
            waiting = True
        signals.check()
        time.sleep(_POLL_SECONDS)


def _create(run_dir: Path, name: str) -> bool:
    path = run_dir / CLAIM
    claim = Claim(
        host=socket.gethostname(),
        pid=os.getpid(),
        began=psutil.Process().create_time(),
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


def _break(run_dir: Path, dead: ClaimStatus) -> None:
    """Delete the claim of a dead process, under a lock so that it happens once."""
    with FileLock(run_dir / ".claim.lock"):
        now = find(run_dir)
        if now is None or now.claim != dead.claim or now.alive:
            return  # another process broke it
        ago = timedelta(seconds=max(0, round(time.time() - dead.heard)))
        message = "%s: %s holds it and is dead, last heartbeat %s ago; its claim is broken"
        log.warning(message, run_dir, dead.holder, ago)
        (run_dir / CLAIM).unlink()


def _beat(path: Path, stop: threading.Event) -> None:
    """Touch a claim at intervals; a link in its place is not followed."""
    while not stop.wait(HEARTBEAT_SECONDS):
        with suppress(OSError):
            os.utime(path, follow_symlinks=os.utime not in os.supports_follow_symlinks)
