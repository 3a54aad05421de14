"""The submitit_slurm launcher, against stand-ins for Slurm's commands that run jobs here."""

import json
import os
import signal
import stat
import sys
import time

import pytest

pytestmark = pytest.mark.slow

# Starts every task of the array, as Slurm would on its nodes; one that is to be queued again, for
# which scontrol leaves a file, is started again under the same id.
SBATCH = """#!{python}
import os, pathlib, re, subprocess, sys
script = pathlib.Path(sys.argv[-1])
text = script.read_text()
pathlib.Path("{place}", "sbatch.txt").write_text(text)
last = int(re.search(r"--array=0-(\\d+)", text)[1])
print("Submitted batch job 4711", flush=True)
if os.fork():
    os._exit(0)
os.setsid()
quiet = open("{place}/tasks.log", "a")
os.dup2(quiet.fileno(), 1)  # sbatch itself has ended, for who reads what it says
os.dup2(quiet.fileno(), 2)
def start(task):
    facts = dict(SLURM_JOB_ID=str(4711 + task), SLURM_ARRAY_JOB_ID="4711",
                 SLURM_ARRAY_TASK_ID=str(task), SLURM_PROCID="0", SLURM_LOCALID="0",
                 SLURM_NODEID="0", SLURM_NTASKS="1", SLURM_JOB_NUM_NODES="1")
    return subprocess.Popen(["bash", script], env=os.environ | facts, stdout=quiet, stderr=quiet)
tasks = {{task: start(task) for task in range(last + 1)}}
while tasks:
    for task in list(tasks):
        tasks.pop(task).wait()
        again = pathlib.Path("{place}", f"requeue-4711_{{task}}")
        if again.exists():
            again.unlink()
            tasks[task] = start(task)
"""
SRUN = """#!{python}
import os, sys
command = sys.argv[1:]
while command[0].startswith("-"):
    takes_a_value = command[0] in ("--output", "--error")
    command = command[2 if takes_a_value else 1:]
os.execvp(command[0], command)
"""
SCONTROL = """#!{python}
import pathlib, sys
pathlib.Path("{place}", "requeue-" + sys.argv[2]).touch()
with open("{place}/scontrol.txt", "a") as said:
    print(*sys.argv[1:], file=said)
"""
SACCT = """#!{python}
print("JobID|State|NodeList")
"""


@pytest.fixture
def slurm(commands):
    """Puts stand-ins for Slurm's commands into the path; returns the folder with what they note."""
    place = commands.directory / "slurm"
    place.mkdir()
    for name, text in {
        "sbatch": SBATCH, "srun": SRUN, "scontrol": SCONTROL, "sacct": SACCT,
    }.items():  # fmt: skip
        path = place / name
        path.write_text(text.format(python=sys.executable, place=place))
        path.chmod(path.stat().st_mode | stat.S_IEXEC)
    commands.environment["PATH"] = f"{place}{os.pathsep}{os.environ['PATH']}"
    return place


def test_slurm_gets_one_array_with_what_was_asked_for_and_the_command_waits_for_all(
    commands, slurm
):
    done = commands.train(
        "-m", "hydra/launcher=submitit_slurm", "model=resnet18", "epochs=1,2", "sweep_dir=sweep",
        "hydra.launcher.partition=gpu", "hydra.launcher.timeout_min=90", "hydra.launcher.mem_gb=3",
        "hydra.launcher.cpus_per_task=1", "hydra.launcher.gpus_per_node=1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + (slurm / "tasks.log").read_text()
    asked = (slurm / "sbatch.txt").read_text().splitlines()
    for line in (
        "partition=gpu", "time=90", "mem=3GB", "cpus-per-task=1", "gpus-per-node=1",
        "array=0-1%2", "signal=USR2@120", "open-mode=append", "requeue",
    ):  # fmt: skip
        assert f"#SBATCH --{line}" in asked, asked
    files = (commands.directory / "sweep").glob("*/result.json")
    records = [json.loads(file.read_text()) for file in files]
    assert [r["status"] for r in records] == ["completed"] * 2
    assert {r["device"]["threads"] for r in records} == {1}
    assert done.stdout.count("How to read it") == 1


def test_a_run_that_slurm_stops_is_queued_again_and_goes_on_after_its_checkpoint(commands, slurm):
    run_dir = commands.directory / "sweep" / "resnet18_10pct_2000-epochs_size-32"
    process = commands.start(
        "train.py", "-m", "hydra/launcher=submitit_slurm", "model=resnet18", "epochs=1,2000",
        "sweep_dir=sweep", "hydra.launcher.cpus_per_task=1", "checkpoint_seconds=0.5",
        *commands.tiny,
    )  # fmt: skip
    for _ in range(1200):
        if list(run_dir.glob("checkpoint*")):
            break
        assert process.poll() is None
        time.sleep(0.1)
    worker = json.loads((run_dir / "claim").read_text())["pid"]
    os.kill(worker, signal.SIGUSR2)  # as Slurm does, signal_delay_s before the time is up
    _, error = process.communicate(timeout=300)
    assert process.returncode == 0, error + (slurm / "tasks.log").read_text()
    assert (slurm / "scontrol.txt").read_text() == "requeue 4711_1\n"
    record = json.loads((run_dir / "result.json").read_text())
    assert record["status"] == "completed" and len(record["history"]) == 2000
    assert 0 < record["continued_after"][0] < 2000
