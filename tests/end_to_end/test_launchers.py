"""One behaviour for all launchers: whatever carries the runs, the sweep is the same."""

import json
import os
import re
import signal
import time
from collections import Counter
from contextlib import suppress

import psutil
import pytest

from visionsweep.features.store import read_shard

pytestmark = pytest.mark.exhaustive  # each sweep is made once; most of its time is importing torch

SPREADING = ("joblib", "ray", "submitit_local")
GRID = ["model=resnet18,mobilenet_v3_small", "data=10pct,20pct", "epochs=1,2"]
NAMES = {
    f"{model}_{data}_{epochs}-epochs_size-32"
    for model in ("resnet18", "mobilenet_v3_small")
    for data in ("10pct", "20pct")
    for epochs in (1, 2)
}


class Sweep:
    """A sweep in a directory and a cache of its own."""

    def __init__(self, commands, launcher, *settings):
        self.commands = commands
        self.arguments = ["-m", *settings, "sweep_dir=sweep", "threads=1"]
        self.arguments += [*commands.tiny, f"hydra/launcher={launcher}"]
        self.directory = commands.directory / "sweep"

    def run(self):
        self.done = self.commands.process("train.py", *self.arguments)
        return self

    def records(self):
        files = self.directory.glob("*/result.json")
        return {file.parent.name: json.loads(file.read_text()) for file in files}

    def ranking(self):
        return re.findall(r"│\s+(\S+_\d-epochs\S*)\s+│\n", self.done.stdout)


@pytest.fixture(scope="session")
def eight(tmp_path_factory, commands_in):
    """The eight runs, made once by a launcher that is named."""
    made = {}

    def make(launcher):
        if launcher not in made:
            commands = commands_in(tmp_path_factory.mktemp(launcher))
            made[launcher] = Sweep(commands, launcher, *GRID).run()
        return made[launcher]

    return make


def numbers(sweep):
    """What was computed, to the last bit; times aside."""
    found = {}
    for name, record in sweep.records().items():
        for epoch in record["history"]:
            del epoch["seconds"]
        found[name] = (record["history"], record["metrics"], record["evaluation"])
    return found


@pytest.mark.parametrize("launcher", ["basic", *SPREADING])
def test_eight_runs_complete_and_the_command_ends_with_0(launcher, eight):
    sweep = eight(launcher)
    assert sweep.done.returncode == 0, sweep.done.stderr
    records = sweep.records()
    assert set(records) == NAMES
    assert {r["status"] for r in records.values()} == {"completed"}
    assert {r["device"]["threads"] for r in records.values()} == {1}
    for record in records.values():
        assert record["command"][1:] == sweep.arguments
    assert "Traceback" not in sweep.done.stderr
    assert "validated against ConfigStore" not in sweep.done.stderr


@pytest.mark.parametrize("launcher", SPREADING)
def test_numbers_and_leaderboard_equal_those_of_basic(launcher, eight):
    assert numbers(eight(launcher)) == numbers(eight("basic"))
    ranking = eight(launcher).ranking()
    assert set(ranking) == NAMES
    assert ranking == eight("basic").ranking()


@pytest.mark.parametrize("launcher", SPREADING)
def test_runs_are_made_in_other_processes_and_the_leaderboard_is_the_commands(launcher, eight):
    sweep = eight(launcher)
    makers = {file.name.split(".")[-2] for file in sweep.directory.glob("*/events.out.*[0-9]")}
    assert makers and str(os.getpid()) not in makers
    assert len(makers) == {"joblib": 2, "ray": 2, "submitit_local": 8}[launcher]
    assert sweep.done.stdout.count("★ is recommended: the") == 1
    assert (sweep.directory / "report.html").is_file()


@pytest.mark.parametrize("launcher", ["basic", *SPREADING])
def test_features_are_extracted_once_whichever_processes_want_them(launcher, eight):
    kept = eight(launcher).commands.directory / "cache" / "features"
    stores = [folder for folder in kept.iterdir() if folder.is_dir()]
    assert len(stores) == 2  # backbones
    for store in stores:
        images = Counter(
            d for shard in store.glob("*.safetensors") for d in read_shard(shard).digests
        )
        assert len(images) > 500 and set(images.values()) == {1}


@pytest.mark.parametrize("launcher", ["basic", *SPREADING])
def test_one_failing_run_takes_no_other_along(launcher, tmp_path, eight, commands_in):
    commands = commands_in(tmp_path, cache_of=eight("basic").commands)
    settings = ["model=resnet18", "epochs=1", "model.name=alexnet,resnet18"]
    sweep = Sweep(commands, launcher, *settings).run()
    assert sweep.done.returncode == 1
    assert {name: record["status"] for name, record in sweep.records().items()} == {
        "resnet18_10pct_1-epochs_model.name-alexnet_size-32": "failed",
        "resnet18_10pct_1-epochs_model.name-resnet18_size-32": "completed",
    }
    assert "resnet18_10pct_1-epochs_model.name-resnet18_size-32 │" in sweep.done.stdout
    assert "Traceback" not in sweep.done.stderr
    assert "cannot take images of 32x32" in sweep.done.stderr + sweep.done.stdout


LONG = "resnet18_10pct_600-epochs_size-32"


def worker_in(run_dir, process):
    """Wait until the run of a directory is being trained, and return the process that does it."""
    for _ in range(1200):
        assert process.poll() is None, "ended before it could be killed"
        if list(run_dir.glob("events.out.*")):
            for child in psutil.Process(process.pid).children(recursive=True):
                with suppress(psutil.Error):
                    if str(run_dir / "train.log") in [file.path for file in child.open_files()]:
                        return child
        time.sleep(0.05)
    raise AssertionError("no process trains it")


@pytest.fixture(scope="session")
def killed(tmp_path_factory, eight, commands_in):
    """A sweep whose worker was killed in mid-run, made once by a launcher that is named."""
    made = {}

    def make(launcher):
        if launcher not in made:
            place = tmp_path_factory.mktemp(f"killed-{launcher}")
            commands = commands_in(place, cache_of=eight("basic").commands)
            sweep = Sweep(commands, launcher, "model=resnet18", "epochs=1,600")
            given_up = ["hydra.launcher.ray.remote.max_retries=0"] if launcher == "ray" else []
            process = commands.start("train.py", *sweep.arguments, *given_up)
            worker = worker_in(sweep.directory / LONG, process)
            os.kill(worker.pid, signal.SIGKILL)
            out, error = process.communicate(timeout=300)
            made[launcher] = sweep, process.returncode, out, error
        return made[launcher]

    return make


@pytest.mark.parametrize("launcher", SPREADING)
def test_a_killed_worker_ends_in_a_sentence_the_leaderboard_and_status_1(launcher, killed):
    sweep, status, out, error = killed(launcher)
    assert status == 1
    assert (sweep.directory / LONG / "claim").is_file()
    assert not (sweep.directory / LONG / "result.json").exists()
    assert re.search(r"process (of a run )?(was killed|ended without a message)", error), error
    assert "Traceback" not in error
    finished = set(sweep.records())
    assert finished <= {"resnet18_10pct_1-epochs_size-32"}
    assert ("≈" in out) == bool(finished)


@pytest.mark.parametrize("launcher", SPREADING)
def test_a_killed_workers_run_shows_as_crashed_and_is_done_on_continuing(launcher, killed):
    sweep, *_ = killed(launcher)
    compared = sweep.commands.run("compare.py", sweep.directory)
    assert re.search(rf"crashed {LONG}", compared.stdout), compared.stdout
    finished = {name: record["started"] for name, record in sweep.records().items()}
    sweep.run()
    assert sweep.done.returncode == 0, sweep.done.stderr
    records = sweep.records()
    assert {name: record["status"] for name, record in records.items()} == {
        "resnet18_10pct_1-epochs_size-32": "completed",
        LONG: "completed",
    }
    assert len(records[LONG]["history"]) == 600
    assert finished == {name: records[name]["started"] for name in finished}


def test_ray_begins_a_killed_run_again_by_itself(tmp_path, eight, commands_in):
    commands = commands_in(tmp_path, cache_of=eight("basic").commands)
    sweep = Sweep(commands, "ray", "model=resnet18", "epochs=1,600")
    process = commands.start("train.py", *sweep.arguments)
    os.kill(worker_in(sweep.directory / LONG, process).pid, signal.SIGKILL)
    _, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    assert [record["status"] for record in sweep.records().values()] == ["completed"] * 2
