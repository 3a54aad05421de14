"""Joins URLs, and turns file:// URLs into paths."""

from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname


def join_url(base_url: str, file_name: str) -> str:
    """Return the address of a file in a folder's address."""
    return f"{base_url.rstrip('/')}/{file_name}"


def local_path(url: str) -> Path:
    """Return the path that a file:// address names."""
    return Path(url2pathname(urlsplit(url).path))
