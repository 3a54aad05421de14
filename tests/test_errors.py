"""Errors that users can fix keep their parts, also on the way between processes."""

import pickle

from visionsweep.errors import RefusedError, UserError


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
