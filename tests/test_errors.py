"""Errors that users can fix keep their parts, also on the way between processes."""

import logging
import pickle
import sys

from visionsweep.errors import RefusedError, UserError, warn_loudly


def test_error_is_printed_as_where_what_and_hint():
    error = UserError("no such key", where="epoch=3", hint="Did you mean 'epochs'?")
    assert (error.where, error.what) == ("epoch=3", "no such key")
    assert str(error) == "epoch=3: no such key. Did you mean 'epochs'?"


def test_error_keeps_its_parts_between_processes():
    error = pickle.loads(pickle.dumps(RefusedError("differs", where="run", hint="Use force=true.")))
    assert type(error) is RefusedError
    assert (error.where, error.what, error.hint) == ("run", "differs", "Use force=true.")


def test_error_without_parts_is_its_message():
    assert str(UserError("nothing to do")) == "nothing to do"


def test_a_loud_warning_fits_a_narrow_terminal_and_breaks_no_address(monkeypatch, caplog):
    address = "http://127.0.0.1:9/" + "pizza_steak_sushi_20_percent" * 3 + ".zip"
    lines = ("THE PHOTOGRAPHS CANNOT BE REACHED: " + "NARROW " * 12, f"{address}: refused")
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    warn_loudly(logging.getLogger("visionsweep"), *lines)
    shown = caplog.messages[-1].splitlines()[1:]
    assert [line for line in shown if len(line) >= 60] == [f"!  {address}:"]
    assert " ".join(line.removeprefix("!").strip() for line in shown[1:-1]).split() == [
        word for line in lines for word in line.split()
    ]
