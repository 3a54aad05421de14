"""Mutated zip archives: unpacked whole within their folder, or an error that leaves nothing."""

import io
import os
import random
import zipfile
from functools import cache
from pathlib import Path

from mutations import mutated

from visionsweep.data.archive import FREE_BYTES, RATIO, unpack
from visionsweep.errors import UserError

_NAMES = (
    "train/pizza/1.jpg", "train/steak/2.jpg", "test/pizza/3.jpg", "photos/train/a/1.jpg", "../x",
    "/x", "C:/x", "a\\b", "train/", "./", "train/../x", "a" * 300, "caf\u00e9.jpg", "CON",
    "train/Pizza/1.jpg", "__MACOSX/x", "a\nb", "\u202egpj.exe", "train", "x/" * 50 + "y", "a:b",
)  # fmt: skip
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


@cache
def seeds() -> list[bytes]:
    """Write archives of each compression, with and without comments and 64-bit sizes."""
    written = []
    for number in range(24):
        chance = random.Random(f"seed {number}")
        usual = number < 16
        method = _METHODS[number % (2 if usual else 4)]
        names = list(_NAMES[:4]) if usual else chance.sample(_NAMES, 6)
        written.append(_archive(names, method, chance, links=not usual))
    return written


def _archive(names: list[str], method: int, chance: random.Random, *, links: bool) -> bytes:
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w", method) as archive:
        archive.comment = b"a comment" * chance.choice((0, 1, 1000))
        for name in names:
            entry = zipfile.ZipInfo(name)
            entry.compress_type = method
            if links and chance.random() < 0.2:
                entry.external_attr = chance.choice((0o120777, 0o020666, 0o010666)) << 16
            content = chance.choice((chance.randbytes(900), bytes(5_000_000), b"x", b""))
            with archive.open(entry, "w", force_zip64=chance.random() < 0.2) as file:
                file.write(content)
    return stored.getvalue()


def make(number: int) -> bytes:
    """Return mutated archive number so-and-so; changes of the table of contents are frequent."""
    chance = random.Random(f"archive {number}")
    content = chance.choice(seeds())
    start = content.rfind(b"PK\1\2", 0, chance.randrange(1, len(content) + 1))
    if start >= 0 and chance.random() < 0.5:
        return content[:start] + mutated(content[start:], seeds(), chance)
    return mutated(content, seeds(), chance)


def target(content: bytes, folder: Path) -> str:
    """Unpack an archive; return what came of it.

    Raises:
        AssertionError: if something lies where it should not, or is too much.
    """
    archive, data = folder / "photos.zip", folder / "data"
    archive.write_bytes(content)
    data.mkdir(exist_ok=True)
    try:
        unpack(archive, data / "photos")
    except UserError as error:
        assert str(error)
        assert _names(folder) == ["data", "photos.zip"] and _names(data) == []
        return "refused"
    assert _names(folder) == ["data", "photos.zip"] and _names(data) == ["photos"]
    total = 0
    for parent, folders, names in os.walk(data, topdown=False):
        for name in names:
            path = Path(parent, name)
            assert path.is_file() and not path.is_symlink(), f"no plain file: {path}"
            total += path.stat().st_size
            path.unlink()
        for name in folders:
            Path(parent, name).rmdir()
    assert total <= max(FREE_BYTES, RATIO * len(content))
    return "unpacked"


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
