"""Check whether a URL can be reached, within a time limit."""

import threading
from functools import cache

from visionsweep.data.address import local_path
from visionsweep.errors import UserError

DECIDE_SECONDS = 8.0  # to decide whether an address can be reached, name lookup included


class UnreachableError(UserError):
    """An address that cannot be reached, or a file:// address that has nothing there."""


@cache
def why_unreachable(url: str) -> str | None:
    """Return why an address cannot be reached, or None if a server answers, if only by an error.

    Decides within `DECIDE_SECONDS`; the answer holds for the life of the process, so that all runs
    of a sweep see the same data.

    Args:
        url: an https://, http:// or file:// address.
    """
    if url.startswith("file:"):
        path = local_path(url)
        return None if path.is_file() else f"there is no file {path}"
    if not url.startswith(("http://", "https://")):
        return "an address should start with https://, http:// or file://"
    answer: list[str | None] = []
    # A name lookup has no timeout of its own; a thread that is not waited for gives it one.
    asking = threading.Thread(target=lambda: answer.append(_ask(url)), daemon=True)
    asking.start()
    asking.join(DECIDE_SECONDS)
    return answer[0] if answer else f"no answer within {DECIDE_SECONDS:g} s"


def _ask(url: str) -> str | None:
    import requests
    import urllib3

    from visionsweep.data.download import CONNECT_SECONDS, Session, root_reason

    try:
        with Session() as session:
            timeout = (CONNECT_SECONDS, CONNECT_SECONDS)
            session.head(url, allow_redirects=True, timeout=timeout)
    except (requests.ConnectionError, requests.Timeout) as error:
        # A connection that breaks off was made: the download retries, and says what failed.
        if error.args and isinstance(error.args[0], urllib3.exceptions.ProtocolError):
            return None
        return f"{type(error).__name__}: {root_reason(error)}"
    except (requests.RequestException, ValueError):
        return None  # reached, but the answer is no HTTP, or a redirect that is refused
    return None
