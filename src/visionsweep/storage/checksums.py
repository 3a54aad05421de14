"""Checksums of archives: of the file itself, or of its content, written `KIND:HEX`.

- `sha256`: SHA-256 of the archive file.
- `git`: Git's blob id of the archive file (SHA-1 of `blob`, size, and bytes), which a repository's
  listing shows.
- `files`: SHA-256 of the output of `sha256sum` for the files inside, sorted by name, which does not
  depend on how they are packed.
"""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from visionsweep.errors import UserError

_KINDS = ("sha256", "git", "files")  # fastest first
_CHECKSUM = re.compile("(sha256|files):[0-9a-f]{64}|git:[0-9a-f]{40}")
_JUNK = ("__MACOSX", ".DS_Store", "Thumbs.db")  # added by the program that packed the files


def is_junk(name: str) -> bool:
    """Return whether a file or folder in an archive was added by the packing program."""
    return name in _JUNK or name.startswith("._")


def is_checksum(text: str) -> bool:
    """Return whether a text is a checksum, `KIND:HEX`."""
    return _CHECKSUM.fullmatch(text) is not None


def file_checksum(path: Path, kind: str) -> str:
    """Return the checksum of a file; `kind` is `sha256` or `git`."""
    digest = hashlib.sha256()
    if kind == "git":
        digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        hashlib.file_digest(file, lambda: digest)
    return f"{kind}:{digest.hexdigest()}"


def files_checksum(folder: Path) -> str:
    """Return the checksum of all files below a folder.

    It equals `find * -type f | LC_ALL=C sort | xargs sha256sum | sha256sum` in that folder.
    """
    whole = hashlib.sha256()
    paths = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    for name, path in sorted(paths.items(), key=lambda pair: pair[0].as_posix().encode()):
        if any(is_junk(part) for part in name.parts):
            continue
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        whole.update(f"{digest}  {name.as_posix()}\n".encode())
    return f"files:{whole.hexdigest()}"


def verify(archive: Path, unpacked: Path, expected: Sequence[str]) -> None:
    """Refuse an archive that has none of the expected checksums; without any, accept it.

    Raises:
        UserError: names the expected checksums and the actual ones.
    """
    actual: list[str] = []
    for kind in _KINDS:
        if any(checksum.startswith(f"{kind}:") for checksum in expected):
            actual.append(
                files_checksum(unpacked) if kind == "files" else file_checksum(archive, kind)
            )
            if actual[-1] in expected:
                return
    if actual:
        raise UserError(
            f"this is not the published archive: its checksum is {' or '.join(actual)}, expected "
            f"{' or '.join(expected)}",
            where=archive,
            hint="Nothing was unpacked. Delete it and download it again; if it is your own, or a "
            "newer one that you trust, give data.checksums=null.",
        )
