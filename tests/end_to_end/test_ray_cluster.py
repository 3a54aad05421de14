"""The ray launcher on a cluster of two raylets on this machine, of which one is killed."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.exhaustive


@pytest.fixture
def cluster(tmp_path_factory):
    """Start two nodes of one CPU each; gives the address, variables, and the second's raylet."""
    pytest.importorskip("ray")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = Path(f"/tmp/ray-{os.getpid()}")  # sockets in it: a path has to be short
    secret = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    environment = os.environ | secret | {"RAY_USAGE_STATS_ENABLED": "0"}
    ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1"]
    ray += ["--object-store-memory=80000000"]
    head = [f"--port={port}", "--head", "--include-dashboard=false", f"--temp-dir={place}"]
    started = []

    def start(*options):
        said = tmp_path_factory.mktemp("ray") / "out"
        with said.open("wb") as out:
            process = subprocess.Popen(
                [*ray, "--node-ip-address=127.0.0.1", *options], env=environment, stdout=out,
                stderr=out, start_new_session=True,
            )  # fmt: skip
        started.append(psutil.Process(process.pid))
        return raylet_of(started[-1], said)

    try:
        start(*head)
        second = start(f"--address=127.0.0.1:{port}")
        yield f"127.0.0.1:{port}", secret, second
    finally:
        for process in started:
            below = process.children(recursive=True) if process.is_running() else []
            for each in [process, *below]:
                try:
                    each.kill()
                except psutil.Error:
                    continue
        psutil.wait_procs(started, timeout=10)
        shutil.rmtree(place, ignore_errors=True)


def raylet_of(process, said, seconds=120):
    for _ in range(seconds * 10):
        assert process.is_running() and process.status() != psutil.STATUS_ZOMBIE, said.read_text()
        for child in process.children(recursive=True):
            if child.name() == "raylet":
                return child
        time.sleep(0.1)
    raise TimeoutError(said.read_text())


def test_lost_node_is_reported_and_resuming_gives_identical_numbers(pictures, cluster):
    address, secret, second = cluster
    pictures.environment |= secret
    tiny = [s for s in pictures.tiny if "replicates" not in s]
    asked = ["-m", "model=mobilenet_v3_small", "training=fine_tuning", "seed=1,2"]
    asked += ["epochs=30", "checkpoint_seconds=0", *tiny]
    disturbed = pictures.directory / "disturbed"
    process = pictures.start(
        "train.py", *asked, f"sweep_dir={disturbed}", f"outputs_dir={pictures.directory}/outputs",
        "hydra/launcher=ray", f"hydra.launcher.ray.init.address={address}",
        "hydra.launcher.ray.init.object_store_memory=null",
        "hydra.launcher.ray.remote.max_retries=0",
    )  # fmt: skip
    for _ in range(3000):
        if len(list(disturbed.glob("*/checkpoint.safetensors"))) == 2:
            break
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    second.kill()
    out, error = process.communicate(timeout=500)
    assert process.returncode == 1
    assert "Ray gave up on it" in error and "Traceback" not in error, error
    assert "sweep_dir=" in out

    again = pictures.run("train.py", *asked, f"sweep_dir={disturbed}")
    assert again.returncode == 0, again.stderr
    whole = pictures.run("train.py", *asked, "sweep_dir=whole")
    assert whole.returncode == 0, whole.stderr
    records, undisturbed = pictures.records("disturbed"), pictures.records("whole")
    assert set(records) == set(undisturbed) and len(records) == 2
    for name, record in records.items():
        assert json.dumps(pictures.numbers(record)) == json.dumps(
            pictures.numbers(undisturbed[name])
        )
    assert any(record["continued_after"] for record in records.values())
