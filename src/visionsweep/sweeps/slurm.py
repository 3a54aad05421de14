"""Slurm: refuses resources that it can never provide; a command's jobs in its queue."""

import re
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from visionsweep.command_memory import remembered
from visionsweep.errors import UserError

# Keys of `hydra.launcher` that are options of sbatch, and those that are spelled differently there.
_ASKED = (
    "partition", "account", "qos", "constraint", "exclude", "gres", "nodes", "tasks_per_node",
    "cpus_per_task", "gpus_per_node", "timeout_min",
)  # fmt: skip
_SPELLED = {"tasks_per_node": "ntasks-per-node", "timeout_min": "time"}
_SECONDS = 30  # timeout of one of Slurm's commands
# Reasons of a job that does not start as long as nobody changes it or the partition.
_NEVER = {"BadConstraints", "PartitionConfig", "PartitionNodeLimit", "PartitionTimeLimit"}
_GONE = "GONE"  # state of a job that Slurm has forgotten
_ENDED = {
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY",
    "TIMEOUT", _GONE,
}  # fmt: skip


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run one of Slurm's commands; exit status 1 if it does not exist or does not answer."""
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))


def refuse_impossible(launcher: Mapping[str, Any]) -> None:
    """Refuse a job that no node of the partition could ever run, before it is submitted.

    `sbatch --test-only` decides, since only Slurm knows reservations, licenses, and accounts. It
    ignores the time limit, which is compared with the partition's.

    Raises:
        UserError: names the request, Slurm's reason, and the resources of the partition.
    """
    asked = {key: launcher[key] for key in _ASKED if launcher.get(key) not in (None, "", 0)}
    options = [f"--{_SPELLED.get(k, k.replace('_', '-'))}={v}" for k, v in asked.items()]
    if launcher.get("mem_gb") is not None:
        asked["mem_gb"] = launcher["mem_gb"]
        options.append(f"--mem={round(float(launcher['mem_gb']) * 1024)}M")
    for key, value in (launcher.get("additional_parameters") or {}).items():
        options.append(f"--{key}" if value is True else f"--{key}={value}")
    tried = _run("sbatch", "--test-only", *options, "--wrap=true")
    reason = None if tried.returncode == 0 else _last_line(tried.stderr)
    name, minutes = launcher.get("partition"), float(launcher.get("timeout_min") or 0)
    rows = _run("sinfo", "-h", "-o", "%P|%D|%c|%m|%G|%l").stdout.splitlines()
    partitions = [row.split("|") for row in rows if row.count("|") == 5]
    # The default partition has an asterisk.
    chosen = [p for p in partitions if p[0].rstrip("*") == name or (not name and p[0][-1:] == "*")]
    limit = _minutes(chosen[0][-1]) if chosen else None
    if reason is None and limit is not None and minutes > limit:
        reason = f"the partition ends jobs after {limit:,.0f} minutes"
    if reason is not None:
        where = f"partition {name}" if name else "the default partition"
        settings = " ".join(f"hydra.launcher.{key}={value}" for key, value in asked.items())
        offers = map(_in_words, (name and chosen) or partitions)
        raise UserError(
            f"Slurm would never start these runs in {where}: {reason}\n  asked for: {settings}\n"
            + ("\n".join(offers) or "  sinfo shows no partition"),
            where="hydra/launcher=submitit_slurm",
            hint="Ask for less, or for another hydra.launcher.partition; null leaves one to Slurm",
        )


def _in_words(partition: list[str]) -> str:
    name, nodes, cpus, memory, gpus, limit = partition
    return (
        f"  partition {name}: {nodes} node{'s' * (nodes != '1')} of {cpus} CPUs and {memory} MB, "
        f"{'no GPU' if gpus == '(null)' else gpus}, at most {limit}"
    )


def _last_line(text: str) -> str:
    """Return the reason that one of Slurm's commands gives for an error."""
    lines = text.strip().splitlines() or ["sbatch gives no reason"]
    return lines[-1].removeprefix("sbatch: error: ").removeprefix("allocation failure: ").strip()


def _minutes(limit: str) -> float | None:
    """Read a duration of sinfo, `2-12:00:00`, `1:00:00` or `30:00`; None for no limit."""
    clock = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", limit.strip())
    if clock is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in clock.groups())
    return days * 1440 + hours * 60 + minutes + seconds / 60


class Queue:
    """The Slurm jobs of a command."""

    def __init__(self) -> None:
        self.ids: list[str] = []  # of jobs, without task numbers
        self._states: dict[str, str] = {}
        self._rows: list[list[str]] = []  # id, state, reason and time of submission
        self._said: tuple[str, float] = ("", 0.0)

    def ask(self) -> dict[str, str] | None:
        """Return the state of each job and task by id, or None if Slurm does not answer.

        A task that Slurm has forgotten, after some minutes, is `GONE`.
        """
        if not self.ids:
            return {}
        form = "%i|%T|%r|%V"
        done = _run("squeue", "-h", "-r", "-t", "all", "-o", form, "-j", ",".join(self.ids))
        if done.returncode and "Invalid job id" not in done.stderr:
            return None
        self._rows = [line.split("|") for line in done.stdout.splitlines() if line.count("|") == 3]
        forgotten = dict.fromkeys(self._states, _GONE)
        self._states = forgotten | {job: state for job, state, _, _ in self._rows}
        return self._states

    def waiting(self) -> str:
        """Return how many tasks are pending, since when and why; empty if none is."""
        since: dict[str, list[str]] = defaultdict(list)
        for _, state, reason, submitted in self._rows:
            if state == "PENDING" and reason != "None":  # Slurm has not yet looked at that one
                since[reason].append(submitted)
        never = ": it will not start unless the job or the partition is changed"
        jobs, of = ", ".join(self.ids), f"of {len(self._states):,} runs wait in the queue"
        return "\n".join(
            f"Slurm job {jobs}: {len(times):,} {of} since {min(times).replace('T', ' ')}; "
            f"Slurm's reason is {reason}"
            f"{never if reason in _NEVER else ''}"
            for reason, times in since.items()
        )

    def tell(self, write: Callable[[str], None], *, every: float = 60.0) -> None:
        """Write which tasks are pending, when that changes, and else every `every` seconds."""
        text, (before, when) = self.waiting(), self._said
        if text and (text != before or time.monotonic() - when >= every):
            write(text)
            self._said = text, time.monotonic()
        elif not text:
            self._said = "", 0.0

    def at_work(self) -> bool:
        """Return whether any task is pending or running."""
        states = self.ask()
        return states is None or any(state not in _ENDED for state in states.values())

    def cancel(self, *, patience: float = 10.0) -> str:
        """Cancel all tasks, wait `patience` seconds for their records, and say how it went."""
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


@remembered()
def queue() -> Queue:
    """Return the queue of the command's jobs."""
    return Queue()


def watch(write: Callable[[str], None]) -> None:
    """Make submitit query squeue for its jobs, and write which of them are pending.

    By default it queries sacct, which needs accounting, and warns every few seconds without it.
    """
    from submitit.slurm import slurm

    class Watcher(slurm.SlurmInfoWatcher):
        def register_job(self, job_id: str) -> None:
            job = job_id.partition("_")[0]  # of task `12_3`, job `12`
            if job not in queue().ids:
                queue().ids.append(job)
            super().register_job(job_id)

        def update(self) -> None:
            self._num_calls += 1
            self._last_status_check = time.time()
            states = queue().ask()
            if states is None:
                return
            for job, state in states.items():
                self._info_dict[job] = {"JobID": job, "State": state}
            self._finished |= {job for job in self._registered if states.get(job) in _ENDED}
            queue().tell(write)

        def is_done(self, job_id: str, mode: str = "standard") -> bool:
            return self.get_state(job_id, mode=mode) in _ENDED

    slurm.SlurmJob.watcher = Watcher(delay_s=30)


def still_there() -> str:
    """Return how to follow and cancel jobs that the command no longer waits for."""
    ids = queue().ids
    if not ids or not queue().at_work():
        return ""
    return (
        f"Other runs are still with Slurm: squeue -j {','.join(ids)} shows them, "
        f"scancel {' '.join(ids)} cancels them."
    )
