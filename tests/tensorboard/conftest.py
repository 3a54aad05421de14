"""A real TensorBoard to ask, and predictions of a run to write."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest


class TensorBoard:
    """A started TensorBoard, and its HTTP API."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str, body: dict | None = None) -> bytes:
        request = urllib.request.Request(
            f"{self.url}/data/{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.read()

    def ask(self, path: str, body: dict | None = None):
        return json.loads(self.get(path, body))


@pytest.fixture
def start_tensorboard(tmp_path: Path):
    """Start a TensorBoard on a folder, and wait until it has read what it is asked for."""
    started = []

    def start(logdir: Path, has_read: Callable[[TensorBoard], bool]) -> TensorBoard:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        with (tmp_path / "log").open("w") as log:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "tensorboard.main", "--logdir", logdir),
                    *("--host", "127.0.0.1", "--port", str(port)),
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
            )
        started.append(process)
        board = TensorBoard(f"http://127.0.0.1:{port}")
        deadline = time.monotonic() + 90
        while not _answers(board, has_read):
            assert process.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.2)
        return board

    yield start
    for process in started:
        process.terminate()
        process.wait(20)


def _answers(board: TensorBoard, has_read: Callable[[TensorBoard], bool]) -> bool:
    try:
        return has_read(board)
    except OSError:  # not up yet
        return False
