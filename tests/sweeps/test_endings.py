"""How a run of a sweep ended is read from its directory, also in another process."""

import os

import pytest

from visionsweep.runs.record import Failure
from visionsweep.runs.record_file import write_record
from visionsweep.sweeps.endings import ending_of, entered_at, note_end, overrides_of


@pytest.fixture
def entered(tmp_path):
    """A run's directory as Hydra leaves it when a job enters it."""
    folder = tmp_path / "run" / ".hydra"
    folder.mkdir(parents=True)
    (folder / "overrides.yaml").write_text("- model=resnet18\n- epochs=5\n")
    return folder.parent


def test_running_run_has_not_ended(entered):
    assert ending_of(entered, entered_at(entered)) is None
    assert overrides_of(entered) == ["model=resnet18", "epochs=5"]


def test_completed_run_shows_its_result(entered, make_record):
    record = make_record("a-run", 0.5)
    write_record(record, entered)
    ending = ending_of(entered, entered_at(entered))
    assert (ending.name, ending.status, ending.note) == ("run", "completed", "")
    assert ending.val_loss == record.validation.loss
    assert ending.val_accuracy == record.validation.accuracy


def test_record_older_than_the_job_was_finished_earlier(entered, make_record):
    write_record(make_record("a-run", 0.5), entered)
    os.utime(entered / "result.json", (1_000, 1_000))
    assert ending_of(entered, entered_at(entered)) is None  # the job may refuse it yet
    note_end(entered)
    assert ending_of(entered, entered_at(entered)).note == "finished earlier"


def test_failure_of_an_earlier_attempt_is_ignored(entered, make_record):
    write_record(make_record(failure=Failure("UserError", "no such folder")), entered)
    assert ending_of(entered, entered_at(entered)).reason == "no such folder"
    os.utime(entered / "result.json", (1_000, 1_000))
    assert ending_of(entered, entered_at(entered)) is None


def test_refused_run_is_not_confused_with_the_record_in_its_directory(entered, make_record):
    write_record(make_record("a-run", 0.5), entered)
    os.utime(entered / "result.json", (1_000, 1_000))
    note_end(entered, "it holds another run")
    ending = ending_of(entered, entered_at(entered))
    assert (ending.status, ending.reason) == ("refused", "it holds another run")


def test_partially_written_record_is_not_an_ending(entered):
    (entered / "result.json").write_text('{"status": "comp')
    assert ending_of(entered, entered_at(entered)) is None
