"""`--help` explains every setting and every option of every group, once."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from visionsweep.cli.help import manual
from visionsweep.config.derived import settings
from visionsweep.config.schema import register_schema
from visionsweep.runs import names

CONF = Path(__file__).parents[2] / "conf"


@pytest.fixture(params=[80, 120, 200])
def text(request, monkeypatch) -> str:
    monkeypatch.setenv("COLUMNS", str(request.param))
    register_schema()
    names.register_resolvers()
    return manual(CONF)


def test_every_setting_is_explained_once_with_its_help(text):
    words = " ".join(text.split())
    for key, declared in settings().items():
        assert len(re.findall(rf"^    {re.escape(key)}\s", text, flags=re.MULTILINE)) == 1, key
        assert declared.help in words, key
        assert all(choice in words for choice in declared.choices)


def test_every_option_of_every_group_is_listed(text):
    for file in CONF.glob("*/*.yaml"):
        if file.parent.name != "hydra":
            assert re.search(rf"^    [* ] {re.escape(file.stem)}\s", text, flags=re.MULTILINE), file


def test_lines_of_settings_fit_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    register_schema()
    names.register_resolvers()
    lines = manual(CONF).partition("SETTINGS")[2].partition("Examples")[0].splitlines()
    assert max(map(len, lines)) <= 80


def test_help_imports_nothing_that_computes():
    heavy = ("numpy", "PIL", "scipy", "torch", "matplotlib", "pandas", "rich.table")
    code = f"import sys, visionsweep.cli.train; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
