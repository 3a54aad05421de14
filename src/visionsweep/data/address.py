"""Join URLs, and convert file:// URLs to paths."""

from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname


def join_url(base_url: str, file_name: str) -> str:
    """Return the URL of a file in a folder."""
    return f"{base_url.rstrip('/')}/{file_name}"


def local_path(url: str) -> Path:
    """Return the path of a file:// URL."""
    return Path(url2pathname(urlsplit(url).path))
