"""Runs that are not ranked: each reason once, and everything where it is asked for."""

import pytest

from visionsweep.report.unfinished import unfinished_lines
from visionsweep.runs.discovery import find_runs
from visionsweep.runs.record import Failure
from visionsweep.runs.record_file import write_record


@pytest.fixture
def lines(tmp_path):
    def lines(*, everything: bool = False) -> list[str]:
        folder = tmp_path / "outputs"
        told = unfinished_lines(find_runs([folder]), [folder], everything=everything)
        return [line.plain for line in told]

    return lines


def test_identical_failures_are_listed_once_with_their_number_and_some_names(write_run, lines):
    for n in range(9):
        write_run(f"run-{n}", failure=Failure("UserError", "no such weights"))
    write_run("other", failure=Failure("OSError", "disk full"))
    told = lines()
    assert sum("no such weights" in line for line in told) == 1
    assert any("9 runs (" in line and "and 6 more" in line for line in told)
    assert any("other" in line and "disk full" in line for line in told)
    assert "10 runs" in told[-1] and "--all" in told[-1]


def test_many_reasons_are_folded_and_all_are_listed_on_request(write_run, lines):
    for n in range(30):
        write_run(f"run-{n}", failure=Failure("UserError", f"reason {n}"))
    assert len(lines()) < 10 and any("25 more runs" in line for line in lines())
    whole = lines(everything=True)
    assert len(whole) == 30 and all(any(f"reason {n}" in line for line in whole) for n in range(30))


def test_a_failure_of_many_lines_takes_one_unless_all_is_asked_for(write_run, lines):
    write_run("bad", failure=Failure("UserError", "3 images cannot be read:\n  a\n  b\n  c"))
    assert len(lines()) == 1 and "\n" not in lines()[0] and "3 more lines" in lines()[0]
    assert "\n  c" in lines(everything=True)[0]


def test_names_and_reasons_are_escaped_in_the_terminal(tmp_path, make_record, lines):
    known = make_record("\x1b]0;owned\x07[red]", failure=Failure("E\u202e", "\x9b2J [bold]x"))
    (tmp_path / "outputs" / "bad").mkdir(parents=True)
    write_record(known, tmp_path / "outputs" / "bad")
    assert r"\x1b]0;owned\x07[red]" in lines()[0]
    assert r"E\u202e: \x9b2J [bold]x" in lines()[0]
