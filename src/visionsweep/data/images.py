"""Labelled image files and their content digests."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from visionsweep.data.decoding import read_file
from visionsweep.data.formats import UnreadableImageError
from visionsweep.errors import UserError


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A labelled image on disk.

    Attributes:
        path: path of the file.
        label: index of its class.
        digest: BLAKE2b of the file's bytes, 32 hexadecimal digits: the same for every copy.
    """

    path: Path
    label: int
    digest: str


def lost(path: Path, said: str) -> UserError:
    """Return the error of an image that disappeared during a run.

    Args:
        path: path of the image.
        said: why it cannot be read, beginning with its path.
    """
    gone = ""
    for folder in path.absolute().parents:
        if os.path.exists(folder):  # noqa: PTH110 - Path.exists raises where it may not look
            break
        gone = f", and the folder {folder} is gone"
    return UserError(
        f"{said}{gone}. It was there when this run began; bring it back, then give the same "
        "command again."
    )


def digest_of(content: bytes | memoryview) -> str:
    """Return the content digest of a file: BLAKE2b, 32 hexadecimal digits."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def read_content(file: ImageFile) -> bytes:
    """Return the bytes of an image file, checked against its digest.

    Raises:
        UserError: if the file is gone or has changed since the run started.
    """
    try:
        content = read_file(file.path)
    except UnreadableImageError as error:
        raise lost(file.path, str(error)) from error
    if digest_of(content) != file.digest:
        raise UserError(
            "the image changed during this run, or earlier without a change of its size, times "
            "and inode",
            where=file.path,
            hint="Start again with data.verify=true, which reads every image again.",
        )
    return content
