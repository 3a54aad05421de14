"""A sweep that was stopped, by a user, a failure or a kill, is gone on with."""

import json
import random
import shlex
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from safetensors import safe_open
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from visionsweep.runs.discovery import find_runs
from visionsweep.runs.record_file import read_record

KILLS = 20


def wait_until(true) -> None:
    for _ in range(15_000):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("never came true")


def test_ctrl_c_prints_finished_runs_and_the_command_that_resumes(pictures):
    asked = ["-m", "epochs=2,400000,3", "model=resnet18"]
    process = pictures.start("train.py", *asked, *pictures.tiny)
    begun = "outputs/*/*/*_400000-*/events.*"
    wait_until(lambda: list(pictures.directory.glob(begun)) or process.poll() is not None)
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=120)
    assert process.returncode == 130, error
    assert "Traceback" not in error
    found = {r["status"]: r for r in pictures.records().values()}
    assert set(found) == {"completed", "interrupted"} and len(pictures.records()) == 2
    assert found["interrupted"]["failure"]["message"] == "SIGINT"
    assert "≈" in out and "interrupted resnet18_folder_400000-epochs" in out
    assert "Interrupted. 1 of 3 runs finished." in out
    command = shlex.split(out.splitlines()[-1])
    assert command[:2] == ["python", str(command[1])] and "-m" in command
    (sweep_dir,) = pictures.directory.glob("outputs/*/*")
    assert f"sweep_dir={sweep_dir.relative_to(pictures.directory)}" in command

    settings = [a.replace("400000,", "") for a in command[2:]]
    done = pictures.run("train.py", *settings)
    assert done.returncode == 0, done.stderr
    assert "1 run was finished earlier" in done.stderr
    statuses = [r["status"] for r in pictures.records().values()]
    assert sorted(statuses) == ["completed", "completed", "interrupted"]


def test_sweep_ends_when_its_seconds_are_over_and_is_resumed(pictures):
    asked = ["-m", "epochs=2,400000", "model=resnet18", "max_seconds=25", *pictures.tiny]
    done = pictures.process("train.py", *asked)
    assert done.returncode == 143, done.stderr
    assert "max_seconds=25: the time is over" in done.stderr and "Traceback" not in done.stderr
    assert "Interrupted. 1 of 2 runs finished." in done.stdout
    resumed = shlex.split(done.stdout.splitlines()[-1])[2:]
    rest = [word.replace(",400000", "") for word in resumed]
    again = pictures.run("train.py", *rest)
    assert again.returncode == 0 and "1 run was finished earlier" in again.stderr


def test_failed_runs_are_listed_leave_records_and_run_again_with_resume(pictures):
    asked = ["-m", "model=resnet18", "epochs=1", "model.name=alexnet,resnet18", "seed=1,2"]
    done = pictures.run("train.py", *asked, *pictures.tiny)  # too small images for an alexnet
    assert done.returncode == 1
    listed = done.stdout[done.stdout.index("≈") :]
    assert listed.count("model.name-alexnet") >= 2 and "32x32" in listed
    assert "Traceback" not in done.stderr
    statuses = Counter()
    for record in pictures.records().values():
        statuses[record["status"]] += 1
        if record["status"] == "failed":
            assert (
                record["failure"]["type"] == "UserError" and "32x32" in record["failure"]["message"]
            )
    assert statuses == {"completed": 2, "failed": 2}
    left = ["model.name=resnet18", "seed=1,2"]
    again = pictures.run("train.py", *asked[:3], *left, *pictures.tiny, "resume=last")
    assert "2 runs were finished earlier" in again.stderr
    sweeps = list(pictures.directory.glob("outputs/*/*"))
    assert len(sweeps) == 1


def test_fail_fast_stops_at_the_first_failure(pictures):
    asked = ["-m", "model=resnet18", "epochs=1", "model.name=alexnet,resnet18", "fail_fast=true"]
    done = pictures.run("train.py", *asked, *pictures.tiny)
    assert done.returncode == 1
    found = pictures.records()
    assert [r["status"] for r in found.values()] == ["failed"]
    assert "alexnet" in done.stdout and "sweep_dir=" in done.stdout.splitlines()[-1]


def test_killed_fine_tuning_run_resumes_to_identical_weights(pictures):
    asked = ["model=mobilenet_v3_small", "training=fine_tuning", "augmentation=trivial_augment"]
    tiny = [s for s in pictures.tiny if not s.startswith("replicates")]
    settings = [*asked, *tiny, "epochs=4", "checkpoint_seconds=0"]
    whole = pictures.run("train.py", *settings, "sweep_dir=whole")
    assert whole.returncode == 0, whole.stderr

    process = pictures.fork("train.py", *settings, "sweep_dir=outputs/killed")
    directory = pictures.directory / "outputs" / "killed"

    def epochs() -> int:
        try:
            with safe_open(directory / "checkpoint.safetensors", "pt") as opened:
                return len(json.loads(opened.metadata()["progress"])["history"])
        except (OSError, ValueError):
            return 0

    wait_until(lambda: epochs() >= 2 or not process.is_alive())
    process.kill()
    process.join()
    assert not (directory / "result.json").exists(), "it was quicker than the kill"
    compared = pictures.run("compare.py", "outputs")
    assert "crashed" in compared.stdout and f"process {process.pid}" in compared.stdout

    done = pictures.run("train.py", *settings, "resume=last")
    assert done.returncode == 0, done.stderr
    assert "its claim is broken" in done.stdout and "Resumed after epoch" in done.stdout
    a, b = (read_record(d / "result.json") for d in (pictures.directory / "whole", directory))
    assert b.continued_after and b.continued_after[0] >= 2
    assert (b.metrics, b.evaluation) == (a.metrics, a.evaluation)
    weights = [d / "model.safetensors" for d in (pictures.directory / "whole", directory)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert not (directory / "checkpoint.safetensors").exists()
    assert len(list(directory.glob("events.*[0-9]"))) == 1
    assert len(list(directory.glob("events.*.figures"))) == 1
    events = EventAccumulator(str(directory))
    events.Reload()
    assert [e.step for e in events.Scalars("loss/train")] == [1, 2, 3, 4]


@pytest.mark.exhaustive
def test_sweep_killed_at_twenty_moments_loses_at_most_the_current_run(pictures, undisturbed):
    """Each round kills a sweep at a random moment; the next goes on with it, or begins another."""
    moments, kills, sweeps = random.Random(0), 0, 0
    seconds = 3.0  # of an undisturbed round, about; corrected by the first that gets to its end
    while kills < KILLS:
        sweep_dir = f"outputs/{sweeps}"
        before = whole_records(pictures.directory / sweep_dir)
        asked = [*pictures.grid, *pictures.tiny, f"sweep_dir={sweep_dir}"]
        process = pictures.fork("train.py", *asked)
        start = time.monotonic()
        process.join(moments.uniform(0.1, 1.1) * seconds)
        if process.is_alive():
            process.kill()
            kills += 1
        process.join()
        after = whole_records(pictures.directory / sweep_dir)
        assert before.items() <= after.items(), "a finished run was lost or changed"
        if process.exitcode == 0:
            assert_the_eight(pictures, sweep_dir, undisturbed)
            seconds, sweeps = time.monotonic() - start, sweeps + 1
        else:
            assert process.exitcode == -signal.SIGKILL
    done = pictures.train(*pictures.grid, f"sweep_dir={sweep_dir}")
    assert done.returncode == 0, done.stderr
    assert_the_eight(pictures, sweep_dir, undisturbed)
    print(f"{kills} kills over {sweeps + 1} sweeps")


def whole_records(folder: Path) -> dict[str, bytes]:
    """Return the completed records, after making sure that all is whole that is there."""
    if not folder.is_dir():
        return {}
    found = find_runs([folder])
    assert found.skipped == []
    assert sum(run.record.status == "crashed" for run in found.runs) <= 1
    for run in found.runs:
        if run.record.status == "completed":
            for name in ("head.safetensors", "logits.safetensors"):
                with safe_open(run.directory / name, "numpy") as opened:
                    assert list(opened.keys())
    return {
        run.directory.name: (run.directory / "result.json").read_bytes()
        for run in found.runs
        if run.record.status == "completed"
    }


def assert_the_eight(pictures, under: str, undisturbed: dict[str, dict]) -> None:
    found = pictures.records(under)
    assert set(found) == set(undisturbed) and len(found) == 8
    assert not list((pictures.directory / under).rglob("*.part"))
    for name, each in found.items():
        assert pictures.numbers(each) == pictures.numbers(undisturbed[name]), name


@pytest.mark.exhaustive
def test_four_processes_with_one_sweep_directory_do_each_run_once(pictures, undisturbed):
    pictures.environment["VISIONSWEEP_CACHE"] = str(pictures.directory / "cold")
    asked = [*pictures.grid, *pictures.tiny, "sweep_dir=outputs/one"]
    processes = [pictures.fork("train.py", *asked) for _ in range(4)]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert_the_eight(pictures, "outputs", undisturbed)
    logs = (pictures.directory / "outputs" / "one").glob("*/train.log")
    assert [log.read_text().count("] - validation loss") for log in logs] == 8 * [1]
    assert not list(pictures.directory.rglob("claim"))
