"""Files are written whole or not at all, also on a disk that is full or may not be written."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from visionsweep import files
from visionsweep.errors import UserError
from visionsweep.files import A_DAY, explained, remove_leftovers, write_atomically


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_on_a_full_disk_the_old_file_stays_and_no_temporary_one(small_disk):
    path = small_disk.path / "result.json"
    write_atomically(path, b"old")
    small_disk.fill(but=8192)
    with pytest.raises(OSError, match="No space left on device") as refused:
        write_atomically(path, bytes(100_000))
    assert refused.value.errno == errno.ENOSPC and refused.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert names(small_disk.path) == ["result.json", "somebody's film"]
    small_disk.empty()
    write_atomically(path, bytes(100_000))
    assert len(path.read_bytes()) == 100_000 and names(small_disk.path) == ["result.json"]


def test_in_a_read_only_place_the_file_is_named_and_not_its_temporary_name(small_disk):
    path = small_disk.path / "result.json"
    small_disk.remount("ro")
    with pytest.raises(OSError, match=f"Read-only file system: '{path}'$"):
        write_atomically(path, b"new")


def test_without_permission_the_file_is_named_too(tmp_path, as_somebody_else):
    path = tmp_path / "result.json"
    with as_somebody_else(), pytest.raises(PermissionError, match=f"denied: '{path}'$"):
        write_atomically(path, b"new")
    assert names(tmp_path) == []


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "result.json", b"new")
    assert names(tmp_path) == []


def leave(folder: Path, name: str) -> Path:
    """Let a process write a file and be killed before it gives it its name."""
    code = (
        "import os, signal, sys; from pathlib import Path; from visionsweep import files;"
        "files.os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL);"
        "files.write_atomically(Path(sys.argv[1]), b'x')"
    )
    before = set(folder.iterdir())
    done = subprocess.run([sys.executable, "-c", code, folder / name])
    assert done.returncode == -signal.SIGKILL
    (left,) = set(folder.iterdir()) - before
    return left


def test_what_a_killed_process_left_is_removed_when_it_is_old_and_nothing_else(tmp_path):
    left = [leave(tmp_path, "a-b.json"), leave(tmp_path, "c.json")]
    ours = [
        tmp_path / name for name in ("a-b.json", ".a-b.json", ".hidden-by-somebody", ".c-1.part")
    ]
    for path in ours:
        path.touch()
    assert remove_leftovers(tmp_path) == []
    for path in [left[0], *ours]:
        os.utime(path, (time.time() - A_DAY - 1,) * 2)
    assert remove_leftovers(tmp_path) == [left[0]]
    assert remove_leftovers(tmp_path, age=0, of="another.json") == []
    assert remove_leftovers(tmp_path, age=0, of="c.json") == [left[1]]
    assert names(tmp_path) == sorted(path.name for path in ours)
    assert remove_leftovers(tmp_path / "nowhere") == []


def test_a_refusal_becomes_an_error_with_place_reason_room_and_advice(small_disk):
    small_disk.fill()
    path = small_disk.path / "deep" / "photos"
    with (
        pytest.raises(UserError) as refused,
        explained(path, "Make room.", needed=31_000_000),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # as a full disk does: no file named
    assert str(refused.value) == (
        f"{path}: No space left on device (31.0 MB needed, 0 bytes free). Make room."
    )
    with (
        pytest.raises(UserError, match=r"^/x: Permission denied\. Make room\.$"),
        explained(path, "Make room."),
    ):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/x")
