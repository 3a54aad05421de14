"""Show the progress of a sweep: a row per finished run and, on a terminal, one live line."""

import logging
import os
import re
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from visionsweep.runs import claims
from visionsweep.runtime import terminal
from visionsweep.sweeps.endings import Ending, ending_of, entered_at, overrides_of
from visionsweep.sweeps.estimate import Estimate, in_words
from visionsweep.text.escaping import visible

log = logging.getLogger(__name__)

_TICK_SECONDS = 1.0
_LEAST_ROOM = 20  # columns in which a name is broken into lines
_LONGEST_REASON = 2_000  # characters of an error


class Progress:
    """Progress of a sweep on standard error.

    Args:
        sweep_dir: directory of the sweep.
        planned: settings of each run in order; None if the sweeper decides them.
        watching: True if other processes train the runs, so that their directories are watched.
    """

    def __init__(
        self,
        sweep_dir: Path,
        planned: Sequence[Mapping[str, str]] | None,
        *,
        watching: bool = False,
    ) -> None:
        self._sweep_dir = sweep_dir
        self._count = None if planned is None else len(planned)
        self._estimate = Estimate(planned) if planned else None
        self._last_end = time.time()
        self._since = _now_at(sweep_dir) if watching else 0.0
        self.refused: list[str] = []  # names of runs that were refused, and have no record
        self.ended = 0  # number of runs that have ended
        self._numbers: dict[str, int] = {}  # of watched runs, which may be queued again, by name
        self._earlier: list[int] = []  # numbers of runs finished earlier, not yet told
        self._reasons: dict[str, int] = {}  # the first run that failed with each reason
        self._at_work: dict[str, float] = {}  # since when, by name
        self._ended: set[tuple[str, float]] = set()
        self._header = False
        self._live: Any = None
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._watching = watching
        if watching or sys.stderr.isatty():
            self._live = terminal.bar(bar_format="{desc}", position=0, total=0)
            self._thread = threading.Thread(target=self._tick, name="progress", daemon=True)
            self._thread.start()

    def told(self, error: BaseException) -> bool:
        """Return whether the row of a run has shown an error."""
        return any(str(error).strip() in reason for reason in self._reasons)

    def begin(self, name: str) -> None:
        """Show that a run starts in this process."""
        with self._lock:
            self._at_work = {name: time.time()}
        self._show()

    def end(self, ending: Ending, overrides: Sequence[str]) -> None:
        """Show that a run with these overrides has ended."""
        with self._lock:
            self._at_work.pop(ending.name, None)
            if self._watching and ending.name in self._numbers:  # the job was queued again
                self._row(ending, self._numbers[ending.name])
                return
            now, self.ended = time.time(), self.ended + 1
            self._numbers[ending.name] = self.ended
            if self._estimate is not None:
                total = ending.seconds.get("total", 0.0)
                between = 0.0 if self._watching or self.ended == 1 else now - self._last_end
                settings = dict(text.partition("=")[::2] for text in overrides)
                self._estimate.ended(settings, ending, max(0.0, between - total))
            self._last_end = now
            if ending.status == "refused":
                self.refused.append(ending.name)
            if ending.note == "finished earlier":
                self._earlier.append(self.ended)
            else:
                self._flush_earlier()
                self._row(ending, self.ended)
        self._show()

    def close(self) -> None:
        """Show the remaining rows, and remove the live line."""
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=10)
        if self._watching:
            self._look()
        with self._lock:
            self._flush_earlier()
            if self._live is not None:
                self._live.close()
                self._live = None

    def _label(self, number: int) -> str:
        width = len(f"{self._count or 99:,}")
        of = "" if self._count is None else f"/{self._count:,}"
        return f"{number:>{width},}{of}"

    def _row(self, ending: Ending, number: int) -> None:
        label = self._label(number)
        if not self._header:
            self._header = True
            terminal.write(f"{'run':>{len(label)}}  val loss  accuracy  seconds  name")
        if ending.val_loss is not None and ending.val_accuracy is not None:  # it is completed
            note = f" ({ending.note})" if ending.note else ""
            loss = f"{ending.val_loss:.4f}" if ending.val_loss < 1e3 else f"{ending.val_loss:.1e}"
            seconds = ending.seconds.get("total", 0.0)
            numbers = f"{loss:>8}  {ending.val_accuracy:>8.1%}  {seconds:>7,.1f}"
            terminal.write(_hung(f"{label}  {numbers}  ", f"{visible(ending.name)}{note}"))
            return
        reason = ending.reason.strip()[:_LONGEST_REASON]
        first = self._reasons.setdefault(reason, number) if reason else number
        same = f" (as run {first:,})" if first != number else ""
        terminal.write(_hung(f"{label}  {ending.status:<27}  ", f"{visible(ending.name)}{same}"))
        if reason and not same:
            terminal.write("\n".join(f"    {line}" for line in reason.splitlines()))

    def _flush_earlier(self) -> None:
        if count := len(self._earlier):
            runs = "1 run was" if count == 1 else f"{count:,} runs were"
            terminal.write(f"{self._label(self._earlier[-1])}  {runs} finished earlier and kept")
            self._earlier.clear()

    def _left(self) -> str:
        seconds = None if self._estimate is None else self._estimate.seconds_left()
        if seconds is None:
            return ""
        now, at_work = time.time(), self._at_work.values()
        spent = sum(now - since for since in at_work)
        return f", {in_words(max(0.0, seconds - spent) / max(1, len(at_work)))} left"

    def _show(self) -> None:
        """Rewrite the live line."""
        with self._lock:
            if self._live is None or self._live.disable or self._stop.is_set():
                return
            names, of = list(self._at_work), f" of {self._count:,}" if self._count else ""
            width = os.get_terminal_size(sys.stderr.fileno()).columns - 1
            start = f"run {self.ended + 1:,}{of}"
            if self._watching:
                start = f"{self.ended:,}{of} runs ended, {len(names):,} at work"
            left = self._left()
            room = width - len(start) - len(left) - 2
            name = visible(names[0]) if names else ""
            if len(name) > room:
                name = name[: max(0, room - 1)] + "…" if room > 8 else ""
            text = start + (f", {name}" if name else "") + left
            self._live.set_description_str(text[:width])

    def _tick(self) -> None:
        pause = _TICK_SECONDS
        while not self._stop.wait(pause):
            start = time.perf_counter()
            try:
                if self._watching:
                    self._look()
                self._show()
            except Exception:  # what is shown must not end what is done
                log.debug("progress", exc_info=True)
            pause = max(_TICK_SECONDS, 20 * (time.perf_counter() - start))

    def _look(self) -> None:
        """Look for runs of other processes that started or ended."""
        try:
            folders = sorted(entry.path for entry in os.scandir(self._sweep_dir) if entry.is_dir())
        except OSError:
            return
        with self._lock:
            for run_dir in map(Path, folders):
                entered = entered_at(run_dir)
                if not entered or entered < self._since or (run_dir.name, entered) in self._ended:
                    continue
                ending = ending_of(run_dir, entered)
                if ending is not None:
                    self._ended.add((run_dir.name, entered))
                    self.end(ending, overrides_of(run_dir))
                elif (claim := claims.find(run_dir)) is None or claim.alive:
                    self._at_work.setdefault(run_dir.name, entered)
                else:
                    self._at_work.pop(run_dir.name, None)


def _hung(start: str, name: str) -> str:
    """Return a row of numbers and a name, which is wrapped below itself on a terminal."""
    room = shutil.get_terminal_size().columns - len(start)
    if not sys.stderr.isatty() or len(name) <= room or room < _LEAST_ROOM:
        return start + name
    lines = [""]
    for part in re.findall(r"[^_ ]*[_ ]?", name):  # a name is settings, joined by underscores
        if lines[-1] and len(lines[-1] + part.rstrip()) > room:
            lines.append("")
        lines[-1] += part
    return start + f"\n{' ' * len(start)}".join(line.rstrip() for line in lines)


def _now_at(folder: Path) -> float:
    """Return the time by the clock of a folder's file system, which may be a server's."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".clock-") as file:
            return Path(file.name).stat().st_mtime
    except OSError:
        return time.time()
