"""Divides images, class by class, by their contents and a seed.

Two files with the same bytes are one image wherever they lie, and never stand on both sides of a
split that is made here.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from visionsweep.data.images import ImageFile
from visionsweep.errors import UserError


def distinct(
    candidates: Iterable[ImageFile], but_not: Iterable[ImageFile]
) -> tuple[ImageFile, ...]:
    """Return the first file of each content that is not among `but_not`."""
    first: dict[str, ImageFile] = {}
    for image in candidates:
        first.setdefault(image.digest, image)
    known = {image.digest for image in but_not}
    return tuple(image for image in first.values() if image.digest not in known)


def _rank(image: ImageFile, seed: int) -> bytes:
    """Place an image in an order that depends on its content and the seed alone."""
    return hashlib.blake2b(f"{seed}:{image.digest}".encode(), digest_size=8).digest()


def _by_class(files: Iterable[ImageFile]) -> dict[int, list[ImageFile]]:
    classes: dict[int, list[ImageFile]] = defaultdict(list)
    for image in files:
        classes[image.label].append(image)
    return dict(sorted(classes.items()))


def stratified_part(
    files: tuple[ImageFile, ...], fraction: float, seed: int
) -> tuple[ImageFile, ...]:
    """Take a part of every class, at least one image each.

    Parts are nested: with the same seed, all that 10% holds, 20% holds too.

    Args:
        files: the images to choose from.
        fraction: how much of each class, in (0, 1].
        seed: decides which images come first.
    """
    if fraction >= 1:
        return files
    taken: set[Path] = set()
    for members in _by_class(files).values():
        ranked = sorted(members, key=lambda image: (_rank(image, seed), image.path))
        taken |= {image.path for image in ranked[: max(1, round(len(ranked) * fraction))]}
    return tuple(image for image in files if image.path in taken)


def split_by_content(
    files: tuple[ImageFile, ...], classes: Sequence[str], shares: Mapping[str, float], seed: int
) -> dict[str, tuple[ImageFile, ...]]:
    """Divide images into `train` and the named splits, each class alike.

    Copies of an image stay together, also where they were filed under two classes.

    Args:
        files: the images to divide.
        classes: names of the classes, for the message.
        shares: part of each class that a split gets, `{"val": 0.15, "test": 0.15}`.
        seed: decides which image goes where.

    Raises:
        UserError: if a class has too few different images to give each split one.
    """
    home: dict[str, str] = {}  # digest -> split
    for label, members in _by_class(files).items():
        ranked = sorted(
            {image.digest: _rank(image, seed) for image in members}.items(), key=_second
        )
        contents = [digest for digest, _ in ranked]
        if len(contents) <= len(shares):
            raise UserError(
                f"Class {classes[label]!r} has {len(contents)} different images; at least "
                f"{len(shares) + 1} are needed to make train, {' and '.join(shares)} of them"
            )
        start = 0
        for split, share in shares.items():
            room = len(contents) - len(shares)
            size = min(max(1, round(len(contents) * share)), max(1, room - start))
            for digest in contents[start : start + size]:
                home.setdefault(digest, split)
            start += size
        for digest in contents[start:]:
            home.setdefault(digest, "train")
    return {
        split: tuple(image for image in files if home[image.digest] == split)
        for split in ("train", *shares)
    }


def _second(pair: tuple[str, bytes]) -> tuple[bytes, str]:
    return pair[1], pair[0]
