"""How a run of a sweep ended is read from its directory, also in another process."""

import os

import pytest

from visionsweep.runs.record import Failure
from visionsweep.runs.record_file import write_record
from visionsweep.sweep.endings import ending_of, entered_at, note_end, overrides_of


@pytest.fixture
def entered(tmp_path):
    """A run's directory as Hydra leaves it when a job enters it."""
    folder = tmp_path / "run" / ".hydra"
    folder.mkdir(parents=True)
    (folder / "overrides.yaml").write_text("- model=resnet18\n- epochs=5\n")
    return folder.parent


def test_a_run_at_work_has_not_ended(entered):
    assert ending_of(entered, entered_at(entered)) is None
    assert overrides_of(entered) == ["model=resnet18", "epochs=5"]


def test_a_completed_run_tells_its_result(entered, make_record):
    known = make_record("a-run", 0.5)
    write_record(known, entered)
    ending = ending_of(entered, entered_at(entered))
    assert (ending.name, ending.status, ending.note) == ("run", "completed", "")
    assert ending.val_loss == known.validation.loss
    assert ending.val_accuracy == known.validation.accuracy


def test_a_record_older_than_the_job_was_finished_earlier(entered, make_record):
    write_record(make_record("a-run", 0.5), entered)
    os.utime(entered / "result.json", (1_000, 1_000))
    assert ending_of(entered, entered_at(entered)) is None  # the job may refuse it yet
    note_end(entered)
    assert ending_of(entered, entered_at(entered)).note == "finished earlier"


def test_the_failure_of_an_earlier_try_is_not_taken_for_this_ones(entered, make_record):
    write_record(make_record(failure=Failure("UserError", "no such folder")), entered)
    assert ending_of(entered, entered_at(entered)).reason == "no such folder"
    os.utime(entered / "result.json", (1_000, 1_000))
    assert ending_of(entered, entered_at(entered)) is None


def test_a_refused_run_is_not_taken_for_the_one_that_lies_there(entered, make_record):
    write_record(make_record("a-run", 0.5), entered)
    os.utime(entered / "result.json", (1_000, 1_000))
    note_end(entered, "it holds another run")
    ending = ending_of(entered, entered_at(entered))
    assert (ending.status, ending.reason) == ("refused", "it holds another run")


def test_a_half_written_record_is_none_yet(entered):
    (entered / "result.json").write_text('{"status": "comp')
    assert ending_of(entered, entered_at(entered)) is None
