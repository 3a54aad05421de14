"""A file of the cache is kept if it can be; what hinders is said loudly once."""

import logging
import os
import time

import pytest

from visionsweep.errors import UserError
from visionsweep.storage.cache import cache_folder, keep
from visionsweep.storage.files import A_DAY


def test_unwritable_cache_causes_one_framed_warning_and_no_error(small_disk, caplog):
    small_disk.remount("ro")
    paths = [small_disk.path / kind / "a.json" for kind in ("images", "networks", "thumbnails")]
    assert [keep(path, b"x") for path in paths] == [False] * 3
    framed, *lines = [record.getMessage() for record in caplog.records]
    assert "THE CACHE CANNOT BE WRITTEN" in framed and "!!!!" in framed
    assert "Read-only file system" in framed and "VISIONSWEEP_CACHE" in framed
    assert lines == [f"{p.parent}: not cached: Read-only file system" for p in paths[1:]]
    small_disk.remount("rw")
    assert keep(paths[0], b"x") and paths[0].read_bytes() == b"x"


def test_each_reason_gets_a_framed_warning(small_disk, tmp_path, as_somebody_else, caplog):
    small_disk.fill()
    assert not keep(small_disk.path / "images" / "a.json", bytes(9000))
    with as_somebody_else():
        assert not keep(tmp_path / "images" / "a.json", b"x")
    (tmp_path / "file").touch()
    assert not keep(tmp_path / "file" / "a.json", b"x")
    warnings = [
        record.getMessage() for record in caplog.records if record.levelno == logging.WARNING
    ]
    reasons = ("No space left on device", "Permission denied", "File exists")
    assert all(r in s and "!!!!" in s for r, s in zip(reasons, warnings, strict=True))


def test_temporary_files_of_a_killed_process_are_deleted_by_the_next_write(tmp_path):
    left = [tmp_path / f".{name}.json-abcd1234.part" for name in ("old", "young")]
    for path in left:
        path.touch()
    os.utime(left[0], (time.time() - A_DAY - 1,) * 2)
    assert keep(tmp_path / "a.json", b"x")
    assert sorted(tmp_path.iterdir()) == [left[1], tmp_path / "a.json"]


def test_user_without_a_home_must_name_a_folder(monkeypatch):
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("os.getuid", lambda: 4_000_000_001)  # in no passwd file
    with pytest.raises(UserError) as error:
        cache_folder("~/.cache/visionsweep")
    assert error.value.where == "features.cache_dir=~/.cache/visionsweep"
    assert "VISIONSWEEP_CACHE" in error.value.hint
    assert cache_folder("/tmp/x").is_absolute()
