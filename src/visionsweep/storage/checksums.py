"""Checksums of archives: of the file itself, or of what it holds.

A checksum is written `KIND:HEX`. An archive passes if one of those known for it is its own.

- `sha256`: SHA-256 of the archive file.
- `git`: the name that Git gives to the archive file, so that a repository's listing is enough to
  know it: SHA-1 of `blob`, the size and the bytes.
- `files`: SHA-256 of what `sha256sum` prints for the files inside, sorted by name. It is the same
  however they are packed.
"""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from visionsweep.errors import UserError

KINDS = ("sha256", "git", "files")
LENGTHS = {"sha256": 64, "git": 40, "files": 64}  # hexadecimal digits

_JUNK = ("__MACOSX", ".DS_Store", "Thumbs.db")  # added by the program that packed the files


def is_junk(name: str) -> bool:
    """Say whether a file or folder in an archive comes from the program that packed it."""
    return name in _JUNK or name.startswith("._")


def is_checksum(text: str) -> bool:
    """Say whether a text is a checksum as described above."""
    kind, _, digits = text.partition(":")
    return len(digits) == LENGTHS.get(kind, -1) and set(digits) <= set("0123456789abcdef")


def file_checksum(path: Path, kind: str) -> str:
    """Return the checksum of an archive file.

    Args:
        path: the file.
        kind: `sha256` or `git`.
    """
    digest = hashlib.sha1(usedforsecurity=False) if kind == "git" else hashlib.sha256()
    with path.open("rb") as file:
        if kind == "git":
            digest.update(b"blob %d\0" % path.stat().st_size)
        while block := file.read(1 << 20):
            digest.update(block)
    return f"{kind}:{digest.hexdigest()}"


def files_checksum(folder: Path) -> str:
    """Return the checksum of all files below a folder.

    The same as `find * -type f | LC_ALL=C sort | xargs sha256sum | sha256sum` in that folder.
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
    """Check that an archive is one of those that are known.

    Args:
        archive: the archive file.
        unpacked: the folder that holds its files.
        expected: checksums, one of which it should have; none of them means that it is not checked.

    Raises:
        UserError: if it has none of them; names them and its own.
    """
    own: list[str] = []
    for kind in _kinds(expected):
        checksum = files_checksum(unpacked) if kind == "files" else file_checksum(archive, kind)
        if checksum in expected:
            return
        own.append(checksum)
    if own:
        raise UserError(
            f"this is not the archive that was published: its checksum is {' or '.join(own)} "
            f"where {' or '.join(expected)} is expected",
            where=archive,
            hint="Nothing was unpacked. Delete it and get it again; if it is your own, or a newer "
            "one that you trust, say so with data.checksums=null.",
        )


def _kinds(expected: Iterable[str]) -> list[str]:
    """List the kinds that occur, quickest first."""
    occurring = {checksum.partition(":")[0] for checksum in expected}
    return [kind for kind in KINDS if kind in occurring]
