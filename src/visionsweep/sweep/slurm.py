"""Ask Slurm: whether it can run what is asked for, what it does with it, and to cancel it."""

import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from visionsweep.errors import UserError

_SBATCH_OPTIONS = {  # by key of `hydra.launcher`
    "partition": "partition",
    "account": "account",
    "qos": "qos",
    "constraint": "constraint",
    "exclude": "exclude",
    "gres": "gres",
    "nodes": "nodes",
    "tasks_per_node": "ntasks-per-node",
    "cpus_per_task": "cpus-per-task",
    "gpus_per_node": "gpus-per-node",
    "timeout_min": "time",
}
_SECONDS = 30  # that one of Slurm's commands may take
_NEVER = {  # reasons of a job that does not start as long as nobody changes it or the partition
    "BadConstraints",
    "PartitionConfig",
    "PartitionNodeLimit",
    "PartitionTimeLimit",
}
_GONE = "GONE"  # state of a job that Slurm has forgotten
_ENDED = {
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY",
    "TIMEOUT", _GONE,
}  # fmt: skip


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))


def refuse_impossible(launcher: Mapping[str, Any]) -> None:
    """Refuse a job that no node of the partition could ever run, before it is submitted.

    Slurm itself is asked (`sbatch --test-only`), since only it knows of reservations, licenses and
    accounts. It does not look at the time limit; that is compared with the partition's.

    Args:
        launcher: the node `hydra.launcher` of a configuration.

    Raises:
        UserError: with what is asked for, what Slurm says, and what the partition has.
    """
    asked = {
        key: launcher[key] for key in _SBATCH_OPTIONS if launcher.get(key) not in (None, "", 0)
    }
    options = [f"--{_SBATCH_OPTIONS[key]}={value}" for key, value in asked.items()]
    if launcher.get("mem_gb") is not None:
        asked["mem_gb"] = launcher["mem_gb"]
        options.append(f"--mem={round(float(launcher['mem_gb']) * 1024)}M")
    for key, value in (launcher.get("additional_parameters") or {}).items():
        options.append(f"--{key}" if value is True else f"--{key}={value}")
    tried = _run("sbatch", "--test-only", *options, "--wrap=true")
    reason = None if tried.returncode == 0 else _last_line(tried.stderr)
    partition, limit = launcher.get("partition"), None
    if reason is None and (minutes := launcher.get("timeout_min")):
        limit = _time_limit(partition)
        if limit is not None and float(minutes) > limit:
            reason = f"the partition ends jobs after {limit:,.0f} minutes"
    if reason is not None:
        where = f"partition {partition}" if partition else "the default partition"
        settings = " ".join(f"hydra.launcher.{key}={value}" for key, value in asked.items())
        raise UserError(
            f"Slurm would never start these runs in {where}: {reason}\n  asked for: {settings}"
            f"\n{_offers(partition)}",
            where="hydra/launcher=submitit_slurm",
            hint=_hint(asked),
        )


def _last_line(text: str) -> str:
    lines = text.strip().splitlines() or ["sbatch gives no reason"]
    return lines[-1].removeprefix("sbatch: error: ").removeprefix("allocation failure: ").strip()


def _hint(asked: Mapping[str, Any]) -> str:
    keys = [key for key in ("cpus_per_task", "mem_gb", "gpus_per_node", "gres") if key in asked]
    which = ", ".join(f"hydra.launcher.{key}" for key in [*keys, "timeout_min", "partition"])
    return f"Ask for less, or for another partition: {which}; null leaves one to Slurm"


def _offers(partition: str | None) -> str:
    """Say what the nodes of each partition have, the one that is meant first."""
    form = "%P|%D|%c|%m|%G|%l"
    rows = [line.split("|") for line in _run("sinfo", "-h", "-o", form).stdout.splitlines()]
    named = [row for row in rows if len(row) == 6 and row[0].rstrip("*") == partition]
    rows = named or [row for row in rows if len(row) == 6]
    said = [
        f"  partition {name}: {nodes} node{'s' * (nodes != '1')} of {cpus} CPUs and {memory} MB, "
        f"{'no GPU' if gres == '(null)' else gres}, at most {limit}"
        for name, nodes, cpus, memory, gres, limit in rows
    ]
    return "\n".join(said) or "  sinfo shows no partition"


def _time_limit(partition: str | None) -> float | None:
    """Return the minutes that a partition gives a job, or None where it sets no limit."""
    options = ["-p", partition] if partition else []
    for line in _run("sinfo", "-h", "-o", "%P|%l", *options).stdout.splitlines():
        name, _, limit = line.partition("|")
        if partition or name.endswith("*"):
            return minutes_of(limit)
    return None


def minutes_of(limit: str) -> float | None:
    """Read one of Slurm's durations, `2-12:00:00`, `1:00:00` or `30:00`; None for no limit."""
    days, dash, clock = limit.strip().rpartition("-")
    parts = clock.split(":")
    if not all(part.isdigit() for part in [*parts, days or "0"]):
        return None
    if dash:  # days-hours[:minutes[:seconds]]
        hours, minutes, seconds = (*map(int, parts), 0, 0)[:3]
    else:  # [hours:]minutes[:seconds]
        hours, minutes, seconds = ([0] * (3 - max(len(parts), 2)) + [*map(int, parts), 0])[:3]
    return int(days or 0) * 1440 + hours * 60 + minutes + seconds / 60


class Queue:
    """What Slurm says of the jobs of a command, and what a person should know of that.

    Attributes:
        ids: of the jobs, without the numbers of their tasks.
    """

    def __init__(self) -> None:
        self.ids: list[str] = []
        self._states: dict[str, str] = {}
        self._rows: list[list[str]] = []  # id, state, reason and time of submission
        self._said: tuple[str, float] = ("", 0.0)

    def add(self, job: str) -> None:
        """Take note of a job that has been submitted, `12` or task `12_3`."""
        job = job.partition("_")[0]
        if job not in self.ids:
            self.ids.append(job)

    def ask(self) -> dict[str, str] | None:
        """Return the state of each job and task by id, or None if Slurm does not answer.

        A task that Slurm has forgotten, as it does after some minutes, is `GONE`.
        """
        if not self.ids:
            return {}
        form = "%i|%T|%r|%V"
        found = _run("squeue", "-h", "-r", "-t", "all", "-o", form, "-j", ",".join(self.ids))
        if found.returncode and "Invalid job id" not in found.stderr:
            return None
        rows = [line.split("|") for line in found.stdout.splitlines() if line.count("|") == 3]
        forgotten = dict.fromkeys(self._states, _GONE)
        self._states = forgotten | {job: state for job, state, _, _ in rows}
        self._rows = rows
        return self._states

    def waiting(self) -> str:
        """Say how many tasks wait, since when and why; empty if none does."""
        pending = [  # Slurm has not yet looked at one whose reason is None
            (reason, since)
            for _, state, reason, since in self._rows
            if state == "PENDING" and reason != "None"
        ]
        lines = []
        for reason, count in Counter(reason for reason, _ in pending).items():
            since = min(when for why, when in pending if why == reason)
            never = ": it will not start unless the job or the partition is changed"
            lines.append(
                f"Slurm job {', '.join(self.ids)}: {count:,} of {len(self._states):,} runs wait in "
                f"the queue since {since.replace('T', ' ')}; Slurm's reason is {reason}"
                f"{never if reason in _NEVER else ''}"
            )
        return "\n".join(lines)

    def tell(self, write: Callable[[str], None], *, every: float = 60.0) -> None:
        """Write what waits, when that has changed and else once in so many seconds."""
        text, (before, when) = self.waiting(), self._said
        if text and (text != before or time.monotonic() - when >= every):
            write(text)
            self._said = text, time.monotonic()
        elif not text:
            self._said = "", 0.0

    def at_work(self) -> bool:
        """Return whether any task waits or runs."""
        states = self.ask()
        return states is None or any(state not in _ENDED for state in states.values())

    def cancel(self, *, patience: float = 10.0) -> str:
        """Cancel what waits or runs, and return what became of that in a sentence.

        Args:
            patience: seconds that runs have to write their records.
        """
        if not self.ids or not self.at_work():
            return ""
        which = f"Slurm job{'s' * (len(self.ids) > 1)} {', '.join(self.ids)}"
        done = _run("scancel", *self.ids)
        if done.returncode:
            again = f"scancel {' '.join(self.ids)}"
            return f"{which} could not be cancelled: {_last_line(done.stderr)}. Try: {again}"
        end = time.monotonic() + patience
        while self.at_work() and time.monotonic() < end:
            time.sleep(0.25)
        return f"{which} cancelled."


queue = Queue()  # of this process's command


def watch(write: Callable[[str], None]) -> None:
    """Let submitit ask squeue how its jobs are, and tell of those that wait.

    It asks sacct, which a cluster without accounting has not, and then warns every few seconds.

    Args:
        write: shows a line.
    """
    from submitit.slurm import slurm

    class Watcher(slurm.SlurmInfoWatcher):
        def register_job(self, job_id: str) -> None:
            queue.add(job_id)
            super().register_job(job_id)

        def update(self) -> None:
            self._num_calls += 1
            self._last_status_check = time.time()
            states = queue.ask()
            if states is None:
                return
            for job, state in states.items():
                self._info_dict[job] = {"JobID": job, "State": state}
            self._finished |= {job for job in self._registered if states.get(job) in _ENDED}
            queue.tell(write)

        def is_done(self, job_id: str, mode: str = "standard") -> bool:
            return self.get_state(job_id, mode=mode) in _ENDED

    slurm.SlurmJob.watcher = Watcher(delay_s=30)


def still_there(queue: Queue) -> str:
    """Say how to follow and how to cancel jobs that the command no longer waits for."""
    if not queue.ids or not queue.at_work():
        return ""
    ids = queue.ids
    return (
        f"Other runs are still with Slurm: squeue -j {','.join(ids)} shows them, "
        f"scancel {' '.join(ids)} cancels them."
    )
