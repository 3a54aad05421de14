"""One behaviour for all launchers: whatever carries the runs, the sweep is the same."""

import functools
import os
import re
import time
from collections import Counter
from contextlib import suppress

import psutil
import pytest

from visionsweep.features.store import read_shard

pytestmark = pytest.mark.exhaustive  # each sweep is made once; most of its time is importing torch

SPREADING = ("joblib", "ray", "submitit_local")


class Sweep:
    """A sweep of some settings by a launcher, in the directory of the commands."""

    def __init__(self, commands, launcher, *settings):
        self.commands = commands
        self.arguments = ["-m", *settings, "sweep_dir=sweep"]
        self.arguments += [*commands.tiny, f"hydra/launcher={launcher}"]
        self.directory = commands.directory / "sweep"

    def run(self):
        self.done = self.commands.process("train.py", *self.arguments)
        return self

    def records(self):
        return self.commands.records("sweep")

    def statuses(self):
        return Counter(record["status"] for record in self.records().values())

    def ranking(self):
        return re.findall(r"│\s+(\S+_\d-epochs\S*)\s+│\n", self.done.stdout)


@pytest.fixture(scope="session")
def eight(tmp_path_factory, pictures_in):
    """The eight runs, made once by a launcher that is named, each with a cache of its own."""

    @functools.cache
    def make(launcher):
        pictures = pictures_in(tmp_path_factory.mktemp(launcher), COLUMNS="400")
        return Sweep(pictures, launcher, *pictures.grid[1:]).run()

    return make


def numbers(sweep):
    """What was computed, without times."""
    return {name: sweep.commands.numbers(each) for name, each in sweep.records().items()}


@pytest.mark.parametrize("launcher", ["basic", *SPREADING])
def test_eight_runs_complete_and_the_command_ends_with_0(launcher, eight, undisturbed):
    sweep = eight(launcher)
    assert sweep.done.returncode == 0, sweep.done.stderr
    records = sweep.records()
    assert set(records) == set(undisturbed)
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
    assert len(ranking) == 8 and ranking == eight("basic").ranking()


@pytest.mark.parametrize("launcher", SPREADING)
def test_runs_are_trained_in_other_processes(launcher, eight):
    sweep = eight(launcher)
    makers = {file.name.split(".")[-2] for file in sweep.directory.glob("*/events.out.*[0-9]")}
    assert makers and str(os.getpid()) not in makers
    assert len(makers) == {"joblib": 2, "ray": 2, "submitit_local": 8}[launcher]
    assert sweep.done.stdout.count("★ is recommended: the") == 1
    assert (sweep.directory / "report.html").is_file()


@pytest.mark.parametrize("launcher", ["basic", *SPREADING])
def test_processes_of_a_launcher_extract_each_image_once(launcher, eight):
    kept = eight(launcher).commands.directory / "cache" / "features"
    stores = [folder for folder in kept.iterdir() if folder.is_dir()]
    assert len(stores) == 2  # backbones
    for store in stores:
        images = Counter(
            d for shard in store.glob("*.safetensors") for d in read_shard(shard).digests
        )
        assert len(images) == 39 and set(images.values()) == {1}


@pytest.mark.parametrize("launcher", SPREADING)
def test_failing_run_does_not_stop_the_others(launcher, pictures):
    names = "model.name=alexnet,resnet18"  # AlexNet cannot take images of 32 pixels
    sweep = Sweep(pictures, launcher, "model=resnet18", "epochs=1", names).run()
    assert sweep.done.returncode == 1
    assert sweep.statuses() == {"failed": 1, "completed": 1}
    assert "Traceback" not in sweep.done.stderr
    assert "cannot take images of 32x32" in sweep.done.stderr + sweep.done.stdout


def worker_in(sweep, process):
    """Wait until the long run is being trained; return its directory and process."""
    for _ in range(6000):
        assert process.poll() is None, "ended before it could be killed"
        for events in sweep.directory.glob("*_600-epochs*/events.out.*"):
            for child in psutil.Process(process.pid).children(recursive=True):
                with suppress(psutil.Error):
                    if str(events.parent / "train.log") in [f.path for f in child.open_files()]:
                        return events.parent, child
        time.sleep(0.01)
    raise AssertionError("no process trains it")


@pytest.fixture(scope="session")
def killed(tmp_path_factory, pictures_in):
    """A sweep whose worker was killed during the second run, made once by each launcher."""

    @functools.cache
    def make(launcher):
        pictures = pictures_in(tmp_path_factory.mktemp(f"killed-{launcher}"))
        sweep = Sweep(pictures, launcher, "model=resnet18", "epochs=1,600")
        given_up = ["hydra.launcher.ray.remote.max_retries=0"] if launcher == "ray" else []
        process = pictures.start("train.py", *sweep.arguments, *given_up)
        directory, worker = worker_in(sweep, process)
        worker.kill()
        out, error = process.communicate(timeout=300)
        return sweep, directory, process.returncode, out, error

    return make


@pytest.mark.parametrize("launcher", SPREADING)
def test_killed_worker_ends_the_sweep_with_a_reason_and_status_1(launcher, killed):
    sweep, directory, status, out, error = killed(launcher)
    assert status == 1
    assert (directory / "claim").is_file() and not (directory / "result.json").exists()
    assert re.search(r"process (of a run )?(was killed|ended without a message)", error), error
    assert "Traceback" not in error
    assert sweep.statuses() in ({}, {"completed": 1})
    assert ("≈" in out) == bool(sweep.statuses())


@pytest.mark.parametrize("launcher", SPREADING)
def test_run_of_a_killed_worker_is_crashed_and_done_by_the_same_command(launcher, killed):
    sweep, directory, *_ = killed(launcher)
    compared = sweep.commands.run("compare.py", sweep.directory)
    assert f"crashed {directory.name[:40]}" in compared.stdout
    finished = {name: record["started"] for name, record in sweep.records().items()}
    sweep.run()
    assert sweep.done.returncode == 0, sweep.done.stderr
    assert sweep.statuses() == {"completed": 2}
    records = sweep.records()
    assert len(records[directory.name]["history"]) == 600
    assert finished == {name: records[name]["started"] for name in finished}


def test_ray_retries_a_killed_run(pictures):
    sweep = Sweep(pictures, "ray", "model=resnet18", "epochs=1,600")
    process = pictures.start("train.py", *sweep.arguments)
    _, worker = worker_in(sweep, process)
    worker.kill()
    _, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    assert sweep.statuses() == {"completed": 2}
