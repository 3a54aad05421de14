"""Download files over HTTP within bounds of time and size, and retry temporary errors."""

import logging
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from urllib.parse import urlsplit

import requests
import urllib3
from requests.exceptions import ChunkedEncodingError, InvalidSchema, SSLError
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
    ChunkedEncodingError,
    urllib3.exceptions.ProtocolError,
    urllib3.exceptions.TimeoutError,
)


class DownloadError(UserError):
    """A server was reached and did not deliver the file."""


@dataclass(frozen=True)
class Limits:
    """Bounds of a download, in seconds and bytes."""

    total_seconds: float = 3600.0  # all attempts and pauses included
    slow_seconds: float = 30.0  # period in which `slow_bytes` must arrive, from the request on
    slow_bytes: int = 30_000
    stated_bytes: int = 10_000_000_000  # of a file whose size the server states
    unstated_bytes: int = 1_000_000_000  # of a file whose size it does not state
    attempts: int = 4
    pause_seconds: float = 1.0  # before the second attempt; each further pause is twice as long
    longest_pause: float = 60.0  # that a server may ask for


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
            raise InvalidSchema(f"refused a redirect to {target}")
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


# A chunk and the stated size of the file; finally an error, or None at the end.
_Item = tuple[bytes, int | None] | Exception | None


def _attempt(url: str, path: Path, limits: Limits, deadline: float) -> None:
    """Write what a thread receives, while it keeps to the limits.

    The thread is never waited for, since neither a name lookup nor a server that sends its headers
    byte by byte can be interrupted.
    """
    items: queue.Queue[_Item] = queue.Queue(maxsize=16)
    stop = threading.Event()
    threading.Thread(target=_receive, args=(url, limits, items, stop), daemon=True).start()
    received, recently = 0, 0
    stated: int | None = None
    due = time.monotonic() + limits.slow_seconds
    try:
        with path.open("wb") as file, terminal.bar(unit="B", unit_scale=True) as bar:
            while True:
                try:
                    item = items.get(timeout=max(0.0, min(due, deadline) - time.monotonic()))
                except queue.Empty:
                    item = b"", stated
                if item is None:
                    return
                if isinstance(item, Exception):
                    raise item
                chunk, stated = item
                bar.total = stated
                received, recently = received + len(chunk), recently + len(chunk)
                if stated is None and received > limits.unstated_bytes:
                    size = decimal(limits.unstated_bytes)
                    raise _failed(url, f"no end after {size}, and no size was stated")
                if time.monotonic() >= deadline:
                    raise _failed(url, f"not done within {limits.total_seconds:g} s")
                if time.monotonic() >= due:
                    if recently < limits.slow_bytes:
                        period = f"{limits.slow_seconds:g} s"
                        raise _TemporaryError(f"only {recently} bytes came in {period}")
                    recently, due = 0, time.monotonic() + limits.slow_seconds
                file.write(chunk)
                bar.update(len(chunk))
    finally:
        stop.set()
        with suppress(queue.Empty):  # the thread may wait for room in the queue
            while True:
                items.get_nowait()


def _receive(url: str, limits: Limits, items: "queue.Queue[_Item]", stop: threading.Event) -> None:
    """Put the response of a server into a queue, until it ends or `stop` is set."""
    try:
        for item in chain(_response(url, limits), [None]):
            if stop.is_set():
                return
            items.put(item)
    except (_TemporaryError, DownloadError) as error:
        items.put(error)
    except Exception as error:  # a server may send anything
        temporary = isinstance(error, _TEMPORARY_ERRORS) and not isinstance(error, SSLError)
        reason = root_reason(error)
        items.put(_TemporaryError(reason) if temporary else _failed(url, reason))


def _response(url: str, limits: Limits) -> Iterator[tuple[bytes, int | None]]:
    headers = {"Accept-Encoding": "identity"}
    timeout = (CONNECT_SECONDS, limits.slow_seconds)
    with Session() as session, session.get(url, headers=headers, stream=True, timeout=timeout) as r:
        status = f"HTTP {r.status_code} {r.reason}"
        if r.status_code in _TEMPORARY_STATUS:
            pause = None
            with suppress(KeyError, urllib3.exceptions.InvalidHeader):
                pause = urllib3.Retry().parse_retry_after(r.headers["Retry-After"])
            raise _TemporaryError(status, pause)
        if r.status_code != 200:
            raise _failed(url, status)
        if r.headers.get("Content-Encoding", "identity") != "identity":
            raise _failed(url, f"sent as {r.headers['Content-Encoding']}, which was not requested")
        stated = r.raw.length_remaining
        if stated is not None and stated > limits.stated_bytes:
            raise _failed(url, f"{decimal(stated)} are more than {decimal(limits.stated_bytes)}")
        while chunk := r.raw.read1(1 << 16, decode_content=False):
            yield chunk, stated
