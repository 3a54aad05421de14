"""The submitit_slurm launcher, on a real Slurm of one node that has two cores and no GPU."""

import json
import re
import signal
import time

import pytest
import slurm_cluster

from visionsweep.errors import UserError
from visionsweep.sweeps import slurm as ours

pytestmark = pytest.mark.exhaustive

FITTING = ["hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=null"]


@pytest.fixture(scope="module")
def slurm():
    if reason := slurm_cluster.reason_to_skip():
        pytest.skip(reason)
    with slurm_cluster.running() as slurm:
        yield slurm


@pytest.fixture
def commands(pictures, slurm):
    pictures.environment |= slurm.environment
    return pictures


def wait_until(condition, process, seconds=300):
    for _ in range(seconds * 10):
        if condition():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    raise AssertionError("it never came true")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"cpus_per_task": 4}, "Requested node configuration is not available"),
        ({"mem_gb": 8}, "Requested node configuration is not available"),
        ({"gpus_per_node": 1}, "Invalid generic resource"),
        ({"timeout_min": 90}, "ends jobs after 60 minutes"),
        ({"partition": "gpu"}, "Invalid partition"),
        ({"constraint": "a100"}, "Invalid feature"),
    ],
    ids=str,
)
def test_job_larger_than_the_partition_is_refused_with_its_limits(slurm, monkeypatch, asked, said):
    monkeypatch.setenv("SLURM_CONF", slurm.environment["SLURM_CONF"])
    usual = {"cpus_per_task": 2, "timeout_min": 60, "nodes": 1, "partition": None}
    ours.refuse_impossible(usual)
    with pytest.raises(UserError) as refused:
        ours.refuse_impossible(usual | asked)
    assert said.lower() in refused.value.what.lower()
    assert "partition short*: 1 node of 2 CPUs" in refused.value.what
    ((key, value),) = asked.items()
    assert f"hydra.launcher.{key}={value}" in refused.value.what
    assert not slurm.jobs()


def test_command_that_requests_too_much_submits_nothing(commands, slurm):
    before = slurm.jobs()
    done = commands.process(
        "train.py",
        *commands.tiny,
        "-m",
        "hydra/launcher=submitit_slurm",
        "model=resnet18",
        "epochs=1,2",
    )
    assert done.returncode == 1
    assert "hydra.launcher.mem_gb=8" in done.stderr and "Nothing was run" in done.stderr
    assert slurm.jobs() == before and not (commands.directory / "outputs").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl_c", "sigterm"])
def test_user_who_waits_sees_the_reason_and_ctrl_c_cancels_the_jobs(commands, slurm, number):
    other = slurm.ask("sbatch", "--parsable", "-c2", "-o/dev/null", "--wrap=sleep 600").strip()
    process = commands.start(
        "train.py", "-m", "hydra/launcher=submitit_slurm", "model=resnet18", "epochs=1,2",
        *FITTING, *commands.tiny,
    )  # fmt: skip
    try:
        line = ""
        while "wait in the queue" not in line:
            line = process.stderr.readline()
            assert line, "it ended without a word"
        found = re.search(
            r"Slurm job (\d+): 2 of 2 runs .* since \d+-\d+-\d+ [\d:]+; .* reason is (\w+)", line
        )
        assert found and found[2] in ("Resources", "Priority")
        process.send_signal(number)
        out, error = process.communicate(timeout=200)
        assert process.returncode == 128 + number
        assert f"Slurm job {found[1]} cancelled" in error and "sacct" not in error
        states = {job: state for job, state in slurm.jobs().items() if job.startswith(found[1])}
        assert set(states.values()) <= {"CANCELLED"}
        assert slurm.jobs()[other] == "RUNNING"  # others' jobs are left alone
        assert "sweep_dir=" in out
    finally:
        process.kill()
        slurm.ask("scancel", other)


def test_requeued_warned_and_cancelled_runs_end_with_the_numbers_of_undisturbed_ones(
    commands, slurm
):
    others = {name.partition("_")[0] for name in slurm.jobs()}
    commands.tiny = [setting for setting in commands.tiny if "replicates" not in setting]
    asked = ["-m", "model=mobilenet_v3_small", "training=fine_tuning", "seed=1,2,3"]
    asked += ["epochs=8", "checkpoint_seconds=0"]
    process = commands.start(
        "train.py", *asked, *commands.tiny, *FITTING, "hydra/launcher=submitit_slurm",
        "sweep_dir=disturbed",
    )  # fmt: skip
    disturbances = {  # by seed, which is one more than the number of the task
        1: ("scontrol", "requeue"),  # as preemption does
        2: ("scancel", "--signal=USR2"),  # as before its time is up
        3: ("scancel",),
    }

    def disturb_what_has_a_checkpoint():
        for seed in list(disturbances):
            if any((commands.directory / "disturbed").glob(f"*_seed-{seed}_*/checkpoint*tensors")):
                (job,) = {name.partition("_")[0] for name in slurm.jobs()} - others
                assert slurm.ask(*disturbances.pop(seed), f"{job}_{seed - 1}") == ""
        return not disturbances

    wait_until(disturb_what_has_a_checkpoint, process)
    _, error = process.communicate(timeout=500)
    assert process.returncode == 1
    assert "Slurm says CANCELLED (Job " in error
    assert "sacct" not in error and "Traceback" not in error
    records = commands.records("disturbed")
    by_seed = {record["config"]["seed"]: record for record in records.values()}
    assert {seed: record["status"] for seed, record in by_seed.items()} == {
        1: "completed", 2: "completed", 3: "interrupted",
    }  # fmt: skip
    scripts = (commands.directory / "disturbed" / ".submitit").glob("*.sh")
    assert "#SBATCH --requeue" in next(scripts).read_text()

    again = commands.process("train.py", *commands.tiny, *asked, "sweep_dir=disturbed")
    assert again.returncode == 0, again.stderr
    whole = commands.process("train.py", *commands.tiny, *asked, "sweep_dir=whole")
    assert whole.returncode == 0, whole.stderr
    undisturbed = commands.records("whole")
    for name, record in commands.records("disturbed").items():
        assert 0 < record["continued_after"][0] < 8, name
        assert json.dumps(commands.numbers(record)) == json.dumps(
            commands.numbers(undisturbed[name])
        )
