"""Labeled image files and their content digests."""

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

from visionsweep.data.decoding import read_file
from visionsweep.data.formats import UnreadableImageError
from visionsweep.errors import UserError


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A labeled image file."""

    path: Path
    label: int  # index of the class
    digest: str  # of the content, as `digest_of` returns it
    group: str = ""  # what it shares with other images, such as the patient; empty without groups
    phash: int | None = field(default=None, compare=False)  # perceptual hash; None if unknown


def lost(path: Path, reason: str) -> UserError:
    """Return the error of an image that disappeared during a run; `reason` starts with its path."""
    folders = [folder for folder in path.absolute().parents if not os.path.exists(folder)]  # noqa: PTH110 - Path.exists raises without permission
    missing = f", and the folder {folders[-1]} is missing" if folders else ""
    return UserError(
        f"{reason}{missing}. It existed when this run started; restore it, then give the same "
        "command again."
    )


def digest_of(content: bytes | memoryview) -> str:
    """Return the content digest of a file: BLAKE2b, 32 hexadecimal digits."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def read_content(file: ImageFile) -> bytes:
    """Return the content of an image file after checking its digest.

    Raises:
        UserError: if the file is gone or has changed since the run started.
    """
    try:
        content = read_file(file.path)
    except UnreadableImageError as error:
        raise lost(file.path, str(error)) from error
    if digest_of(content) != file.digest:
        raise UserError(
            "the image changed during this run, or earlier without a change of its size, times, "
            "and inode",
            where=file.path,
            hint="Start again with data.verify=true, which reads every image again.",
        )
    return content
