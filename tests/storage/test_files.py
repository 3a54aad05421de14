"""Files are written whole or not at all, also on a disk that is full or may not be written."""

import errno
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from visionsweep.errors import UserError
from visionsweep.storage import files
from visionsweep.storage.files import (
    A_DAY,
    explained,
    open_regular,
    remove_leftovers,
    write_atomically,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_full_disk_keeps_the_old_file_and_no_temporary_one(small_disk):
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


def test_error_in_a_read_only_folder_names_the_final_file(small_disk):
    path = small_disk.path / "result.json"
    small_disk.remount("ro")
    with pytest.raises(OSError, match=f"Read-only file system: '{path}'$"):
        write_atomically(path, b"new")


def test_missing_permission_names_the_file(tmp_path, as_somebody_else):
    path = tmp_path / "result.json"
    with as_somebody_else(), pytest.raises(PermissionError, match=f"denied: '{path}'$"):
        write_atomically(path, b"new")
    assert names(tmp_path) == []


def test_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "result.json", b"new")
    assert names(tmp_path) == []


def leave(folder: Path, name: str) -> Path:
    """Let a process write a file and be killed before it gives it its name."""
    code = (
        "import os, signal, sys; from pathlib import Path; from visionsweep.storage import files;"
        "files.os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL);"
        "files.write_atomically(Path(sys.argv[1]), b'x')"
    )
    before = set(folder.iterdir())
    done = subprocess.run([sys.executable, "-c", code, folder / name])
    assert done.returncode == -signal.SIGKILL
    (left,) = set(folder.iterdir()) - before
    return left


def test_only_old_temporary_files_of_killed_processes_are_deleted(tmp_path):
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


def test_disk_error_names_place_reason_free_space_and_hint(small_disk):
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


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_file_mode_follows_the_umask(tmp_path, umask, mode):
    path = tmp_path / "report.html"
    path.write_bytes(b"old")
    path.chmod(0o666)
    before = os.umask(umask)
    try:
        write_atomically(path, b"new")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_planted_link_at_the_target_is_replaced_and_its_target_untouched(tmp_path):
    somebodys = tmp_path / "somebodys"
    somebodys.write_bytes(b"theirs")
    os.utime(somebodys, (1, 1))
    for target in (somebodys, tmp_path / "nowhere"):
        path = tmp_path / "result.json"
        path.symlink_to(target)
        write_atomically(path, b"new", durable=False)
        assert path.read_bytes() == b"new" and not path.is_symlink()
        path.unlink()
    assert somebodys.read_bytes() == b"theirs" and somebodys.stat().st_mtime == 1
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "device"])
def test_irregular_file_is_neither_opened_nor_waited_for(tmp_path, kind):
    path = tmp_path / "file"
    if kind == "link":
        (tmp_path / "real").write_bytes(b"content")
        path.symlink_to(tmp_path / "real")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path = Path("/dev/zero")
    with pytest.raises(OSError) as refused:
        open_regular(path)
    assert refused.value.filename == str(path)
    if kind == "link":
        with open_regular(path, follow_links=True) as file:
            assert file.read() == b"content"
    else:
        with pytest.raises(OSError):
            open_regular(path, follow_links=True)
