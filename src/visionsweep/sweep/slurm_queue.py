"""The jobs of a command in Slurm's queue: states, reasons for waiting, and cancellation."""

import time
from collections import defaultdict
from collections.abc import Callable

from visionsweep.command_memory import remembered
from visionsweep.sweep.slurm import last_line, run_command

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


class Queue:
    """The Slurm jobs of a command."""

    def __init__(self) -> None:
        self.ids: list[str] = []  # of jobs, without task numbers
        self._states: dict[str, str] = {}
        self._rows: list[list[str]] = []  # id, state, reason and time of submission
        self._said: tuple[str, float] = ("", 0.0)

    def add(self, job: str) -> None:
        """Add a submitted job, `12` or task `12_3`."""
        job = job.partition("_")[0]
        if job not in self.ids:
            self.ids.append(job)

    def ask(self) -> dict[str, str] | None:
        """Return the state of each job and task by id, or None if Slurm does not answer.

        A task that Slurm has forgotten, after some minutes, is `GONE`.
        """
        if not self.ids:
            return {}
        form = "%i|%T|%r|%V"
        done = run_command("squeue", "-h", "-r", "-t", "all", "-o", form, "-j", ",".join(self.ids))
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
        done = run_command("scancel", *self.ids)
        if done.returncode:
            again = f"scancel {' '.join(self.ids)}"
            return f"{which} could not be cancelled: {last_line(done.stderr)}. Try: {again}"
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
            queue().add(job_id)
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
