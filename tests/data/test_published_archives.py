"""Published archives as a data set: from servers that fail, and with contents that are wrong."""

import hashlib
import io
import subprocess
import sys
import threading
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from visionsweep.config.schema import DataConfig
from visionsweep.data.download import DownloadError
from visionsweep.data.split_loading import load_splits
from visionsweep.errors import UserError

SMALL, LARGE = "photos.zip", "photos_20_percent.zip"


def png(number: int) -> bytes:
    stored = io.BytesIO()
    noise = np.random.default_rng(number).integers(0, 256, (4, 4, 3), np.uint8)
    Image.fromarray(noise).save(stored, "PNG")
    return stored.getvalue()


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """Two archives that overlap like the published ones."""
    folder = tmp_path / "published"
    folder.mkdir()
    for name, count in ((SMALL, 4), (LARGE, 8)):
        with zipfile.ZipFile(folder / name, "w") as archive:
            for offset, place in enumerate(("train/a", "train/b", "test/a", "test/b")):
                for number in range(count):
                    archive.writestr(f"{place}/{number}.png", png(100 * offset + number))
    return folder


def archives_config(published: Path, fraction: float, **settings: object) -> DataConfig:
    return DataConfig(
        label="photos",
        source="archives",
        name="photos",
        root=str(published.parent / "data"),
        base_url=published.as_uri(),
        archives={LARGE: 0.2, SMALL: 0.1},
        fraction=fraction,
        **settings,  # type: ignore[arg-type]
    )


@contextmanager
def failing_server(status: int) -> Iterator[tuple[str, Counter[str]]]:
    """Answer every request with a status; give the address and what was asked for."""
    asked: Counter[str] = Counter()

    class Failing(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_error(status)

        def do_GET(self) -> None:
            asked[self.path] += 1
            self.send_error(status)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Failing) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def visible(folder: str | Path) -> list[str]:
    return [path.name for path in Path(folder).iterdir() if not path.name.startswith(".")]


@pytest.mark.parametrize("status", [404, 429, 503])
def test_server_error_does_not_select_the_sample(
    published: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)  # the pauses between attempts
    config = archives_config(published, 0.1)
    with failing_server(status) as (config.base_url, asked), pytest.raises(DownloadError) as failed:
        load_splits(config)
    assert failed.value.where == f"{config.base_url}/{SMALL}"
    assert f"HTTP {status}" in failed.value.what
    assert asked == {f"/{SMALL}": 1 if status == 404 else 4}
    assert visible(config.root) == []


def test_two_processes_at_once_both_fail_if_the_server_fails(
    published: Path, tmp_path: Path
) -> None:
    code = (
        "import sys, time; from pathlib import Path; sleep = time.sleep;"
        "time.sleep = lambda seconds: sleep(min(seconds, 0.05));"  # the pauses between attempts
        "from visionsweep.data import sources;"
        "from visionsweep.data.download import DownloadError\n"
        "try: sources.fetch_archive(sys.argv[1], 'photos.zip', Path(sys.argv[2]))\n"
        "except DownloadError as error: print(error.what)"
    )
    with failing_server(500) as (url, asked):
        command = [sys.executable, "-c", code, url, str(tmp_path / "data")]
        both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        outputs = [process.communicate(timeout=120)[0] for process in both]
    assert all("HTTP 500" in each for each in outputs)
    assert asked == {"/photos.zip": 8}
    assert visible(tmp_path / "data") == []
    assert not list((tmp_path / "data").glob("*.part"))


@pytest.mark.parametrize(
    "folders",
    [
        {"train/pizza": [1], "train/steak": [2]},
        {"test/pizza": [1], "test/steak": [2]},
        {"pizza": [1], "steak": [2]},
        {"train/pizza": [1], "test/pizza": [2]},
        {"train/pizza": [1], "train/steak": [], "test/pizza": [2], "test/steak": [3]},
    ],
)
def test_archive_that_holds_something_else_leaves_nothing(
    published: Path, folders: Mapping[str, list[int]]
) -> None:
    right = (published / SMALL).read_bytes()
    with zipfile.ZipFile(published / SMALL, "w") as archive:
        archive.writestr("licence.txt", "free")
        for folder, scenes in folders.items():
            archive.writestr(f"{folder}/", b"")
            for number in scenes:
                archive.writestr(f"{folder}/{number}.jpg", b"an image")
    config = archives_config(published, 0.1)
    with pytest.raises(UserError) as refused:
        load_splits(config)
    assert refused.value.where == str(published / SMALL)
    assert ".part" not in str(refused.value)
    assert [p.name for p in Path(config.root).iterdir() if p.name[0] != "."] == []
    (published / SMALL).write_bytes(right)
    assert load_splits(config).dataset == "photos"


def test_archive_with_another_checksum_is_refused_with_both_checksums(published: Path) -> None:
    config = archives_config(published, 0.1, checksums={SMALL: [f"sha256:{64 * '0'}"]})
    with pytest.raises(UserError) as refused:
        load_splits(config)
    own = hashlib.sha256((published / SMALL).read_bytes()).hexdigest()
    assert refused.value.where == str(published / SMALL)
    assert 64 * "0" in refused.value.what and own in refused.value.what
    config.checksums = {SMALL: [f"sha256:{64 * '0'}", f"sha256:{own}"]}
    assert load_splits(config).dataset == "photos"
