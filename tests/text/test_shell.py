"""A command that is printed is, pasted, the command that was meant."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from visionsweep.config import overrides
from visionsweep.text import shell
from visionsweep.text.escaping import visible

AWKWARD = [
    "2024_01", "007", "on", "null", "1e3", "[a]", "{a: b}", "a b", "a,b", "a (1)", "it's", 'a"b',
    "'a'", '"a"', "a=b", "ü", "a\\",
    "\\", "\\'", '\\"', "$HOME", "${x}", "\\${x}", "${oc.env:HOME}",
    "-x", "--multirun", "~", "~root", "!!", "#a", "*", "a\nb", "\x1b[31m", "a;b", "%j", "`a`",
    " a ",
    "choice(1,2)", "glob(*)", "a, b", ",", "last", "\N{RIGHT-TO-LEFT OVERRIDE}a",
]  # fmt: skip

names = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1)
some_paths = st.lists(names, min_size=1, max_size=3).map(lambda parts: Path(*parts))


@pytest.fixture(autouse=True, scope="module")
def _nothing_is_there(tmp_path_factory):
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("empty"))
    yield
    os.chdir(before)


def read_back(argument: str, key: str) -> str:
    """Return the path that a setting means, through our reader, Hydra's parser and OmegaConf."""
    (setting,) = overrides.read([argument]).settings
    text = shell.parsed_text(setting.partition("=")[2])
    return str(OmegaConf.create({key: text})[key])


@pytest.mark.parametrize("key", ["data.root", "sweep_dir"])
@pytest.mark.parametrize("name", AWKWARD)
def test_printed_setting_names_the_same_directory_when_pasted(key, name):
    for path in (Path(name), Path("/data") / name, Path(name) / "in it"):
        line = shell.command("python", shell.setting(key, path))
        if not line.isprintable() or "$'" in line:
            continue  # shlex knows no $'...': tried in bash below
        _, argument = shlex.split(line)
        assert Path(read_back(argument, key)) == path


@settings(max_examples=100, deadline=None)
@given(some_paths)
@example(Path("a\\${b}\\"))
def test_any_directory_survives_the_printed_setting(path):
    assert Path(read_back(shell.setting("sweep_dir", path), "sweep_dir")) == path


@settings(deadline=None)
@given(st.lists(names, min_size=1, max_size=4))
@example(["\u034f", "a"])  # printable to Python, and yet nothing to see
def test_visible_words_are_split_as_the_shell_splits_them(words):
    words = [word for word in words if word.isprintable() and visible(word) == word]
    assert shlex.split(shell.command(*words)) == words


def test_real_shell_parses_what_shlex_cannot(tmp_path):
    words = [*AWKWARD, os.fsdecode(b"not-\xff-utf-8"), "a\tb\x7f8", "\x011"]
    line = shell.command("printf", r"%s\0", *words)
    assert line.isprintable()
    printed = subprocess.run(["bash", "-c", line], capture_output=True, check=True).stdout
    assert [os.fsdecode(word) for word in printed.split(b"\0")[:-1]] == words


@pytest.mark.parametrize("name", ["-x", "~root", "~"])
def test_path_is_neither_an_option_nor_a_home_folder(name):
    _, place = shlex.split(shell.command("python", Path(name)))
    assert Path(place) == Path(name) and shell.expanded(place) == place
    assert not place.startswith("-")


def test_scripts_are_named_so_that_they_are_found_from_the_working_directory(monkeypatch):
    script = Path(shell.program("predict"))
    assert script.is_file()
    monkeypatch.chdir(script.parents[1])
    assert shell.program("predict") == "src/predict.py"
