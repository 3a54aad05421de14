"""Runs are found by their records, and invalid records are reported."""

import math
import os
from pathlib import Path

import pytest

from visionsweep.errors import UserError
from visionsweep.runs import claims
from visionsweep.runs.discovery import Run, completed, find_runs, val_loss
from visionsweep.runs.record import Failure
from visionsweep.runs.record_file import write_record
from visionsweep.runs.scores import Measure


def test_runs_are_found_at_any_depth(tmp_path, write_run):
    write_run("2026-01-31/12-00-00/a", 0.5)
    write_run("b", 0.4)
    listing = find_runs([tmp_path / "outputs"])
    assert [run.directory.name for run in listing.runs] == ["a", "b"]
    assert listing.skipped == []


def test_run_is_listed_once_even_if_its_folder_is_given_twice(tmp_path, write_run):
    one = write_run("a", 0.5)
    link = tmp_path / "link"
    link.symlink_to(one)
    listing = find_runs([tmp_path / "outputs", one, tmp_path / "outputs", link])
    assert len(listing.runs) == 1


def test_linked_record_is_listed_once(tmp_path, write_run):
    one = write_run("a", 0.5) / "result.json"
    (tmp_path / "outputs" / "b").mkdir()
    (tmp_path / "outputs" / "b" / "result.json").symlink_to(one)
    assert len(find_runs([tmp_path / "outputs"]).runs) == 1


def test_runs_are_sorted_by_directory(tmp_path, write_run, monkeypatch):
    for name in ("b", "a-2", "a/2", "a/1", ".hidden/c"):
        write_run(name, 0.5)
    monkeypatch.chdir(tmp_path / "outputs")
    expected = [Path(name) for name in (".hidden/c", "a/1", "a/2", "a-2", "b")]
    assert [run.directory for run in find_runs([Path()]).runs] == expected


def test_history_is_read_on_demand(tmp_path, write_run):
    place = write_run("a", 0.9, 0.5)
    (run,) = find_runs([place]).runs
    assert [epoch.val.loss for epoch in run.history] == [0.9, 0.5]
    (place / "result.json").unlink()
    assert run.history == []


def test_invalid_record_is_reported_once_even_if_its_folder_is_given_twice(tmp_path, write_run):
    (write_run("broken", 0.5) / "result.json").write_text("{")
    listing = find_runs([tmp_path / "outputs", tmp_path / "outputs" / "broken"])
    assert len(listing.skipped) == 1


def test_broken_and_foreign_files_are_skipped_and_reported(tmp_path, write_run):
    write_run("good", 0.5)
    broken = write_run("broken", 0.5) / "result.json"
    broken.write_bytes(broken.read_bytes()[:100])
    foreign = tmp_path / "outputs" / "result.json"
    foreign.write_text('{"accuracy": 0.99}')
    listing = find_runs([tmp_path / "outputs"])
    assert [run.record.name for run in listing.runs] == ["good"]
    assert len(listing.skipped) == 2
    assert any(line.startswith(f"{broken}: not a record") for line in listing.skipped)
    assert any(line.startswith(f"{foreign}: not a record") for line in listing.skipped)


def test_folder_named_like_a_record_is_skipped(tmp_path, write_run):
    write_run("good", 0.5)
    (tmp_path / "outputs" / "odd" / "result.json").mkdir(parents=True)
    listing = find_runs([tmp_path / "outputs"])
    assert [run.record.name for run in listing.runs] == ["good"]
    assert "odd" in listing.skipped[0]


def test_missing_folder_is_an_error_with_its_path(tmp_path):
    with pytest.raises(UserError, match="nowhere: no such folder"):
        find_runs([tmp_path / "nowhere"])


def test_completed_runs_are_sorted_by_validation_loss_with_diverged_ones_last(tmp_path, write_run):
    write_run("worse", 0.2, 0.6)
    write_run("diverged", math.nan)
    write_run("better", 0.9, 0.5)
    write_run("failed")
    write_run("interrupted", 0.1, status="interrupted")
    runs = find_runs([tmp_path / "outputs"]).runs
    assert len(runs) == 5
    assert [run.record.name for run in completed(runs)] == ["better", "worse", "diverged"]
    losses = {run.record.name: val_loss(run) for run in runs}
    assert losses["failed"] == losses["interrupted"] == math.inf


def test_status_of_a_run_is_read_from_its_claim_and_its_record(tmp_path, write_run):
    outputs = tmp_path / "outputs"
    write_run("done", 0.5)
    write_run("failed", failure=Failure("UserError", "no such folder"))
    rerun = write_run("restarted", failure=Failure("UserError", "no"))
    for name in ("crashed", "never-written"):
        with claims.held(outputs / name, name):
            pass  # without result.json, the claim stays
    (outputs / "never-written" / "claim").unlink()
    with claims.held(rerun, "restarted"), claims.held(outputs / "running", "running"):
        listing = find_runs([outputs])
    statuses = {run.record.name: run.record.status for run in listing.runs}
    assert statuses == {
        "done": "completed", "failed": "failed", "crashed": "crashed", "running": "running",
        "restarted": "running",
    }  # fmt: skip
    crashed = next(run for run in listing.unfinished if run.record.status == "crashed")
    assert f"process {os.getpid()}" in crashed.record.failure.message
    assert len(listing.unfinished) == 4


@pytest.mark.parametrize("reused", [True, False], ids=["reused", "repeated"])
def test_duplicate_run_is_counted_once(tmp_path, make_record, reused):
    def write(name: str, loss: float, **facts) -> Path:
        directory = tmp_path / "outputs" / name
        directory.mkdir(parents=True)
        made = make_record("a", loss)
        for key, value in facts.items():
            setattr(made, key, value)
        write_record(made, directory)
        return directory

    copy = write("1/a", 0.5, fingerprint="f" * 32, reused_from="elsewhere" if reused else None)
    original = write("2/a", 0.5, fingerprint="f" * 32)
    others = [write("3/a", 0.4, fingerprint="f" * 32), write("4/a", 0.5, fingerprint="a" * 32)]
    listing = find_runs([tmp_path / "outputs"])
    kept, repeated = (original, copy) if reused else (copy, original)
    assert {run.directory for run in listing.runs} == {kept, *others}
    ((duplicate, of),) = listing.duplicates
    assert (duplicate.directory, of.directory) == (repeated, kept)
    assert [run.directory for run in find_runs([copy]).runs] == [copy]


def test_validation_loss_is_that_of_the_deployed_predictor_if_scored(make_record):
    record = make_record("a-run", 0.5)
    run = Run(Path("a-run"), record)
    assert val_loss(run) == record.validation.loss == record.metrics.final.val.loss == 0.5
    measures = {"loss": Measure(0.3, 0.2, 0.4, [0.3]), "accuracy": Measure(0.9, 0.8, 1.0, [0.9])}
    record.deployed = {"val": measures}
    assert val_loss(run) == 0.3 and record.validation.accuracy == 0.9
