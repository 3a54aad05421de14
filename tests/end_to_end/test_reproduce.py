"""The same command comes to the same numbers to the last bit, and a record can be made again."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from visionsweep.runs import logits as logits_file
from visionsweep.runs.record_diff import compare
from visionsweep.runs.record_file import read_record

pytestmark = pytest.mark.exhaustive

FEATURES = ("feature_extraction", "none")
AUGMENTED = ("feature_extraction", "trivial_augment")
TUNED = ("fine_tuning", "none")


def made_by(commands):
    """Return the directories of all runs made, by what was trained and on what."""
    found = {}
    for file in commands.directory.glob("outputs/*/*/*/result.json"):
        config = json.loads(file.read_text())["config"]
        found[config["training"]["name"], config["augmentation"]["name"]] = file.parent
    return found


def sweep(commands, *settings):
    """Train with the usual numbers of replicates, in two threads."""
    tiny = [s for s in commands.tiny if not s.startswith(("replicates", "threads"))]
    done = commands.run(
        "train.py", "-m", "model=resnet18", "epochs=2", "threads=2", *tiny, *settings
    )
    assert done.returncode == 0, done.stderr
    return made_by(commands)


@pytest.fixture(scope="module")
def kinds(tmp_path_factory, pictures_in):
    """A sweep over every kind of training, and its runs."""
    commands = pictures_in(tmp_path_factory.mktemp("kinds"))
    swept = ("training=feature_extraction,fine_tuning", "augmentation=none,trivial_augment")
    return commands, sweep(commands, *swept)


def reproduced(commands, run, *arguments):
    """Make a run again; return what was found, as JSON, and the exit status."""
    done = commands.run("reproduce.py", run, *commands.own, *arguments, "--json")
    assert done.stdout, done.stderr
    return json.loads(done.stdout), done.returncode


def test_numbers_are_identical_in_reversed_order_cold_and_with_decoding_workers(
    kinds, tmp_path, pictures_in
):
    _, before = kinds
    after = sweep(
        pictures_in(tmp_path), "num_workers=1", "augmentation=trivial_augment,none",
        "training=fine_tuning,feature_extraction",
    )  # fmt: skip
    assert len(before) == 4 and before.keys() == after.keys()
    for kind, run in before.items():
        places = (run, after[kind])
        records = [read_record(place / "result.json") for place in places]
        logits = [logits_file.read(*pair) for pair in zip(places, records, strict=True)]
        found = compare(*records, *logits)
        assert found.verdict == "identical", (kind, str(found.first))
        assert found.compared > 100


def test_single_run_of_a_sweep_is_identical_with_a_cold_store(kinds, tmp_path, pictures_in):
    _, runs = kinds
    cold = f"features.cache_dir={tmp_path / 'cold'}"
    # The number of threads is the run's, whatever the environment says.
    commands = pictures_in(tmp_path, OMP_NUM_THREADS="1")
    found, status = reproduced(commands, runs[TUNED] / "result.json", cold)
    assert (found["agreement"]["verdict"], status) == ("identical", 0)
    assert {each["what"] for each in found["changed"]} <= {"uncommitted changes"}
    again = read_record(commands.directory / found["again"] / "result.json")
    assert again.status == "completed" and again.name == runs[TUNED].name


def test_scores_with_another_number_of_threads_agree_within_a_millionth(kinds, tmp_path):
    commands, runs = kinds
    then = read_record(runs[AUGMENTED] / "result.json").device["threads"]
    cold = f"features.cache_dir={tmp_path / 'cold'}"
    found, status = reproduced(commands, runs[AUGMENTED], cold, "--threads", str(then + 1))
    assert found["agreement"]["verdict"] in ("identical", "within tolerance") and status == 0
    listed = {"what": "device: threads", "recorded": str(then), "now": str(then + 1)}
    assert listed in found["changed"]


def test_changed_number_and_changed_image_are_named(kinds, tmp_path):
    commands, runs = kinds
    planted = shutil.copytree(runs[FEATURES], tmp_path / "planted")
    content = json.loads((planted / "result.json").read_text())
    content["history"][1]["replicates"][2]["val"]["loss"] += 0.001
    (planted / "result.json").write_text(json.dumps(content))
    found, status = reproduced(commands, planted)
    agreement = found["agreement"]
    assert (agreement["verdict"], agreement["unequal"], status) == ("different", 1, 1)
    assert agreement["first"]["where"] == "history[1].replicates[2].val.loss"
    assert agreement["first"]["recorded"] == pytest.approx(agreement["first"]["now"] + 0.001)

    moved = shutil.copytree(commands.root, tmp_path / "data")
    Image.new("RGB", (40, 40), "red").save(moved / "val" / "steak" / "0.png")
    done = commands.run(
        "reproduce.py", runs[FEATURES], f"data.root={moved}", "--to", tmp_path / "to"
    )
    assert done.returncode == 1, done.stderr
    listed, _, said = done.stdout.partition("different: ")
    assert "val images" in listed and "train images" not in listed
    assert "The first that differs by more than 1e-06: history[0]." in said
    assert (tmp_path / "to" / "result.json").is_file()


def test_reproduction_interrupted_by_ctrl_c_is_resumed_by_the_printed_command(pictures):
    done = pictures.run("train.py", "model=resnet18", "epochs=500", *pictures.tiny)
    assert done.returncode == 0, done.stderr
    (run,) = (file.parent for file in pictures.directory.glob("outputs/**/result.json"))
    into = pictures.directory / "again"
    pictures.interrupt_when("again/events.*")
    done = pictures.run("reproduce.py", run, *pictures.own, "--to", into)
    assert done.returncode == 130 and "Traceback" not in done.stderr
    assert read_record(into / "result.json").status == "interrupted"
    python, script, *arguments = done.stderr.rstrip().splitlines()[-1].split()
    assert python == "python" and Path(script).name == "reproduce.py"
    assert arguments == [str(run), *pictures.own, "--to", str(into)]
    done = pictures.run("reproduce.py", *arguments)
    assert done.returncode == 0, done.stderr
    assert "identical: all" in done.stdout
