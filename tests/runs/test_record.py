"""The record of a run: its public keys, atomic writing, and validation."""

import json
import math
import multiprocessing
import os
import signal
import sys
import time

import pytest

from visionsweep.runs.record import Failure
from visionsweep.runs.record_file import read_record, read_summary, write_record
from visionsweep.runs.scores import summarize
from visionsweep.storage.files import write_atomically


def written(run_dir, made) -> dict:
    return json.loads(write_record(made, run_dir).read_text("utf-8"))


# ---------------------------------------------------------------------------- public keys


def test_public_keys_are_present(tmp_path, make_record):
    result = written(tmp_path, make_record("mine", 0.9, 0.4, 0.6))
    assert (tmp_path / "result.json").is_file()
    assert result["schema_version"] == 1
    assert result["status"] == "completed"
    assert result["name"] == "mine"
    assert result["dataset"] == "sample"
    assert result["weights"] == "IMAGENET1K_V1"
    assert result["config"]["optimizer"]["lr"] == 0.001
    assert isinstance(result["history"], list)
    assert [entry["epoch"] for entry in result["history"]] == [1, 2, 3]
    for when in ("final", "best"):
        for split in ("train", "val", "test"):
            scores = result["metrics"][when][split]
            assert all(isinstance(scores[name], float) for name in ("loss", "accuracy"))
    for split in ("train", "val", "test"):
        assert result["history"][1][split].keys() == {"loss", "accuracy"}


def test_final_is_the_last_epoch_and_best_has_the_lowest_validation_loss(tmp_path, make_record):
    metrics = written(tmp_path, make_record("mine", 0.9, 0.4, 0.6))["metrics"]
    assert (metrics["final"]["epoch"], metrics["final"]["val"]["loss"]) == (3, 0.6)
    assert (metrics["best"]["epoch"], metrics["best"]["val"]["loss"]) == (2, 0.4)
    # All scores of one epoch, not the best of each split.
    assert metrics["best"]["test"]["loss"] == pytest.approx(0.45)
    assert metrics["best"]["train"]["loss"] == pytest.approx(0.5)


def test_first_of_equal_epochs_is_the_best(make_history):
    assert summarize(make_history(0.5, 0.3, 0.3)).best.epoch == 2


@pytest.mark.parametrize(
    "losses", [(math.nan, 0.5, 0.4), (0.5, math.nan, 0.4), (0.5, 0.4, math.nan)]
)
def test_epoch_with_a_nan_loss_is_never_the_best(losses, make_history):
    assert summarize(make_history(*losses)).best.val.loss == 0.4


def test_record_round_trips(tmp_path, make_record):
    made = make_record("mine", 0.9, 0.4)
    assert read_record(write_record(made, tmp_path)) == made


def test_failed_run_is_recorded_with_its_error(tmp_path, make_record):
    made = make_record("mine", failure=Failure("UserError", "no such folder\nsecond line"))
    result = written(tmp_path, made)
    assert result["status"] == "failed"
    assert result["failure"] == {"type": "UserError", "message": "no such folder\nsecond line"}
    assert result["metrics"] is None
    assert result["history"] == []
    assert read_record(tmp_path / "result.json") == made


def test_nan_is_written_as_null_and_read_back(tmp_path, make_record):
    path = write_record(make_record("diverged", 0.9, math.nan), tmp_path)

    def refuse(constant: str):
        raise AssertionError(f"{constant} is not JSON")

    json.loads(path.read_text("utf-8"), parse_constant=refuse)
    back = read_record(path)
    assert math.isnan(back.history[1].val.loss)
    assert back.metrics.best.epoch == 1


@pytest.mark.parametrize("loss", [0.4, math.nan])
def test_summary_is_the_record_without_its_history(tmp_path, make_record, loss):
    made = make_record("mine", 0.9, loss)
    summary = read_summary(write_record(made, tmp_path))
    assert not hasattr(summary, "history")
    for name in summary.__struct_fields__:
        assert repr(getattr(summary, name)) == repr(getattr(made, name))  # NaN is not equal to NaN


def test_names_in_any_script_round_trip(tmp_path, make_record):
    path = write_record(make_record("Müsli_寿司", 0.5), tmp_path)
    assert read_record(path).name == "Müsli_寿司"


# --------------------------------------------------------------------------- atomic writing


def _write_slowly(path, stage, reached):
    """Write a file, and hang at `stage` until killed."""

    def hang(*_arguments):
        reached.set()
        time.sleep(60)

    setattr(os, stage, hang)
    write_atomically(path, b"new" * 100_000)


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
@pytest.mark.parametrize("old", [None, b"old"])
def test_killed_writer_leaves_the_old_file_or_none(tmp_path, old):
    path = tmp_path / "result.json"
    if old is not None:
        path.write_bytes(old)
    context = multiprocessing.get_context("fork")
    reached = context.Event()
    process = context.Process(target=_write_slowly, args=(path, "fsync", reached))
    process.start()
    assert reached.wait(30)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert (path.read_bytes() if path.exists() else None) == old
    # A leftover file does not have the name of a record.
    assert [p.name for p in tmp_path.rglob("result.json")] == ([] if old is None else [path.name])
    write_atomically(path, b"next")
    assert path.read_bytes() == b"next"


def test_failed_write_leaves_no_file(tmp_path, monkeypatch):
    def full(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(tmp_path / "result.json", b"new")
    assert list(tmp_path.iterdir()) == []


def test_record_is_readable_by_others(tmp_path, make_record):
    assert write_record(make_record("mine", 0.5), tmp_path).stat().st_mode & 0o444 == 0o444


# ------------------------------------------------------------------------------------- refused


def change(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), "utf-8")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a record"),
        (b'{"schema_version": 1, "status": "comp', "not a record"),
        (b"\xff\xfe\x00", "not a record"),
        (b"[1, 2]", "not a record"),
        (b'{"accuracy": 0.9}', "not a record.*required field `status`"),
    ],
)
def test_invalid_files_are_refused_with_the_reason(tmp_path, content, reason):
    path = tmp_path / "result.json"
    path.write_bytes(content)
    for read in (read_record, read_summary):
        with pytest.raises(ValueError, match=reason):
            read(path)


def test_newer_schema_version_is_refused(tmp_path, make_record):
    path = write_record(make_record("mine", 0.5), tmp_path)
    change(path, schema_version=2)
    with pytest.raises(ValueError, match=r"schema version 2; this program reads 1"):
        read_record(path)


def test_newer_schema_version_is_named_even_if_keys_have_changed(tmp_path, make_record):
    path = write_record(make_record("mine", 0.5), tmp_path)
    change(path, schema_version=2, history={"1": {}}, status="paused")
    for read in (read_record, read_summary):
        with pytest.raises(ValueError, match=r"schema version 2; this program reads 1"):
            read(path)


def test_unknown_keys_are_ignored(tmp_path, make_record):
    made = make_record("mine", 0.5)
    path = write_record(made, tmp_path)
    change(path, note="added by a later 1.x")
    assert read_record(path) == made


@pytest.mark.parametrize("part", ["metrics", "model", "data"])
def test_completed_run_without_metrics_model_or_data_is_refused(tmp_path, make_record, part):
    path = write_record(make_record("mine", 0.5), tmp_path)
    change(path, **{part: None})
    with pytest.raises(ValueError, match="a completed run without metrics, model or data"):
        read_record(path)
