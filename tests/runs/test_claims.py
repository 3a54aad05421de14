"""A run's directory belongs to one living process at a time; what became of a run is on disk."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from visionsweep.runs import claims

HOLD = """
import sys, time
from pathlib import Path
from visionsweep.runs import claims
with claims.held(Path(sys.argv[1]), "a-run"):
    print("held", flush=True)
    sys.stdin.readline()
    if len(sys.argv) > 2:
        (Path(sys.argv[1]) / "result.json").write_text("{}")
"""


@pytest.fixture
def holder():
    """Start processes that hold a directory until they are told to end."""
    started = []

    def start(directory: Path, *more: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(directory), *more],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_claim_names_host_and_process_and_is_deleted_with_a_result(tmp_path):
    with claims.held(tmp_path / "run", "a-run"):
        written = json.loads((tmp_path / "run" / "claim").read_text())
        assert written["pid"] == os.getpid() and written["host"] and written["name"] == "a-run"
        claim = claims.find(tmp_path / "run")
        assert claim is not None and claim.alive
        (tmp_path / "run" / "result.json").write_text("{}")
    assert claims.find(tmp_path / "run") is None


def test_block_without_a_result_leaves_its_claim_and_the_same_process_may_continue(tmp_path):
    with claims.held(tmp_path, "a-run"):
        pass
    claim = claims.find(tmp_path)
    assert claim is not None and not claim.alive
    with claims.held(tmp_path, "a-run"):  # does not wait for itself
        assert claims.find(tmp_path).alive


def test_claim_of_a_living_process_is_waited_for(tmp_path, holder, caplog):
    process = holder(tmp_path, "with a result")
    claim = claims.find(tmp_path)
    assert claim.alive and claim.claim.pid == process.pid
    caplog.set_level("INFO")
    taken = []

    def take():
        with claims.held(tmp_path, "a-run"):
            taken.append((tmp_path / "result.json").is_file())

    waiting = threading.Thread(target=take)
    waiting.start()
    time.sleep(1.0)
    assert not taken
    process.stdin.write("\n")
    process.stdin.flush()
    waiting.join(30)
    assert taken == [True]
    assert f"process {process.pid}" in caplog.text


def test_claim_of_a_killed_process_is_broken_with_a_warning(tmp_path, holder, caplog):
    process = holder(tmp_path)
    process.kill()
    process.wait()
    claim = claims.find(tmp_path)
    assert claim is not None and not claim.alive and claim.claim.pid == process.pid
    with claims.held(tmp_path, "a-run"):
        assert claims.find(tmp_path).claim.pid == os.getpid()
    assert f"process {process.pid}" in caplog.text and "is dead" in caplog.text


def test_processes_that_break_a_dead_claim_hold_the_directory_one_at_a_time(tmp_path, holder):
    process = holder(tmp_path)
    process.kill()
    process.wait()
    inside, most = [], []

    def take():
        with claims.held(tmp_path, "a-run"):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.02)
            inside.pop()

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert most == [1] * 8


def _claim_of_another_machine(directory: Path, silent: float) -> None:
    with claims.held(directory, "a-run"):
        pass
    claim = json.loads((directory / "claim").read_text()) | {"system": "elsewhere", "host": "node7"}
    (directory / "claim").write_text(json.dumps(claim))
    moment = time.time() - silent
    os.utime(directory / "claim", (moment, moment))


def test_claim_of_another_machine_is_alive_while_it_is_touched(tmp_path, caplog):
    _claim_of_another_machine(tmp_path, silent=20)
    assert claims.find(tmp_path).alive
    _claim_of_another_machine(tmp_path / "b", silent=claims.STALE_AFTER_SECONDS + 5)
    assert not claims.find(tmp_path / "b").alive
    with claims.held(tmp_path / "b", "a-run"):
        pass
    assert "on node7" in caplog.text


def test_held_claim_is_touched(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "HEARTBEAT_SECONDS", 0.05)
    with claims.held(tmp_path, "a-run"):
        os.utime(tmp_path / "claim", (1, 1))
        for _ in range(200):
            if (tmp_path / "claim").stat().st_mtime > 1:
                break
            time.sleep(0.02)
        assert (tmp_path / "claim").stat().st_mtime > time.time() - 60


def test_reused_process_id_is_not_the_old_process(tmp_path):
    with claims.held(tmp_path, "a-run"):
        pass
    claim = json.loads((tmp_path / "claim").read_text())
    parent = claim | {"pid": os.getppid(), "began": claim["began"] - 86_400}
    (tmp_path / "claim").write_text(json.dumps(parent))
    assert not claims.find(tmp_path).alive


def test_claim_being_written_is_alive_and_an_old_truncated_one_is_not(tmp_path):
    (tmp_path / "claim").write_bytes(b"")
    assert claims.find(tmp_path).alive
    os.utime(tmp_path / "claim", (1, 1))
    assert not claims.find(tmp_path).alive


def test_link_that_takes_a_claims_place_is_not_followed_when_the_claim_is_touched(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(claims, "HEARTBEAT_SECONDS", 0.05)
    victim = tmp_path / "victim"
    victim.write_text("theirs")
    os.utime(victim, (1, 1))
    with claims.held(tmp_path / "run", "a-run"):
        claim = tmp_path / "run" / "claim"
        claim.unlink()
        claim.symlink_to(victim)
        os.utime(claim, (2, 2), follow_symlinks=False)
        for _ in range(200):
            if claim.lstat().st_mtime > 2:
                break
            time.sleep(0.05)
        assert claim.lstat().st_mtime > 2, "the premise: it was touched"
    assert victim.stat().st_mtime == 1 and victim.read_text() == "theirs"
