"""Reads the images to predict, in batches: files, and images in memory."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from visionsweep.data import gray
from visionsweep.data.decoding import Decoded, decode, read_file
from visionsweep.data.formats import UnreadableImageError
from visionsweep.data.gray import GrayRange
from visionsweep.data.image_facts import warn_of_repairs
from visionsweep.data.images import digest_of
from visionsweep.data.rgb import orientation, to_rgb

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReadImage:
    """An upright RGB image, its file, and the digest of its content."""

    path: Path
    image: Image.Image
    digest: str


def read_images(
    sources: Sequence[Path | Image.Image], gray_range: GrayRange | None, batch_size: int
) -> Iterator[list[ReadImage | UnreadableImageError]]:
    """Yield batches of images, with an error in the place of one that cannot be read.

    Repaired files and unexpected gray values are warned of at the end.
    """
    deep: list[Path] = []
    repaired: dict[Path, str] = {}
    for start in range(0, len(sources), batch_size):
        batch: list[ReadImage | UnreadableImageError] = []
        for place, source in enumerate(sources[start : start + batch_size], start):
            try:
                path, digest, decoded = _read(source, gray_range, f"image {place}")
            except UnreadableImageError as error:
                batch.append(error)
                continue
            batch.append(ReadImage(path, decoded.image, digest))
            if decoded.deep:
                deep.append(path)
            if decoded.repair:
                repaired[path] = decoded.repair
        yield batch
    warn_of_repairs(repaired)
    if deep and gray_range is None:
        log.warning(
            "%d images have gray values of more than 8 bits, unlike the training images; they are "
            "scaled by their whole bit depth and may look different: first %s",
            len(deep),
            deep[0],
        )


def _read(
    source: Path | Image.Image, gray_range: GrayRange | None, name: str
) -> tuple[Path, str, Decoded]:
    """Return the path, the digest, and the decoded pixels of an image."""
    if isinstance(source, Path):
        content = read_file(source)
        return source, digest_of(content), decode(content, gray_range, where=source)
    path = Path(getattr(source, "filename", "") or name)
    try:
        source.load()
        upright, broken = orientation(source)
        rgb = to_rgb(source, gray_range, upright)
    except Exception as error:  # a broken file ends in nearly any exception
        raise UnreadableImageError(f"cannot be read as an image: {error}", where=path) from error
    deep = gray.is_deep(source.mode)
    rgb = rgb.copy() if rgb is source else rgb
    return path, digest_of(rgb.tobytes()), Decoded(rgb, deep, broken)
