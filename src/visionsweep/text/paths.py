r"""Write names of files that are not UTF-8 as text, and find such files again.

On Linux a file name is a string of bytes. Python keeps bytes that are not UTF-8 as lone surrogates,
which no UTF-8 file, JSON document or protobuf can hold. Here each is written as an escape, `\udce9`
for the byte 0xE9, as `visionsweep.text.escaping.visible` does.
"""

import os
import re
from pathlib import Path

_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPED = re.compile(r"\\u(dc[89a-f][0-9a-f])")


def as_text(path: str | Path) -> str:
    r"""Return a path as text that UTF-8 can hold: other bytes are escaped, `\udce9`."""
    return _SURROGATE.sub(lambda lone: f"\\u{ord(lone[0]):04x}", str(path))


def as_path(text: str) -> Path:
    """Return the path that `as_text` wrote: the one that exists, where two have the same text."""
    path = Path(text)
    if not _ESCAPED.search(text) or os.path.lexists(path):
        return path
    return Path(_ESCAPED.sub(lambda escape: chr(int(escape[1], 16)), text))
