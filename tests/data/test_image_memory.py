"""Facts about images are cached, and files that changed are inspected again."""

import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from visionsweep.command_memory import forget
from visionsweep.data import image_facts
from visionsweep.data.decoding import ImageFacts, examine
from visionsweep.data.image_facts import inspect
from visionsweep.data.images import ImageFile, digest_of, read_content
from visionsweep.errors import UserError

AN_HOUR_AGO = time.time() - 3600
_opened: list[str] = []
_noting = False


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if _noting and event == "open" and not isinstance(arguments[0], int):
        _opened.append(str(arguments[0]))


sys.addaudithook(_note)  # cannot be taken back, so it notes only where a test asks for it


@pytest.fixture
def opened() -> Iterator[list[str]]:
    """Note which files this process opens."""
    global _noting
    _opened.clear()
    _noting = True
    yield _opened
    _noting = False


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Four images of the same size whose content did not change for an hour."""
    made = [tmp_path / f"{i}.bmp" for i in range(4)]
    for i, path in enumerate(made):
        Image.new("RGB", (16, 16), (60 * i, 0, 0)).save(path)
        settle(path)
    wait()
    return made


def settle(path: Path) -> None:
    os.utime(path, (AN_HOUR_AGO, AN_HOUR_AGO))


def wait() -> None:
    """Wait until changes made so far differ in time from later ones."""
    time.sleep(0.15)


def test_second_inspection_opens_no_image(tmp_path, paths, opened):
    memory = tmp_path / "memory" / "m.json"
    first = inspect(paths, memory)
    forget()
    opened.clear()
    assert inspect(paths, memory) == first
    assert opened == [str(memory)]
    assert len({*first.values()}) == 4


def test_copies_of_an_image_are_decoded_once_per_thread_at_most(paths, monkeypatch):
    threads = os.cpu_count() or 1
    copies = [
        Path(shutil.copy(paths[0], paths[0].with_stem(f"copy{i}"))) for i in range(2 * threads)
    ]
    examined: list[object] = []

    def noting(content: bytes, where: object) -> ImageFacts:
        examined.append(where)
        return examine(content, where)

    monkeypatch.setattr(image_facts, "examine", noting)
    assert len({*inspect(copies).values()}) == 1
    assert 1 <= len(examined) <= threads


def swap_by_renaming(one: Path, other: Path) -> None:
    between = one.with_name("between")
    one.rename(between)
    other.rename(one)
    between.rename(other)


def swap_by_copying(one: Path, other: Path) -> None:
    """Write into the same files, and set their times back: `cp -p`."""
    between = one.with_name("between")
    for source, target in ((one, between), (other, one), (between, other)):
        shutil.copy2(source, target)


def swap_by_rsync(one: Path, other: Path) -> None:
    """Write beside, set the time, rename: `rsync -a`, `unzip`, `tar`."""
    between = one.with_name("between")
    shutil.copy2(one, between)
    for source, target in ((other, one), (between, other)):
        shutil.copy2(source, one.with_name(".part"))
        one.with_name(".part").rename(target)


def swap_by_folders(one: Path, other: Path) -> None:
    """Exchange what two links point to, as a data set's `current` link is."""
    for target, content in ((one, other.read_bytes()), (other, one.read_bytes())):
        copy = target.with_name(f"kept-{target.name}")
        copy.write_bytes(content)
        settle(copy)
        target.unlink()
        target.symlink_to(copy)


@pytest.mark.parametrize(
    "swap", [swap_by_renaming, swap_by_copying, swap_by_rsync, swap_by_folders]
)
def test_files_swapped_with_equal_size_and_time_are_noticed(
    tmp_path, paths, swap: Callable[[Path, Path], None]
):
    memory = tmp_path / "m.json"
    first = inspect(paths, memory)
    before = [(path.stat().st_size, path.stat().st_mtime) for path in paths]
    swap(paths[0], paths[1])
    assert [(path.stat().st_size, path.stat().st_mtime) for path in paths] == before
    wait()
    forget()
    second = inspect(paths, memory)
    assert [second[p] for p in paths] == [first[paths[i]] for i in (1, 0, 2, 3)]
    forget()
    assert inspect(paths, memory) == second


def test_folders_swapped_by_renaming_are_noticed(tmp_path, paths):
    folders = [tmp_path / "cat", tmp_path / "dog"]
    for folder, path in zip(folders, paths, strict=False):
        folder.mkdir()
        path.rename(folder / "1.bmp")
    wait()
    images = [folder / "1.bmp" for folder in folders]
    first = inspect(images, tmp_path / "m.json")
    swap_by_renaming(*folders)
    forget()
    second = inspect(images, tmp_path / "m.json")
    assert [second[path] for path in images] == [first[path] for path in reversed(images)]


def test_only_changed_files_are_inspected_again(tmp_path, paths, opened):
    memory = tmp_path / "m.json"
    first = inspect(paths, memory)
    Image.new("RGB", (20, 20), "white").save(paths[1])
    forget()
    opened.clear()
    second = inspect(paths, memory)
    assert {path for path in opened if path.endswith(".bmp")} == {str(paths[1])}
    assert [p for p in paths if first[p] != second[p]] == [paths[1]]


def test_file_changed_a_moment_ago_is_not_cached(tmp_path, paths, opened):
    """Within a tick of the file system's clock it could change once more and keep its time."""
    memory = tmp_path / "m.json"
    paths[0].write_bytes(paths[1].read_bytes())
    inspect(paths, memory)
    forget()
    opened.clear()
    inspect(paths, memory)
    assert str(paths[0]) in opened and str(paths[2]) not in opened


def test_unreadable_image_is_reported_every_time(tmp_path, paths):
    paths[2].write_bytes(b"not an image")
    wait()
    for _ in range(2):
        forget()
        assert "2.bmp: cannot be read" in str(inspect(paths, tmp_path / "m.json")[paths[2]])


FIRST_VERSION = b'{"/photos/0.bmp": [822, 1700000000000000000, "00112233445566778899aabbccddeeff"]}'


@pytest.mark.parametrize(
    "damage",
    [
        b"", b"{", b"\xff\xfe\0", b"[]", b'{"a": [1, 2]}', b'{"a": "b"}', FIRST_VERSION,
        b'{"stamped_files": {"a": [[[1, 2, 3, 4, 5], "00112233445566778899aabbccddeeff"]]}}',
        b'{"a": [[[1, 2, 3, 4, 5], ["no digest", [null, null]]]]}',
    ],
    ids=repr,
)  # fmt: skip
def test_damaged_or_older_cache_file_is_replaced(tmp_path, paths, damage, opened):
    memory = tmp_path / "m.json"
    first = inspect(paths, memory)
    memory.write_bytes(damage)
    forget()
    assert inspect(paths, memory) == first
    forget()
    opened.clear()
    assert inspect(paths, memory) == first
    assert opened == [str(memory)]


def test_verifying_reads_everything_once_and_names_files_changed_unnoticed(
    tmp_path, paths, opened, caplog
):
    memory = tmp_path / "m.json"
    first = inspect(paths, memory)
    # What a file system without inodes and times of status may leave: the old stamp, new content.
    wrong = memory.read_bytes().replace(first[paths[0]].digest.encode(), b"0" * 32)
    memory.write_bytes(wrong)
    forget()
    assert inspect(paths, memory)[paths[0]].digest == "0" * 32
    opened.clear()
    with caplog.at_level(logging.WARNING):
        assert inspect(paths, memory, verify=True) == first
    assert {path for path in opened if path.endswith(".bmp")} == set(map(str, paths))
    assert "1 images changed although" in caplog.text and str(paths[0]) in caplog.text
    opened.clear()
    assert inspect(paths, memory, verify=True) == first  # the next run of a sweep
    assert not [path for path in opened if path.endswith(".bmp")]
    forget()
    assert inspect(paths, memory) == first  # and it is remembered


def test_file_system_without_inode_numbers_causes_a_warning(tmp_path, paths, monkeypatch, caplog):
    def without_inode(path: Path, **options: bool) -> object:
        facts = os.stat(path, **options)  # noqa: PTH116
        names = [name for name in dir(facts) if name.startswith("st_")]
        return SimpleNamespace(**{n: getattr(facts, n) for n in names} | {"st_ino": 0})

    monkeypatch.setattr(Path, "stat", without_inode)
    inspect(paths, tmp_path / "m.json")
    assert str(tmp_path) in caplog.text and "data.verify=true" in caplog.text


def test_named_pipe_is_not_opened(tmp_path):
    pipe = tmp_path / "image.png"
    os.mkfifo(pipe)
    code = (
        "import sys; from pathlib import Path; from visionsweep.data.image_facts import inspect\n"
        "print(inspect([Path(sys.argv[1])]).popitem()[1].what)"
    )
    command = [sys.executable, "-c", code, str(pipe)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.endswith("is not a regular file\n")


def test_names_that_are_not_utf8_are_cached(tmp_path, paths, opened):
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9\n.bmp"))
    paths[0].rename(odd)
    wait()
    memory = tmp_path / "m.json"
    first = inspect([odd], memory)
    forget()
    opened.clear()
    assert inspect([odd], memory) == first
    assert opened == [str(memory)]


def test_content_of_an_image_is_compared_with_its_digest(paths):
    file = ImageFile(paths[0], 0, digest_of(paths[0].read_bytes()))
    assert read_content(file) == paths[0].read_bytes()
    paths[0].write_bytes(paths[1].read_bytes())
    with pytest.raises(UserError) as error:
        read_content(file)
    assert error.value.where == str(paths[0]) and "data.verify=true" in str(error.value.hint)
