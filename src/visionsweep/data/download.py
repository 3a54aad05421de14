"""Download files over HTTP within bounds of time and size, and retry temporary errors."""

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

CONNECT_SECONDS = 5.0  # timeout of connecting to a server
_TEMPORARY_STATUS = {408, 425, 429, 500, 502, 503, 504}
_TEMPORARY_ERRORS = (
    ConnectionError,
    TimeoutError,
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    urllib3.exceptions.ProtocolError,
    urllib3.exceptions.TimeoutError,
)
_CHUNK_BYTES = 1 << 16


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
    """A failed attempt that may succeed when repeated, after `pause` seconds if they are given."""

    def __init__(self, reason: str, pause: float | None = None) -> None:
        super().__init__(reason)
        self.pause = pause


class Session(requests.Session):
    """A session that follows ten redirects at most, to HTTP(S) only, none from HTTPS to HTTP."""

    def __init__(self) -> None:
        super().__init__()
        self.max_redirects = 10

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Return the URL that a response redirects to, or None.

        Raises:
            InvalidSchema: if it must not be followed.
        """
        target = super().get_redirect_target(resp)
        scheme = urlsplit(target or "").scheme.lower()
        if scheme and scheme != "https" and (scheme != "http" or resp.url.startswith("https:")):
            raise requests.exceptions.InvalidSchema(f"refused a redirect to {target}")
        return target


def root_reason(error: BaseException) -> str:
    """Return the message of the first error in a chain."""
    while error.__context__ is not None:
        error = error.__context__
    return str(error) or type(error).__name__


def download(url: str, path: Path, limits: Limits = LIMITS) -> None:
    """Download a file; each attempt starts from the first byte.

    Raises:
        DownloadError: if the server does not deliver the file within the limits.
        OSError: if the file cannot be written.
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


def _failed(url: str, reason: str) -> DownloadError:
    return DownloadError(
        f"the download failed: {reason}",
        where=url,
        hint="Try again later, or download the file in another way and put it into data.root, or "
        "give another address with data.base_url.",
    )


# The size that the server states, or -1; then bytes; finally an error, or None at the end.
_Item = int | bytes | Exception | None


def _attempt(url: str, path: Path, limits: Limits, deadline: float) -> None:
    """Write what a thread receives, while it keeps to the limits.

    The thread is never waited for, since neither a name lookup nor a server that sends its headers
    byte by byte can be interrupted.
    """
    items: queue.Queue[_Item] = queue.Queue(maxsize=16)
    stop = threading.Event()
    threading.Thread(target=_receive, args=(url, items, stop), daemon=True).start()
    most, received, recently = limits.unstated_bytes, 0, 0
    due = time.monotonic() + limits.slow_seconds
    try:
        with path.open("wb") as file, terminal.bar(unit="B", unit_scale=True) as bar:
            while True:
                try:
                    item = items.get(timeout=max(0.0, min(due, deadline) - time.monotonic()))
                except queue.Empty:
                    item = b""
                if item is None:
                    return
                if isinstance(item, Exception):
                    raise _explained(url, item) from item
                if isinstance(item, int):
                    if item > limits.stated_bytes:
                        size, limit = decimal(item), decimal(limits.stated_bytes)
                        raise _failed(url, f"{size} are more than {limit}")
                    if item >= 0:
                        bar.total = most = item
                    continue
                received, recently = received + len(item), recently + len(item)
                if received > most:
                    raise _failed(url, f"no end after {decimal(most)}, and no size was stated")
                if time.monotonic() >= deadline:
                    raise _failed(url, f"not done within {limits.total_seconds:g} s")
                if time.monotonic() >= due:
                    if recently < limits.slow_bytes:
                        raise _TemporaryError(
                            f"only {recently} bytes came in {limits.slow_seconds:g} s"
                        )
                    recently, due = 0, time.monotonic() + limits.slow_seconds
                file.write(item)
                bar.update(len(item))
    finally:
        stop.set()


def _explained(url: str, error: Exception) -> Exception:
    if isinstance(error, _TemporaryError | DownloadError):
        return error
    if isinstance(error, _TEMPORARY_ERRORS) and not isinstance(error, requests.exceptions.SSLError):
        return _TemporaryError(root_reason(error))
    return _failed(url, root_reason(error))


def _receive(url: str, items: "queue.Queue[_Item]", stop: threading.Event) -> None:
    """Put the response of a server into a queue, until it ends or `stop` is set."""

    def put(item: _Item) -> None:
        while not stop.is_set():
            with suppress(queue.Full):
                return items.put(item, timeout=0.5)

    try:
        for item in _response(url):
            put(item)
            if stop.is_set():
                return
        put(None)
    except Exception as error:  # a server may send anything
        put(error)


def _response(url: str) -> Iterator[int | bytes]:
    headers = {"Accept-Encoding": "identity"}
    timeout = (CONNECT_SECONDS, LIMITS.slow_seconds)
    with Session() as session, session.get(url, headers=headers, stream=True, timeout=timeout) as r:
        status = f"HTTP {r.status_code} {r.reason}"
        if r.status_code in _TEMPORARY_STATUS:
            raise _TemporaryError(status, _retry_after(r))
        if r.status_code != 200:
            raise _failed(url, status)
        if r.headers.get("Content-Encoding", "identity") != "identity":
            raise _failed(url, f"sent as {r.headers['Content-Encoding']}, which was not requested")
        yield -1 if r.raw.length_remaining is None else r.raw.length_remaining
        while chunk := r.raw.read1(_CHUNK_BYTES, decode_content=False):
            yield chunk


def _retry_after(response: requests.Response) -> float | None:
    value = response.headers.get("Retry-After")
    with suppress(urllib3.exceptions.InvalidHeader):
        return None if value is None else urllib3.Retry().parse_retry_after(value)
    return None
