"""Join URLs, convert file:// URLs to paths, and check whether a URL can be reached."""

import threading
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from visionsweep.command_memory import remembered
from visionsweep.errors import UserError

DECIDE_SECONDS = 8.0  # time limit, name lookup included


class UnreachableError(UserError):
    """An address that cannot be reached, or a file:// address of a missing file."""


def join_url(base_url: str, file_name: str) -> str:
    """Return the URL of a file in a folder."""
    return f"{base_url.rstrip('/')}/{file_name}"


def local_path(url: str) -> Path:
    """Return the path of a file:// URL."""
    return Path(url2pathname(urlsplit(url).path))


@remembered()
def _refusals() -> list[str]:
    return []


def stay_offline(reason: str) -> None:
    """Let no address be reached until the command ends, a file:// address neither."""
    _refusals().append(reason)


def is_offline() -> bool:
    """Return whether `stay_offline` was called."""
    return bool(_refusals())


@remembered()
def why_unreachable(url: str) -> str | None:
    """Return why a URL cannot be reached, or None if a server answers, even with an error.

    The answer is cached until the command ends, so that all runs of a sweep see the same data.
    """
    if refusals := _refusals():
        return refusals[-1]
    if url.startswith("file:"):
        path = local_path(url)
        return None if path.is_file() else f"there is no file {path}"
    if not url.startswith(("http://", "https://")):
        return "an address should start with https://, http:// or file://"
    answers: list[str | None] = []
    # A name lookup has no timeout of its own, so it runs in a thread that is not waited for.
    thread = threading.Thread(target=lambda: answers.append(_connect(url)), daemon=True)
    thread.start()
    thread.join(DECIDE_SECONDS)
    return answers[0] if answers else f"no answer within {DECIDE_SECONDS:g} s"


def _connect(url: str) -> str | None:
    import requests
    import urllib3

    from visionsweep.data.download import CONNECT_SECONDS, Session, root_reason

    try:
        with Session() as session:
            session.head(url, allow_redirects=True, timeout=CONNECT_SECONDS)
    except (requests.ConnectionError, requests.Timeout) as error:
        # A connection that breaks was established: the download retries, and reports the failure.
        if not (error.args and isinstance(error.args[0], urllib3.exceptions.ProtocolError)):
            return f"{type(error).__name__}: {root_reason(error)}"
    except (requests.RequestException, ValueError):
        pass  # reached, but the answer is not HTTP, or a redirect that is refused
    return None
