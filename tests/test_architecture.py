"""The list of files in docs/architecture.md is the tree of src/visionsweep."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "visionsweep"
LINE = re.compile(r"^ {6}((?:  )*)([\w.]+/?) +\S")


def named() -> list[str]:
    """Return the files that the list names, below src/visionsweep, in its order."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    listing = text.split("\n    src/visionsweep/\n", 1)[1].split("\n\n", 1)[0]
    files, folders = [], []
    for line in listing.splitlines():
        match = LINE.match(line)
        assert match, f"neither a folder nor a file with its purpose: {line}"
        del folders[len(match[1]) // 2 :]
        if match[2].endswith("/"):
            folders.append(match[2])
        else:
            files.append("".join([*folders, match[2]]))
    return files


def there() -> set[str]:
    """Return the files of the package; the line of a folder stands for its `__init__.py`."""
    files = (path for path in PACKAGE.rglob("*") if path.suffix in {".py", ".js", ".css", ".j2"})
    return {path.relative_to(PACKAGE).as_posix() for path in files if path.name != "__init__.py"}


def test_every_module_is_named_once_in_the_architecture():
    assert there() - set(named()) == set()
    assert len(named()) == len(set(named())) > 100


def test_every_file_named_in_the_architecture_exists():
    assert set(named()) - there() == set()


def test_folders_are_listed_in_the_order_of_the_layers():
    layers = (ROOT / "pyproject.toml").read_text(encoding="utf-8").split("layers = [", 1)[1]
    order = re.findall(r"\w+", layers.split("]", 1)[0])
    listed = list(dict.fromkeys(file.split("/")[0].removesuffix(".py") for file in named()))
    assert listed == order
