"""A torch cache of one's own, weight files to plant in it, and a server to fetch them from."""

import functools
import hashlib
import io
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
import torchvision
from torchvision.models import WeightsEnum

CLOSED_PORT = "http://127.0.0.1:9/models"  # the discard service: nobody listens there


@pytest.fixture
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which torch looks for weight files; empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@dataclass
class WeightsServer:
    """Serves the files of a folder, and counts what is asked of it."""

    url: str
    folder: Path
    asked: Counter[tuple[str, str]] = field(default_factory=Counter)  # (method, file) -> times


@pytest.fixture
def weights_server(tmp_path: Path) -> Iterator[WeightsServer]:
    folder = tmp_path / "served"
    folder.mkdir()

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_arguments: object) -> None:
            pass

        def send_head(self):
            server.asked[self.command, self.path.rpartition("/")[2]] += 1
            if self.command == "GET":
                time.sleep(0.3)  # long enough for a second process to come by
            return super().send_head()

    http = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    server = WeightsServer(f"http://127.0.0.1:{http.server_port}", folder)
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    yield server
    http.shutdown()
    http.server_close()
    thread.join()


@pytest.fixture
def unreachable_url() -> str:
    return CLOSED_PORT


def entry_named(file_name: str) -> WeightsEnum:
    """Return torchvision's entry for the file of this name, whatever its hash: `resnet18-*`."""
    stem = file_name.rpartition("-")[0]
    for model in torchvision.models.list_models(module=torchvision.models):
        for entry in torchvision.models.get_model_weights(model):
            if entry.url.rpartition("/")[2].rpartition("-")[0] == stem:
                return entry
    raise LookupError(file_name)


@pytest.fixture
def publish(checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes, str], Path]:
    """Put a file into torch's cache as one whose hash torchvision promises in its name."""

    def publish(content: bytes, file_name: str) -> Path:
        entry = entry_named(file_name)
        digits = hashlib.sha256(content).hexdigest()[:8]
        url = re.sub(r"-[0-9a-f]{8,}\.", f"-{digits}.", entry.url)
        monkeypatch.setattr(entry.value, "url", url)
        path = checkpoints / url.rpartition("/")[2]
        path.write_bytes(content)
        return path

    return publish


@pytest.fixture
def plant(publish) -> Callable[[dict[str, torch.Tensor], str], Path]:
    """Put a state dict into torch's cache as the file that torchvision publishes by that name."""

    def plant(state: dict[str, torch.Tensor], file_name: str) -> Path:
        content = io.BytesIO()
        torch.save(state, content)
        return publish(content.getvalue(), file_name)

    return plant
