"""Downloads files over HTTP within bounds of time and bytes, and retries temporary errors."""

import logging
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import requests
import urllib3
from rich.filesize import decimal

from visionsweep.errors import UserError
from visionsweep.runtime import terminal

log = logging.getLogger(__name__)

CONNECT_SECONDS = 5.0  # to reach a server
_TEMPORARY = {408, 425, 429, 500, 502, 503, 504}
_PASSING = (
    ConnectionError,
    TimeoutError,
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    urllib3.exceptions.ProtocolError,
    urllib3.exceptions.TimeoutError,
)
_PIECE = 1 << 16  # bytes
_BY_HAND = (
    "Try again later, or get the file by other means and put it into data.root, or name another "
    "place with data.base_url."
)


class DownloadError(UserError):
    """A server was reached and did not deliver the file."""


@dataclass(frozen=True)
class Limits:
    """Bounds of a download.

    Attributes:
        total_seconds: longest time, all attempts and pauses included.
        slow_seconds: period in which at least `slow_bytes` must arrive, from the request on.
        slow_bytes: fewest bytes per `slow_seconds`.
        stated_bytes: largest file whose size the server states.
        unstated_bytes: largest file whose size the server does not state.
        attempts: number of attempts.
        pause_seconds: pause before the second attempt; each further one is twice as long.
        longest_pause: longest pause in seconds that a server may ask for.
    """

    total_seconds: float = 3600.0
    slow_seconds: float = 30.0
    slow_bytes: int = 30_000
    stated_bytes: int = 10_000_000_000
    unstated_bytes: int = 1_000_000_000
    attempts: int = 4
    pause_seconds: float = 1.0
    longest_pause: float = 60.0


LIMITS = Limits()


class _TemporaryError(Exception):
    """An attempt failed that may succeed when repeated."""

    def __init__(self, reason: str, pause: float | None = None) -> None:
        super().__init__(reason)
        self.pause = pause  # seconds that the server asks for


class Session(requests.Session):
    """A session that follows ten redirects at most, to HTTP alone, and none from HTTPS to HTTP."""

    def __init__(self) -> None:
        super().__init__()
        self.max_redirects = 10

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Return where a response redirects to, or None.

        Raises:
            InvalidSchema: if it may not be followed.
        """
        target = super().get_redirect_target(resp)
        scheme = urlsplit(target or "").scheme.lower()
        if scheme and scheme != "https" and (scheme != "http" or resp.url.startswith("https:")):
            raise requests.exceptions.InvalidSchema(f"refused a redirect to {target}")
        return target


def root_reason(error: BaseException) -> str:
    """Return what the first error in a chain says."""
    while error.__context__ is not None:
        error = error.__context__
    return str(error) or type(error).__name__


def download(url: str, path: Path, limits: Limits = LIMITS) -> None:
    """Download a file; each attempt starts again from its first byte.

    Args:
        url: an https:// or http:// address.
        path: the file to write.
        limits: bounds of time and bytes.

    Raises:
        DownloadError: if the server does not deliver it within the limits.
        OSError: if it cannot be written.
    """
    log.info("Downloading %s", url)
    deadline, pause = time.monotonic() + limits.total_seconds, limits.pause_seconds
    for attempt in range(1, limits.attempts + 1):
        try:
            return _attempt(url, path, limits, deadline)
        except _TemporaryError as error:
            wait = pause if error.pause is None else error.pause
            if wait > limits.longest_pause:
                raise _failed(url, f"{error}; the server asks to wait {wait:.0f} s") from error
            if attempt == limits.attempts or time.monotonic() + wait > deadline:
                raise _failed(url, f"{error} (attempt {attempt})") from error
            log.warning(
                "%s: %s; attempt %d of %d follows in %.3g s",
                url, error, attempt + 1, limits.attempts, wait,
            )  # fmt: skip
            time.sleep(wait)
            pause *= 2
    raise _failed(url, "no attempt was made")


def _failed(url: str, reason: str) -> DownloadError:
    return DownloadError(f"the download failed: {reason}", where=url, hint=_BY_HAND)


def _attempt(url: str, path: Path, limits: Limits, deadline: float) -> None:
    stop = threading.Event()
    # Whatever the server does, nobody waits longer than the limits for this thread.
    pieces: queue.Queue[_Piece] = queue.Queue(maxsize=16)
    threading.Thread(target=_receive, args=(url, pieces, stop), daemon=True).start()
    try:
        with path.open("wb") as file, terminal.bar(unit="B", unit_scale=True) as bar:
            for piece in _bounded(url, pieces, limits, deadline):
                if isinstance(piece, int):
                    bar.total = piece
                else:
                    file.write(piece)
                    bar.update(len(piece))
    finally:
        stop.set()


# The size that the server states, or -1; then bytes; an error, or None at the end.
_Piece = int | bytes | Exception | None


def _bounded(
    url: str, pieces: "queue.Queue[_Piece]", limits: Limits, deadline: float
) -> Iterator[int | bytes]:
    """Yield the stated size if there is one, then the bytes, while they keep to the limits."""
    most, received = limits.unstated_bytes, 0
    window, due = 0, time.monotonic() + limits.slow_seconds
    while True:
        try:
            piece = pieces.get(timeout=max(0.0, min(due, deadline) - time.monotonic()))
        except queue.Empty:
            if time.monotonic() >= deadline:
                raise _failed(url, f"not done within {limits.total_seconds:g} s") from None
            piece = b""
        if piece is None:
            return
        if isinstance(piece, Exception):
            raise piece
        if isinstance(piece, int):
            if piece > limits.stated_bytes:
                raise _failed(url, f"{decimal(piece)} are more than {decimal(limits.stated_bytes)}")
            if piece >= 0:
                most = piece
                yield piece
            continue
        received, window = received + len(piece), window + len(piece)
        if received > most:
            raise _failed(url, f"no end after {decimal(most)}, and no size was stated")
        if time.monotonic() >= due:
            if window < limits.slow_bytes:
                raise _TemporaryError(f"only {window} bytes came in {limits.slow_seconds:g} s")
            window, due = 0, time.monotonic() + limits.slow_seconds
        yield piece


def _receive(url: str, pieces: "queue.Queue[_Piece]", stop: threading.Event) -> None:
    """Put what a server sends into a queue, until it ends or nobody wants it any more."""

    def put(piece: _Piece) -> None:
        while not stop.is_set():
            with suppress(queue.Full):
                return pieces.put(piece, timeout=0.5)

    try:
        for piece in _response(url):
            put(piece)
            if stop.is_set():
                return
        put(None)
    except (_TemporaryError, DownloadError) as error:
        put(error)
    except requests.exceptions.SSLError as error:
        put(_failed(url, root_reason(error)))
    except _PASSING as error:
        put(_TemporaryError(root_reason(error)))
    except Exception as error:  # a server may send anything
        put(_failed(url, root_reason(error)))


def _response(url: str) -> Iterator[int | bytes]:
    headers = {"Accept-Encoding": "identity"}
    timeout = (CONNECT_SECONDS, LIMITS.slow_seconds)
    with Session() as session, session.get(url, headers=headers, stream=True, timeout=timeout) as r:
        status = f"HTTP {r.status_code} {r.reason}"
        if r.status_code in _TEMPORARY:
            raise _TemporaryError(status, _retry_after(r))
        if r.status_code != 200:
            raise _failed(url, status)
        if r.headers.get("Content-Encoding", "identity") != "identity":
            raise _failed(url, f"sent as {r.headers['Content-Encoding']}, which was not asked for")
        yield -1 if r.raw.length_remaining is None else r.raw.length_remaining
        while piece := r.raw.read1(_PIECE, decode_content=False):
            yield piece


def _retry_after(response: requests.Response) -> float | None:
    asked = response.headers.get("Retry-After")
    try:
        return None if asked is None else urllib3.Retry().parse_retry_after(asked)
    except urllib3.exceptions.InvalidHeader:
        return None
