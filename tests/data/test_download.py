"""Servers that fail, drip, lie, redirect or never end: a download ends, and says what it met."""

import os
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from visionsweep.data.download import DownloadError, Limits, download
from visionsweep.data.reachability import why_unreachable

CONTENT = os.urandom(100_000)
QUICK = Limits(total_seconds=10, slow_seconds=0.4, slow_bytes=1000, pause_seconds=0.01)


class Server(ThreadingHTTPServer):
    """Answers a path by the function of that name below."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: Counter[str] = Counter()
        self.closing = threading.Event()
        self.scheme = "http"
        self.elsewhere = ""  # where to redirect to

    def url(self, how: str) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_port}/{how}"

    def handle_error(self, *_: object) -> None:
        """Clients that go away are what is tested."""


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        how = self.path.strip("/")
        self.server.asked[how] += 1
        self.close_connection = True
        getattr(self, f"answer_{how}")(self.server.asked[how])

    def answer(self, status: int, content: bytes = b"", **headers: object) -> None:
        self.send_response(status)
        self.send_header("Connection", "close")
        for name, value in ({"Content_Length": len(content)} | headers).items():
            if value is not None:
                self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def answer_whole(self, _: int) -> None:
        self.answer(200, CONTENT)

    def answer_busy_twice(self, attempt: int) -> None:
        self.answer(*((503,) if attempt == 1 else (429,) if attempt == 2 else (200, CONTENT)))

    def answer_busy(self, _: int) -> None:
        self.answer(503)

    def answer_wait_a_little(self, attempt: int) -> None:
        if attempt == 1:
            self.answer(429, Retry_After=1)
        else:
            self.answer(200, CONTENT)

    def answer_wait_an_hour(self, _: int) -> None:
        self.answer(429, Retry_After=3600)

    def answer_gone(self, _: int) -> None:
        self.answer(410)

    def answer_reset(self, attempt: int) -> None:
        """Break off in the middle, the first two times."""
        self.answer(200, CONTENT[: 50_000 if attempt < 3 else None], Content_Length=len(CONTENT))

    def answer_too_long(self, _: int) -> None:
        self.answer(200, CONTENT, Content_Length=len(CONTENT) // 2)

    def answer_huge(self, _: int) -> None:
        self.answer(200, b"x", Content_Length=10**15)

    def answer_packed(self, _: int) -> None:
        self.answer(200, CONTENT, Content_Encoding="gzip")

    def answer_drip(self, _: int) -> None:
        self.answer(200, b"", Content_Length=len(CONTENT))
        while not self.server.closing.wait(0.02):
            self.wfile.write(b"x")

    def answer_drip_headers(self, _: int) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while not self.server.closing.wait(0.02):
            self.wfile.write(b"x")

    def answer_silent(self, _: int) -> None:
        self.server.closing.wait()

    def answer_endless(self, _: int) -> None:
        self.answer(200, b"", Content_Length=None)
        while not self.server.closing.is_set():
            self.wfile.write(CONTENT)

    def answer_endless_chunks(self, _: int) -> None:
        self.answer(200, b"", Content_Length=None, Transfer_Encoding="chunked")
        while not self.server.closing.is_set():
            self.wfile.write(b"%x\r\n%s\r\n" % (len(CONTENT), CONTENT))

    def answer_loop(self, _: int) -> None:
        self.answer(302, Location="/loop")

    def answer_elsewhere(self, _: int) -> None:
        self.answer(302, Location=self.server.elsewhere)

    def answer_nonsense(self, _: int) -> None:
        self.wfile.write(b"220 mail.example.org ESMTP\r\n")

    def answer_headers(self, _: int) -> None:
        """Send more headers than anybody needs."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % i for i in range(999)))

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def start() -> Iterator[Callable[[], Server]]:
    servers: list[Server] = []

    def make() -> Server:
        servers.append(Server())
        threading.Thread(target=servers[-1].serve_forever, args=(0.01,), daemon=True).start()
        return servers[-1]

    yield make
    for each in servers:
        each.closing.set()
        each.shutdown()
        each.server_close()


@pytest.fixture
def server(start: Callable[[], Server]) -> Server:
    return start()


def refused(server: Server, how: str, folder: Path, limits: Limits = QUICK) -> DownloadError:
    begin = time.monotonic()
    with pytest.raises(DownloadError) as error:
        download(server.url(how), folder / "file", limits)
    assert time.monotonic() - begin < 8
    assert error.value.where == server.url(how)
    assert "data.root" in str(error.value.hint)
    return error.value


@pytest.mark.parametrize(
    ("how", "attempts"),
    [("whole", 1), ("busy_twice", 3), ("reset", 3), ("wait_a_little", 2)],
)
def test_temporary_error_is_retried(
    server: Server, tmp_path: Path, how: str, attempts: int
) -> None:
    download(server.url(how), tmp_path / "file", QUICK)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.asked == {how: attempts}


def test_pause_requested_by_a_server_is_respected(server: Server, tmp_path: Path) -> None:
    begin = time.monotonic()
    download(server.url("wait_a_little"), tmp_path / "file", QUICK)
    assert 1 <= time.monotonic() - begin < 5


@pytest.mark.parametrize(
    ("how", "said", "attempts"),
    [
        ("busy", "HTTP 503", 4),
        ("silent", "only 0 bytes came in 0.4 s", 4),
        ("drip", "bytes came in 0.4 s", 4),
        ("drip_headers", "only 0 bytes came in 0.4 s", 4),
        ("wait_an_hour", "asks to wait 3600 s", 1),
        ("gone", "HTTP 410", 1),
        ("huge", "more than 10.0 GB", 1),
        ("packed", "sent as gzip", 1),
        ("loop", "redirects", 11),
    ],
)
def test_failure_of_a_server_is_an_error_after_the_right_number_of_attempts(
    server: Server, tmp_path: Path, how: str, said: str, attempts: int
) -> None:
    assert said in refused(server, how, tmp_path).what
    assert server.asked == {how: attempts}


@pytest.mark.parametrize("how", ["nonsense", "headers"])
def test_answer_that_is_not_http_is_an_error(server: Server, tmp_path: Path, how: str) -> None:
    assert refused(server, how, tmp_path).what


@pytest.mark.parametrize("how", ["endless", "endless_chunks"])
def test_endless_file_is_abandoned(server: Server, tmp_path: Path, how: str) -> None:
    error = refused(server, how, tmp_path, replace(QUICK, unstated_bytes=1_000_000))
    assert "no end after 1.0 MB" in error.what
    assert (tmp_path / "file").stat().st_size <= 1_000_000
    assert server.asked == {how: 1}


def test_server_just_above_the_slowest_rate_is_abandoned_in_time(
    server: Server, tmp_path: Path
) -> None:
    limits = replace(QUICK, slow_bytes=1, total_seconds=1)
    assert "not done within 1 s" in refused(server, "drip", tmp_path, limits).what


def test_bytes_beyond_the_stated_size_are_not_read(server: Server, tmp_path: Path) -> None:
    download(server.url("too_long"), tmp_path / "file", QUICK)
    assert (tmp_path / "file").stat().st_size == len(CONTENT) // 2


@pytest.mark.parametrize("scheme", ["file", "ftp"])
def test_redirect_out_of_http_is_refused(server: Server, tmp_path: Path, scheme: str) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"mine")
    server.elsewhere = f"{scheme}://{secret}"
    assert f"refused a redirect to {scheme}:" in refused(server, "elsewhere", tmp_path).what
    assert not (tmp_path / "file").read_bytes()


def test_redirect_within_http_is_followed(
    start: Callable[[], Server], server: Server, tmp_path: Path
) -> None:
    server.elsewhere = start().url("whole")
    download(server.url("elsewhere"), tmp_path / "file", QUICK)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_redirect_from_https_to_http_is_refused(
    start: Callable[[], Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", key, "-out", certificate],
        capture_output=True,
    )  # fmt: skip
    assert made.returncode == 0
    secure, plain = start(), start()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    secure.socket = context.wrap_socket(secure.socket, server_side=True)
    secure.scheme, secure.elsewhere = "https", plain.url("whole")
    assert "certificate" in refused(secure, "whole", tmp_path).what  # nobody vouches for it yet
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    download(secure.url("whole"), tmp_path / "file", QUICK)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert "refused a redirect to http:" in refused(secure, "elsewhere", tmp_path).what
    assert not plain.asked


@pytest.mark.parametrize("how", ["busy", "gone", "nonsense", "loop", "elsewhere"])
def test_server_that_answers_with_any_status_is_reachable(server: Server, how: str) -> None:
    server.elsewhere = "file:///etc/passwd"
    assert why_unreachable(server.url(how)) is None


def test_finished_command_does_not_wait_for_a_slow_server(server: Server) -> None:
    code = (
        "import sys; from pathlib import Path;"
        "from visionsweep.data.download import Limits, download;"
        "from visionsweep.errors import UserError\n"
        "try: download(sys.argv[1], Path('/dev/null'), Limits(slow_seconds=0.2, attempts=1))\n"
        "except UserError as error: print(error.what)"
    )
    command = [sys.executable, "-c", code, server.url("drip_headers")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert "only 0 bytes" in done.stdout and done.returncode == 0, done.stderr
