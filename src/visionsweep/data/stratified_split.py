"""Split images class by class, by their contents and a seed.

Files with the same bytes are one image, which is never in two of the splits made here.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from visionsweep.data.folds import groups_of, places_together
from visionsweep.data.images import ImageFile
from visionsweep.errors import UserError


def distinct(
    candidates: Iterable[ImageFile], exclude: Iterable[ImageFile] = ()
) -> tuple[ImageFile, ...]:
    """Return the first file of each content, except contents of `exclude`."""
    first: dict[str, ImageFile] = {}
    for image in candidates:
        first.setdefault(image.digest, image)
    excluded = {image.digest for image in exclude}
    return tuple(image for digest, image in first.items() if digest not in excluded)


def _rank(image: ImageFile, seed: int) -> bytes:
    """Return a sort key that depends on the content and the seed alone."""
    return hashlib.blake2b(f"{seed}:{image.digest}".encode(), digest_size=8).digest()


def _by_class(files: Iterable[ImageFile]) -> dict[int, list[ImageFile]]:
    classes: dict[int, list[ImageFile]] = defaultdict(list)
    for image in files:
        classes[image.label].append(image)
    return dict(sorted(classes.items()))


def stratified_part(
    files: tuple[ImageFile, ...], fraction: float, seed: int
) -> tuple[ImageFile, ...]:
    """Return a stratified share in (0, 1] of the images, at least one image per class.

    Subsets with the same seed are nested: 20% contains all images of 10%.
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
    """Split images into `train` and other splits, stratified by class; groups stay together.

    Copies of an image stay together, also if they are in the folders of two classes. `shares` are
    those of each class by split, `{"val": 0.15, "test": 0.15}`.

    Raises:
        UserError: if a class has fewer different images than there are splits.
    """
    if any(image.group for image in files):
        return _split_by_group(files, shares, seed)
    split_of: dict[str, str] = {}  # by digest
    for label, members in _by_class(files).items():
        ranks = {(_rank(image, seed), image.digest) for image in members}
        contents = [digest for _, digest in sorted(ranks)]
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
                split_of.setdefault(digest, split)
            start += size
        for digest in contents[start:]:
            split_of.setdefault(digest, "train")
    return {
        split: tuple(image for image in files if split_of[image.digest] == split)
        for split in ("train", *shares)
    }


def _split_by_group(
    files: tuple[ImageFile, ...], shares: Mapping[str, float], seed: int
) -> dict[str, tuple[ImageFile, ...]]:
    """Split whole groups: the largest first, each where its classes are furthest from their share.

    Raises:
        UserError: if there are fewer groups than splits.
    """
    targets = {"train": 1 - sum(shares.values()), **shares}
    ranks = [_rank(image, seed) for image in files]
    members = sorted(
        places_together([[image.digest for image in files], groups_of(files)]),
        key=lambda places: (-len(places), min(ranks[place] for place in places)),
    )
    if len(members) < len(targets):
        raise UserError(
            f"There are {len(members)} groups of images; at least {len(targets)} are needed to "
            f"make {' and '.join(targets)} of them"
        )
    sizes = Counter(image.label for image in files)
    filled = {split: dict.fromkeys(sizes, 0.0) for split in targets}  # share of each class
    chosen: dict[str, list[int]] = {split: [] for split in targets}

    def fullness(split: str, labels: Sequence[int]) -> float:
        return sum((filled[split][c] + 1 / sizes[c]) / targets[split] for c in labels)

    for number, places in enumerate(members):
        labels = [files[place].label for place in places]
        empty = [split for split in targets if not chosen[split]]
        among = empty if len(members) - number == len(empty) else list(targets)
        split = min(among, key=lambda split: fullness(split, labels))
        chosen[split] += places
        for label in labels:
            filled[split][label] += 1 / sizes[label]
    return {split: tuple(files[k] for k in sorted(places)) for split, places in chosen.items()}
