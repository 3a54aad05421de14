"""A data folder that is full or closed to us: a clear error, nothing half-done, then on."""

import errno
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from visionsweep.config.schema import DataConfig
from visionsweep.data.sources import fetch_archive
from visionsweep.data.split_loading import load_splits
from visionsweep.data.synthetic import sample
from visionsweep.data.synthetic.sample import render_sample
from visionsweep.errors import UserError

NAME = "photos.zip"


def publish(folder: Path, images: int, size: int) -> str:
    """Publish an archive of images that do not get smaller; return the folder's address."""
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / NAME, "w") as archive:
        for index in range(images):
            archive.writestr(f"train/pizza/{index}.jpg", os.urandom(size))
    return folder.as_uri()


@pytest.fixture
def served(tmp_path):
    """The address of a server, and the folder it serves."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", folder
        server.shutdown()


@pytest.fixture
def open_to_all():
    """A folder that every user may enter; pytest's own are closed."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def there(folder: Path) -> list[str]:
    """All that lies in a folder but the lock and what fills the disk."""
    beside = {f".{NAME}.lock", ".sample.lock", "somebody's film"}
    return sorted(path.name for path in folder.iterdir() if path.name not in beside)


def test_archive_larger_than_free_space_is_refused_before_anything_is_written(small_disk, tmp_path):
    address = publish(tmp_path / "published", images=2, size=1_500_000)
    with pytest.raises(UserError) as refused:
        fetch_archive(address, NAME, small_disk.path)
    assert str(refused.value).startswith(
        f"{small_disk.path / 'photos'}: No space left on device (3.0 MB needed, 2.1 MB free). "
    )
    assert "data.root=FOLDER" in str(refused.value)
    assert there(small_disk.path) == []


def test_full_disk_during_unpacking_leaves_nothing_and_a_later_run_succeeds(small_disk, tmp_path):
    """Four hundred files of 4,097 bytes take 1.6 MB by their sizes and 3.3 MB on disk."""
    address = publish(tmp_path / "published", images=400, size=4_097)
    with pytest.raises(UserError, match=r"No space left on device \(1\.6 MB needed, .* free\)"):
        fetch_archive(address, NAME, small_disk.path)
    assert there(small_disk.path) == []
    address = publish(tmp_path / "published", images=100, size=4_097)
    assert len(list(fetch_archive(address, NAME, small_disk.path).rglob("*.jpg"))) == 100
    assert there(small_disk.path) == ["photos"]


def test_full_disk_during_a_download_leaves_nothing_and_a_later_run_succeeds(small_disk, served):
    address, folder = served
    publish(folder, images=1, size=800_000)
    small_disk.fill(but=400_000)
    with pytest.raises(UserError, match=r"No space left on device \(.*free\)") as refused:
        fetch_archive(address, NAME, small_disk.path)
    assert str(small_disk.path) in str(refused.value)
    assert there(small_disk.path) == []
    small_disk.empty()
    assert fetch_archive(address, NAME, small_disk.path).is_dir()
    assert there(small_disk.path) == ["photos"]


def test_read_only_folder_is_an_error_unless_complete(small_disk, tmp_path):
    address = publish(tmp_path / "published", images=1, size=10)
    small_disk.remount("ro")
    with pytest.raises(
        UserError, match=rf"{small_disk.path}.*: Read-only file system\. .*data\.root"
    ):
        fetch_archive(address, NAME, small_disk.path)
    small_disk.remount("rw")
    fetch_archive(address, NAME, small_disk.path)
    small_disk.remount("ro")
    assert fetch_archive(address, NAME, small_disk.path).is_dir()


def test_folder_of_another_user_is_an_error(tmp_path, as_somebody_else):
    address = publish(tmp_path / "published", images=1, size=10)
    with (
        as_somebody_else(),
        pytest.raises(UserError, match=r": Permission denied\. Free space"),
    ):
        fetch_archive(address, NAME, tmp_path / "data")


def test_unreadable_folder_is_an_error_rather_than_empty(open_to_all, as_somebody_else):
    root = open_to_all / "mine"
    for name in ("cat", "dog"):
        (root / name / "more").mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(root / name / "1.png")
    config = DataConfig(label="mine", source="folder", root=str(root))
    for closed in (root, root / "cat", root / "dog" / "more"):
        closed.chmod(0o700)
        with as_somebody_else(), pytest.raises(UserError) as refused:
            load_splits(config)
        assert str(refused.value).startswith(str(closed))
        assert "Permission denied" in str(refused.value)
        closed.chmod(0o755)
    shutil.rmtree(root)
    with pytest.raises(UserError, match=rf"{root}: no such folder; expected"):
        load_splits(config)


def test_file_system_without_locks_is_an_error(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    address = publish(tmp_path / "published", images=1, size=10)
    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(
        UserError, match=rf"{tmp_path / 'data'}: this file system cannot lock files"
    ):
        fetch_archive(address, NAME, tmp_path / "data")


def test_sample_on_a_full_disk_keeps_complete_images_and_continues(small_disk, monkeypatch):
    monkeypatch.setattr(sample, "COUNTS", {"train": 8, "val": 2, "test": 2})
    small_disk.fill(but=60_000)
    with pytest.raises(UserError, match=r"No space left on device \(.* free\)"):
        render_sample(small_disk.path, 1, size=64)
    drawn = {path: path.stat().st_mtime_ns for path in small_disk.path.rglob("*.jpg")}
    assert 0 < len(drawn) < 36 and not list(small_disk.path.rglob("*.part"))
    small_disk.empty()
    folder = render_sample(small_disk.path, 1, size=64)
    assert len(list(folder.rglob("*.jpg"))) == 36
    assert all(path.stat().st_mtime_ns == time for path, time in drawn.items())
    small_disk.remount("ro")
    assert render_sample(small_disk.path, 1, size=64) == folder
    with pytest.raises(UserError, match=r": Read-only file system\."):
        render_sample(small_disk.path, 1, size=65)


def test_process_killed_while_unpacking_is_reported_and_unpacking_restarts(tmp_path, caplog):
    address = publish(tmp_path / "published", images=50, size=1000)
    code = (
        "import os, signal, sys, zipfile; from pathlib import Path;"
        "from visionsweep.data.sources import fetch_archive;"
        "extract = zipfile.ZipFile._extract_member;"
        "zipfile.ZipFile._extract_member = lambda self, member, *rest: ("
        " os.kill(os.getpid(), signal.SIGKILL) if '/30' in str(member) else None,"
        " extract(self, member, *rest))[1];"
        "fetch_archive(sys.argv[1], sys.argv[2], Path(sys.argv[3]))"
    )
    data = tmp_path / "data"
    done = subprocess.run([sys.executable, "-c", code, address, NAME, data])
    assert done.returncode == -signal.SIGKILL
    (left,) = data.glob(".photos-*.part")
    assert len(list(left.rglob("*.jpg"))) == 30
    assert len(list(fetch_archive(address, NAME, data).rglob("*.jpg"))) == 50
    assert there(data) == ["photos"]
    assert f"its holder died while fetching {NAME} (process " in caplog.text
