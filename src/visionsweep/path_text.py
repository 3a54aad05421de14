r"""Write names of files that are not UTF-8 as text, and find such files again.

On Linux a file name is a string of bytes. Python keeps bytes that are not UTF-8 as lone surrogates,
which no UTF-8 file, JSON document or protobuf can hold. Here each is written as `\xNN`.
"""

import os
import re
from pathlib import Path

_ESCAPED = re.compile(r"\\x([89a-f][0-9a-f])")


def as_text(path: str | Path) -> str:
    r"""Return a path as text that is valid UTF-8: bytes that are not are written as `\xNN`."""
    return str(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def as_path(text: str) -> Path:
    """Return the path that `as_text` wrote: the one that exists, where two have the same text."""
    path = Path(text)
    if not _ESCAPED.search(text) or os.path.lexists(path):
        return path
    content = os.fsencode(text)
    return Path(os.fsdecode(re.sub(rb"\\x([89a-f][0-9a-f])", _byte, content)))


def _byte(escaped: re.Match[bytes]) -> bytes:
    return bytes.fromhex(escaped[1].decode())
