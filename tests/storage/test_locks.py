"""A lock ends with its holder, however that ends, and whoever comes next says so."""

import errno
import fcntl
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from visionsweep.storage.locks import held

HOLDER = (
    "import sys; from pathlib import Path; from visionsweep.storage.locks import held\n"
    "with held(Path(sys.argv[1]), 'sleeping'):\n"
    "    print('held', flush=True); sys.stdin.readline()\n"
)


def hold(path: Path) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, path],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def end(process: subprocess.Popen) -> None:
    process.communicate("\n", timeout=60)
    assert process.returncode == 0


def kill(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)


def test_lock_of_a_killed_process_is_broken_with_a_warning_that_names_it(tmp_path, caplog):
    path = tmp_path / "features.lock"
    holder = hold(path)
    kill(holder)
    with held(path, "extracting features"):
        pass
    (warning,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert f"{path}: its holder died while extracting features" in warning
    who = rf"\(process {holder.pid} on {re.escape(socket.gethostname())}, since \d+-\d+-\d+ \d+:"
    assert re.search(who, warning)
    caplog.clear()
    with held(path, "extracting features"):  # said once
        pass
    assert not caplog.records


def test_waiting_process_continues_with_a_warning_when_the_holder_is_killed(tmp_path, caplog):
    path = tmp_path / "features.lock"
    holder = hold(path)
    caplog.set_level(logging.INFO)
    reached = threading.Event()

    def wait() -> None:
        with held(path, "extracting features"):
            reached.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert not reached.wait(0.5)
    kill(holder)
    assert reached.wait(30)
    waiting.join()
    said, warned = [record.getMessage() for record in caplog.records]
    assert "Waiting for another process" in said and f"process {holder.pid} on" in said
    assert "died while extracting features" in warned


@pytest.mark.parametrize("how", ["ends", "fails", "is interrupted"])
def test_holder_that_finishes_causes_no_warning(tmp_path, caplog, how):
    path = tmp_path / "features.lock"
    error = {"fails": ValueError, "is interrupted": KeyboardInterrupt}.get(how)
    if error is None:
        end(hold(path))
    else:
        with pytest.raises(error), held(path, "extracting features"):
            raise error
    with held(path, "extracting features"):
        pass
    assert not caplog.records
    assert [p.name for p in tmp_path.iterdir() if p != path] == []


def test_holder_killed_while_writing_its_note_is_noticed(tmp_path, caplog):
    (tmp_path / "features.holder").write_bytes(b'{"host": "a')
    with held(tmp_path / "features.lock", "extracting features"):
        pass
    assert "unknown process" in caplog.text


def test_lock_works_on_a_full_disk(small_disk):
    small_disk.fill()
    with held(small_disk.path / "features.lock", "extracting features"):
        pass


@pytest.mark.parametrize("refusal", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_file_system_without_locks_is_an_error_and_leaves_no_lock(tmp_path, monkeypatch, refusal):
    def refuse(*_: object) -> None:
        raise OSError(refusal, os.strerror(refusal))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError) as refused, held(tmp_path / "a.lock", "extracting features"):
        raise AssertionError("held")
    assert refused.value.errno == refusal
    monkeypatch.undo()
    with held(tmp_path / "a.lock", "extracting features"):
        pass


@pytest.mark.parametrize("target", ["a file", "nothing", "a pipe"])
def test_planted_link_in_place_of_a_holders_note_is_not_followed(tmp_path, caplog, target):
    victim = tmp_path / "victim"
    if target == "a file":
        victim.write_text("theirs")
    elif target == "a pipe":
        os.mkfifo(victim)
    note = tmp_path / "features.holder"
    note.symlink_to(victim)
    with held(tmp_path / "features.lock", "extracting features"):
        assert not note.is_symlink() and str(os.getpid()) in note.read_text()
    assert "unknown process" in caplog.text
    if target == "a file":
        assert victim.read_text() == "theirs"
    assert victim.exists() == (target != "nothing")


def test_pipe_in_place_of_a_holders_note_is_not_waited_for(tmp_path, caplog):
    os.mkfifo(tmp_path / "features.holder")
    with held(tmp_path / "features.lock", "extracting features"):
        pass
    assert "unknown process" in caplog.text
    assert not (tmp_path / "features.holder").exists()


def test_planted_link_in_place_of_a_lock_is_refused_and_not_followed(tmp_path):
    victim = tmp_path / "victim"
    (tmp_path / "a.lock").symlink_to(victim)
    for content in (None, b"theirs"):
        if content:
            victim.write_bytes(content)
        with pytest.raises(OSError) as refused, held(tmp_path / "a.lock", "extracting features"):
            raise AssertionError("held")
        assert refused.value.errno == errno.ELOOP
    assert victim.read_bytes() == b"theirs"


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_modes_of_locks_and_notes_follow_the_umask(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        with held(tmp_path / "a.lock", "extracting features"):
            modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert modes == {"a.lock": mode, "a.holder": mode}
