"""Refuse resources that Slurm can never provide, before a job is submitted."""

import re
import subprocess
from collections.abc import Mapping
from typing import Any

from visionsweep.errors import UserError

# Keys of `hydra.launcher` that are options of sbatch, and those that are spelled differently there.
_ASKED = (
    "partition", "account", "qos", "constraint", "exclude", "gres", "nodes", "tasks_per_node",
    "cpus_per_task", "gpus_per_node", "timeout_min",
)  # fmt: skip
_SPELLED = {"tasks_per_node": "ntasks-per-node", "timeout_min": "time"}
_SECONDS = 30  # timeout of one of Slurm's commands


def run_command(*command: str) -> subprocess.CompletedProcess[str]:
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
    tried = run_command("sbatch", "--test-only", *options, "--wrap=true")
    reason = None if tried.returncode == 0 else last_line(tried.stderr)
    name, minutes = launcher.get("partition"), float(launcher.get("timeout_min") or 0)
    rows = run_command("sinfo", "-h", "-o", "%P|%D|%c|%m|%G|%l").stdout.splitlines()
    partitions = [row.split("|") for row in rows if row.count("|") == 5]
    # The default partition has an asterisk.
    chosen = [p for p in partitions if p[0].rstrip("*") == name or (not name and p[0][-1:] == "*")]
    limit = minutes_of(chosen[0][-1]) if chosen else None
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


def last_line(text: str) -> str:
    """Return the reason that one of Slurm's commands gives for an error."""
    lines = text.strip().splitlines() or ["sbatch gives no reason"]
    return lines[-1].removeprefix("sbatch: error: ").removeprefix("allocation failure: ").strip()


def minutes_of(limit: str) -> float | None:
    """Read a duration of sinfo, `2-12:00:00`, `1:00:00` or `30:00`; None for no limit."""
    clock = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", limit.strip())
    if clock is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in clock.groups())
    return days * 1440 + hours * 60 + minutes + seconds / 60
