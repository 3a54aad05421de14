"""Archives from a loopback server and from file://: fetched once, whole, and safely unpacked."""

import os
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from visionsweep.data import reachability
from visionsweep.data.archive import unpack
from visionsweep.data.download import DownloadError
from visionsweep.data.reachability import DECIDE_SECONDS, UnreachableError, why_unreachable
from visionsweep.data.sources import fetch_archive
from visionsweep.errors import UserError

NAME = "photos.zip"
FILES = {"train/pizza/1.jpg": os.urandom(200_000), "test/pizza/2.jpg": b"two"}


class Server(ThreadingHTTPServer):
    """Serves a folder; counts what is asked for, and may fail the first downloads."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        self.asked: Counter[str] = Counter()
        self.break_off = 0  # how many downloads to break off in the middle
        self.delay = 0.0  # seconds before a download
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(SimpleHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked[self.path] += 1
        time.sleep(self.server.delay)
        if self.server.asked[self.path] > self.server.break_off:
            return super().do_GET()
        content = Path(self.translate_path(self.path)).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2])
        self.close_connection = True
        return None

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """The folder that holds the archive."""
    folder = tmp_path / "published archives"
    folder.mkdir()
    return zip_of(folder / NAME, FILES).parent


@pytest.fixture
def server(published: Path) -> Iterator[Server]:
    with Server(published) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()


def zip_of(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def visible(folder: Path) -> list[str]:
    return [p.name for p in folder.iterdir() if not p.name.startswith(".")]


def left_over(folder: Path) -> list[str]:
    """Files and folders that are neither the unpacked archive nor the lock."""
    return [p.name for p in folder.iterdir() if p.name not in {f".{NAME}.lock", "photos"}]


def test_archive_is_fetched_over_http_and_unpacked(server: Server, tmp_path: Path) -> None:
    folder = fetch_archive(server.url, NAME, tmp_path / "new" / "data")
    assert folder == tmp_path / "new" / "data" / "photos"
    assert contents(folder) == FILES
    assert not left_over(folder.parent)


@pytest.mark.parametrize("quoted", [True, False])
def test_archive_is_read_from_a_file_address(published: Path, tmp_path: Path, quoted: bool) -> None:
    base = published.as_uri() if quoted else f"file://{published}"
    assert ("%20" in base) is quoted
    assert contents(fetch_archive(base, NAME, tmp_path / "data")) == FILES
    assert (published / NAME).is_file()
    assert not left_over(tmp_path / "data")


def test_percent_sign_in_a_folder_name_is_literal(tmp_path: Path) -> None:
    folder = tmp_path / "a%20b"
    folder.mkdir()
    zip_of(folder / NAME, FILES)
    assert contents(fetch_archive(folder.as_uri(), NAME, tmp_path / "data")) == FILES


def test_existing_archives_are_not_fetched_again(server: Server, tmp_path: Path) -> None:
    for _ in range(3):
        fetch_archive(server.url, NAME, tmp_path / "data")
    assert server.asked == {f"/{NAME}": 1}
    nowhere = "http://127.0.0.1:9"
    assert contents(fetch_archive(nowhere, NAME, tmp_path / "data")) == FILES


def test_archive_in_the_root_is_used_and_kept(server: Server, tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    zip_of(root / NAME, {"train/steak/9.jpg": b"mine"})
    assert contents(fetch_archive(server.url, NAME, root)) == {"train/steak/9.jpg": b"mine"}
    assert not server.asked
    assert (root / NAME).is_file()


def test_two_processes_at_once_fetch_once(server: Server, tmp_path: Path) -> None:
    server.delay = 0.5
    code = (
        "import sys; from pathlib import Path; from visionsweep.data.sources import fetch_archive;"
        "print('ready', flush=True); sys.stdin.readline();"
        f"fetch_archive({server.url!r}, {NAME!r}, Path(sys.argv[1]))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "data")]
    both = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in both:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in both:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in both:
        process.communicate(timeout=60)
    assert [process.returncode for process in both] == [0, 0]
    assert server.asked == {f"/{NAME}": 1}
    assert contents(tmp_path / "data" / "photos") == FILES


def test_broken_download_restarts(server: Server, tmp_path: Path) -> None:
    server.break_off = 1
    assert contents(fetch_archive(server.url, NAME, tmp_path / "data")) == FILES
    assert server.asked == {f"/{NAME}": 2}
    assert not left_over(tmp_path / "data")


def test_repeatedly_broken_download_leaves_nothing(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)  # the pauses between attempts
    server.break_off = 100
    with pytest.raises(DownloadError) as failed:
        fetch_archive(server.url, NAME, tmp_path / "data")
    assert failed.value.where == f"{server.url}/{NAME}" and "data.root" in str(failed.value.hint)
    assert server.asked == {f"/{NAME}": 4}
    assert not (tmp_path / "data" / "photos").exists()
    assert not left_over(tmp_path / "data")
    server.break_off = 0
    assert contents(fetch_archive(server.url, NAME, tmp_path / "data")) == FILES


def test_temporary_files_of_a_killed_process_are_not_used(server: Server, tmp_path: Path) -> None:
    half = tmp_path / "data" / ".photos-abcd1234.part" / NAME
    half.parent.mkdir(parents=True)
    half.write_bytes(b"half an archive")
    others = [tmp_path / "data" / name for name in (".photos-2-abcd1234.part", ".photos-original")]
    for folder in others:
        folder.mkdir()
    assert contents(fetch_archive(server.url, NAME, tmp_path / "data")) == FILES
    assert not half.parent.exists() and all(folder.is_dir() for folder in others)


def damage(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "cut":
        content = content[: len(content) // 2]
    elif how == "checksum":
        content[50_000] ^= 1  # in the middle of stored bytes
    elif how == "stream":
        with zipfile.ZipFile(path) as archive:
            start = archive.infolist()[0].header_offset + 30 + len("train/pizza/1.jpg")
        content[start] |= 0b110  # a kind of deflate block that does not exist
    else:
        content = bytearray(b"<html>not found</html>")
    path.write_bytes(content)


@pytest.mark.parametrize("how", ["cut", "checksum", "stream", "html"])
def test_damaged_archive_is_refused_as_a_whole(published: Path, tmp_path: Path, how: str) -> None:
    damage(published / NAME, how)
    with pytest.raises(UserError) as refused:
        fetch_archive(published.as_uri(), NAME, tmp_path / "data")
    assert refused.value.where == str(published / NAME)
    assert refused.value.what.startswith("not a whole zip archive (")
    assert visible(tmp_path / "data") == []
    zip_of(published / NAME, FILES)  # mended where it is published: the next try needs no clearing
    assert contents(fetch_archive(published.as_uri(), NAME, tmp_path / "data")) == FILES


@pytest.mark.parametrize(
    "entry",
    ["../escaped.txt", "train/../../escaped.txt", "/escaped.txt", "..\\escaped.txt", "C:/e.txt"],
)
def test_entry_that_would_leave_the_folder_is_refused(tmp_path: Path, entry: str) -> None:
    archive = zip_of(tmp_path / NAME, {"train/pizza/1.jpg": b"one", entry: b"evil"})
    (tmp_path / "data").mkdir()
    with pytest.raises(UserError, match=r"would leave the folder .*Nothing was unpacked"):
        unpack(archive, tmp_path / "data" / "photos")
    assert list((tmp_path / "data").iterdir()) == []
    assert list(tmp_path.rglob("*escaped*")) == []


def test_symbolic_link_is_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("train/link")
    link.create_system = 3
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / NAME, "w") as archive:
        archive.writestr(link, "/etc")
        archive.writestr("train/link/passwd", b"evil")
    with pytest.raises(UserError, match="'train/link' is a link or a device"):
        unpack(tmp_path / NAME, tmp_path / "photos")
    assert visible(tmp_path) == [NAME]


def test_top_folder_of_the_same_name_is_entered(tmp_path: Path) -> None:
    unpack(
        zip_of(tmp_path / NAME, {f"photos/{k}": v for k, v in FILES.items()}), tmp_path / "photos"
    )
    assert contents(tmp_path / "photos") == FILES


def test_entry_for_the_folder_itself_is_accepted(tmp_path: Path) -> None:
    unpack(zip_of(tmp_path / NAME, {"./": b""} | FILES), tmp_path / "photos")
    assert contents(tmp_path / "photos") == FILES


def test_modes_of_unpacked_images_follow_the_umask(tmp_path: Path) -> None:
    (tmp_path / "ordinary").mkdir()
    unpack(zip_of(tmp_path / NAME, FILES), tmp_path / "photos")
    assert (tmp_path / "photos").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def closed_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


def test_address_that_answers_is_reachable(server: Server, published: Path) -> None:
    assert why_unreachable(f"{server.url}/{NAME}") is None
    assert why_unreachable(f"{server.url}/no-such-file.zip") is None  # the download says why
    assert why_unreachable((published / NAME).as_uri()) is None


def test_reason_is_given_if_an_address_is_unreachable(tmp_path: Path) -> None:
    refused = why_unreachable(f"http://127.0.0.1:{closed_port()}/{NAME}")
    assert refused is not None and "refused" in refused
    missing = tmp_path / "gone.zip"
    assert why_unreachable(missing.as_uri()) == f"there is no file {missing}"
    unknown = why_unreachable(f"http://no-such-host.invalid/{NAME}")
    assert unknown is not None and ("name" in unknown.lower() or "no answer" in unknown)
    assert "https://, http:// or file://" in str(why_unreachable(f"ftp://example.org/{NAME}"))


def test_silent_server_is_abandoned_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole decision is bounded, a stalled name lookup included."""
    assert DECIDE_SECONDS < 10
    monkeypatch.setattr(reachability, "DECIDE_SECONDS", 0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/{NAME}"
        assert why_unreachable(url) == "no answer within 0.3 s"


def test_unreachable_archive_is_named_with_the_reason(tmp_path: Path) -> None:
    base = f"http://127.0.0.1:{closed_port()}"
    with pytest.raises(UnreachableError, match=f"{base}/{NAME}: .*refused"):
        fetch_archive(base, NAME, tmp_path / "data")
    assert visible(tmp_path / "data") == []
