r"""Convert file names that are not UTF-8 to text and back.

On Linux, a file name is a string of bytes. Python represents bytes that are not UTF-8 as lone
surrogates, which UTF-8 files, JSON, and protobuf cannot hold. Here they are written as escapes,
`\udce9` for the byte 0xE9, as in `visionsweep.text.escaping.visible`.
"""

import os
import re
from pathlib import Path

_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPED = re.compile(r"\\u(dc[89a-f][0-9a-f])")


def as_text(path: str | Path) -> str:
    r"""Return a path as text, with bytes that are not UTF-8 as escapes, `\udce9`."""
    return _SURROGATE.sub(lambda lone: f"\\u{ord(lone[0]):04x}", str(path))


def as_path(text: str) -> Path:
    """Return the path that `as_text` wrote; if two have the same text, the existing one."""
    path = Path(text)
    if not _ESCAPED.search(text) or os.path.lexists(path):
        return path
    return Path(_ESCAPED.sub(lambda escape: chr(int(escape[1], 16)), text))
