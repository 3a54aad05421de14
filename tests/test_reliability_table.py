"""The tables of docs/reliability.md name tests that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROW = re.compile(r"^\|.*\| `((?:tests/\S+ ?)+)(?:-k (\"[^\"]+\"|\S+))?` \|$", re.MULTILINE)
COMMANDS = ROW.findall((ROOT / "docs" / "reliability.md").read_text("utf-8"))


@pytest.mark.parametrize(("places", "words"), COMMANDS, ids=lambda text: text.strip() or "all")
def test_every_command_selects_tests(places: str, words: str) -> None:
    paths = [ROOT / place for place in places.split()]
    assert all(path.exists() for path in paths)
    files = [f for path in paths for f in ([path] if path.is_file() else path.rglob("test_*.py"))]
    tests = [t for f in files for t in re.findall(r"^def (test_\w+)", f.read_text("utf-8"), re.M)]
    parameters = " ".join(file.read_text("utf-8") for file in files)
    for word in words.strip('"').split(" or ") if words else ["test_"]:
        chosen = any(word in test for test in tests) or f'"{word}' in parameters
        assert chosen, f"no test of {places} is called {word}"


def test_the_tables_have_commands() -> None:
    rows = (ROOT / "docs" / "reliability.md").read_text("utf-8")
    assert len(COMMANDS) == rows.count("| `tests/") > 30
