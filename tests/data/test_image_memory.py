"""Images already looked at are not opened again, and none that changed is taken for the old one."""

import os
import time
from pathlib import Path

import pytest
from PIL import Image

from visionsweep.data import images
from visionsweep.data.images import inspect


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Four images that have not changed for an hour."""
    made = [tmp_path / f"{i}.png" for i in range(4)]
    for i, path in enumerate(made):
        Image.new("RGB", (16, 16), (60 * i, 0, 0)).save(path)
        settle(path)
    return made


def settle(path: Path) -> None:
    an_hour_ago = time.time() - 3600
    os.utime(path, (an_hour_ago, an_hour_ago))


def replace_unseen(path: Path, content: bytes) -> None:
    """Change what a file holds, but neither its size nor its time of change."""
    facts = path.stat()
    path.write_bytes(content[: facts.st_size].ljust(facts.st_size, b"\0"))
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def forget() -> None:
    """Start as a new process does."""
    images._recalled.clear()


def test_a_second_look_opens_no_file(tmp_path, paths):
    memory = tmp_path / "memory" / "m.json"
    first = inspect(paths, memory)
    for path in paths:
        replace_unseen(path, b"garbage")
    forget()
    assert inspect(paths, memory) == first
    assert len({*first.values()}) == 4
    assert inspect(paths)[paths[0]] != first[paths[0]]  # without memory it is opened


def test_a_changed_file_is_looked_at_again_alone(tmp_path, paths):
    memory = tmp_path / "m.json"
    first = inspect(paths, memory)
    Image.new("RGB", (20, 20), "white").save(paths[1])
    settle(paths[1])
    for other in (paths[0], paths[2], paths[3]):
        replace_unseen(other, b"garbage")
    forget()
    second = inspect(paths, memory)
    assert [p for p in paths if first[p] != second[p]] == [paths[1]]
    forget()
    assert inspect(paths, memory) == second


def test_a_file_changed_just_now_is_not_remembered(tmp_path, paths):
    """A clock of two seconds' grain would not show that it changes once more."""
    memory = tmp_path / "m.json"
    os.utime(paths[0])
    first = inspect(paths, memory)
    replace_unseen(paths[0], b"garbage")
    forget()
    second = inspect(paths, memory)
    assert "cannot be read" in str(second[paths[0]])
    assert [p for p in paths if first[p] == second[p]] == paths[1:]


def test_an_unreadable_image_is_told_of_every_time(tmp_path, paths):
    paths[2].write_bytes(b"not an image")
    settle(paths[2])
    for _ in range(2):
        forget()
        assert "2.png: cannot be read" in str(inspect(paths, tmp_path / "m.json")[paths[2]])


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"\xff\xfe\0", b"[]", b'{"a": [1, 2]}', b'{"a": "b"}'], ids=repr
)
def test_a_damaged_memory_is_survived_and_mended(tmp_path, paths, damage):
    memory = tmp_path / "m.json"
    first = inspect(paths, memory)
    memory.write_bytes(damage)
    forget()
    assert inspect(paths, memory) == first
    replace_unseen(paths[0], b"garbage")
    forget()
    assert inspect(paths, memory) == first
