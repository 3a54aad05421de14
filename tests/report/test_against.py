"""compare.py --against: what changed between two sweeps, over runs that were written."""

import csv
from dataclasses import dataclass, replace

import msgspec
import numpy as np
import pytest

from visionsweep.analysis.predictions import Predictions
from visionsweep.cli.compare import main
from visionsweep.data.images import digest_of
from visionsweep.report.changes import changed_facts, changed_images
from visionsweep.report.pairs import compare_pairs, match
from visionsweep.runs.discovery import find_runs
from visionsweep.runs.record import Failure
from visionsweep.runs.record_file import read_record, write_record

CLASSES = ("pizza", "steak", "sushi")
NAMES = tuple(f"{CLASSES[k % 3]}/{k}.jpg" for k in range(90))


@dataclass
class Sweeps:
    """Writes runs of two sweeps, and reads them."""

    place: object
    write_run: object
    keep_outcomes: object

    def write(self, sweep, *, ease=2.0, names=NAMES, content="", labels=None, seed=0, **facts):
        """Write a run whose images have some names; `ease` is the logit of the true class."""
        run_dir = self.write_run(f"{sweep}/{facts.pop('run', 'run')}", 0.9, 0.5, **facts)
        own, shared = np.random.default_rng(seed), np.random.default_rng(1)
        order = [NAMES.index(name) for name in names]
        true = np.array([k % 3 for k in order]) if labels is None else labels
        noise = shared.standard_normal((len(NAMES), 3))[order]
        values = noise + 0.1 * own.standard_normal((3, len(names), 3))
        values[:, np.arange(len(names)), true] += ease
        images = tuple(digest_of(f"{content}{name}".encode()) for name in names)
        scored = Predictions(values.astype(np.float32), true.astype(np.int64), images)
        self.keep_outcomes(run_dir, {"val": scored})
        with (run_dir / "predictions.csv").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["image", "split", "true", *CLASSES])
            for name, label in zip(names, true, strict=True):
                table.writerow([name, "val", CLASSES[label], 1, 0, 0])
        return run_dir

    def read(self):
        """Return the runs now and before."""
        return [find_runs([self.place / "outputs" / side]).runs for side in ("now", "before")]

    def compared(self):
        """Return the pairs of runs with their differences."""
        return compare_pairs(match(*self.read()).pairs)

    def status(self, *arguments):
        """Return the exit status of the command."""
        now, before = (str(self.place / "outputs" / side) for side in ("now", "before"))
        return main([now, "--against", before, *arguments])


@pytest.fixture
def sweeps(tmp_path, write_run, keep_outcomes):
    return Sweeps(tmp_path, write_run, keep_outcomes)


def test_equal_runs_are_identical(sweeps, capsys):
    sweeps.write("before")
    sweeps.write("now")
    (pair,) = sweeps.compared()
    assert (pair.loss.value, pair.loss.low, pair.loss.high, pair.images) == (0, 0, 0, 90)
    assert pair.agreement == "identical" and not pair.is_worse and not pair.is_better
    assert changed_facts(*sweeps.read()) == [] == changed_images(*sweeps.read())
    assert sweeps.status() == 0
    assert "identical" in capsys.readouterr().out


@pytest.mark.parametrize(("ease", "status"), [(1.0, 3), (3.0, 0)])
def test_significant_differences_have_their_sign_and_status(sweeps, ease, status):
    sweeps.write("before")
    sweeps.write("now", ease=ease)
    (pair,) = sweeps.compared()
    assert (pair.is_worse, pair.is_better) == (ease < 2, ease > 2)
    assert (pair.loss.value > 0) == (pair.accuracy.value < 0) == (ease < 2)
    assert pair.loss.low < pair.loss.value < pair.loss.high
    assert sweeps.status() == status


def test_differences_are_those_of_the_images(sweeps):
    directories = [sweeps.write(side, ease=ease) for side, ease in (("before", 2), ("now", 2.2))]
    (pair,) = sweeps.compared()
    from visionsweep.runs import logits

    losses, accuracies = [], []
    for directory in directories:
        scored = logits.read(directory, read_record(directory / "result.json"))["val"]
        losses.append(scored.losses.mean())
        accuracies.append(scored.correct.mean())
    assert pair.loss.value == pytest.approx(losses[1] - losses[0], abs=1e-6)
    assert pair.accuracy.value == pytest.approx(accuracies[1] - accuracies[0], abs=1e-6)


def test_more_pairs_widen_the_intervals(sweeps):
    for side, ease in (("before", 2.0), ("now", 2.1)):
        sweeps.write(side, ease=ease)
    (alone,) = sweeps.compared()
    for side in ("before", "now"):
        sweeps.write(side, run="other", model="effnetb2", lr=0.5)
    first = next(p for p in sweeps.compared() if p.run.directory.name == "run")
    assert first.loss.low < alone.loss.low < alone.loss.high < first.loss.high


def test_runs_on_other_images_are_compared_on_those_in_common(sweeps, capsys):
    sweeps.write("before", names=NAMES[:80])
    sweeps.write("now", names=NAMES[20:])
    (pair,) = sweeps.compared()
    assert pair.images == 60 and pair.agreement is None
    (change,) = changed_images(*sweeps.read())
    assert (change.split, change.earlier, change.now) == ("val", 80, 70)
    assert sorted(change.added) == sorted(NAMES[80:])
    assert sorted(change.removed) == sorted(NAMES[:20])
    assert change.changed == change.relabeled == []
    sweeps.status()
    assert "10 added" in capsys.readouterr().out


def test_runs_without_a_common_image_are_not_compared(sweeps):
    sweeps.write("before")
    sweeps.write("now", content="other")
    (pair,) = sweeps.compared()
    assert pair.loss is None and "in both" in pair.reason
    (change,) = changed_images(*sweeps.read())
    assert sorted(change.changed) == sorted(NAMES) and change.added == change.removed == []
    assert sweeps.status() == 1


def test_image_of_another_class_is_relabeled(sweeps):
    labels = np.arange(90) % 3
    sweeps.write("before")
    sweeps.write("now", labels=np.where(np.arange(90) == 4, 0, labels))
    (change,) = changed_images(*sweeps.read())
    assert change.relabeled == [NAMES[4]] and change.added == change.removed == []
    assert sweeps.compared()[0].images == 89


def test_replaced_setting_is_listed_and_its_runs_are_paired(sweeps):
    sweeps.write("before", lr=0.001)
    sweeps.write("now", lr=0.002)
    matched = match(*sweeps.read())
    assert matched.changed == {"optimizer.lr"} and len(matched.pairs) == 1
    (change,) = changed_facts(*sweeps.read())
    assert (change.what, change.earlier, change.now) == ("optimizer.lr", "0.001", "0.002")


def test_swept_setting_keeps_runs_apart(sweeps):
    for lr in (0.001, 0.002):
        sweeps.write("before", run=f"lr-{lr}", lr=lr)
    for lr in (0.002, 0.003):
        sweeps.write("now", run=f"lr-{lr}", lr=lr)
    matched = match(*sweeps.read())
    assert [(a.directory.name, b.directory.name) for a, b in matched.pairs] == [("lr-0.002",) * 2]
    assert [run.directory.name for run in matched.added] == ["lr-0.003"]
    assert [run.directory.name for run in matched.removed] == ["lr-0.001"]


def test_versions_and_training_images_that_differ_are_listed(sweeps):
    sweeps.write("before")
    record = read_record((directory := sweeps.write("now")) / "result.json")
    record.versions = {"torch": "9.9"}
    digests = record.data.digests | {"train": digest_of(b"others")}
    record.data = msgspec.structs.replace(record.data, digests=digests)
    write_record(record, directory)
    (version,) = changed_facts(*sweeps.read())
    assert (version.what, version.earlier, version.now) == ("torch", "-", "9.9")
    (images,) = changed_images(*sweeps.read())
    assert images.split == "train" and not images.listed


def test_run_that_no_longer_completes_fails_the_check(sweeps, capsys):
    for lr in (0.001, 0.002):
        sweeps.write("before", run=f"lr-{lr}", lr=lr)
    sweeps.write("now", run="lr-0.001", lr=0.001)
    assert sweeps.status() == 0
    failed = sweeps.write_run("now/lr-0.002", lr=0.002, failure=Failure("OSError", "disk full"))
    record = read_record(failed / "result.json")
    record.config |= {"epochs": 2}
    write_record(record, failed)
    assert sweeps.status() == 3
    assert "disk full" in capsys.readouterr().out


@pytest.mark.parametrize("columns", [80, 120])
def test_lines_fit_into_the_terminal(sweeps, capsys, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    sweeps.write("before")
    sweeps.write("now", ease=1.0, names=NAMES[:70], lr=0.5)
    sweeps.status()
    assert max(map(len, capsys.readouterr().out.splitlines())) <= columns


def test_other_forms_and_empty_folders_are_refused(sweeps, capsys):
    sweeps.write("before")
    (sweeps.place / "outputs" / "now").mkdir()
    assert sweeps.status("--csv") == 2
    assert "--csv" in capsys.readouterr().err
    assert sweeps.status() == 1
    assert "no completed run" in capsys.readouterr().err


def test_damaged_predictions_are_named(sweeps):
    sweeps.write("before")
    (sweeps.write("now") / "logits.safetensors").write_bytes(b"damaged")
    (pair,) = sweeps.compared()
    assert pair.loss is None and "logits.safetensors" in pair.reason
    assert not replace(pair, reason="").is_worse
