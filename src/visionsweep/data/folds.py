"""Folds of images for cross-fitting, stratified by class."""

from collections import defaultdict
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from visionsweep.data.images import ImageFile, digest_of

FOLDS = 5


def assign_folds(
    images: Sequence[ImageFile],
    seed: int,
    *,
    groups: Sequence[Hashable] = (),
    folds: int = FOLDS,
) -> NDArray[np.int64]:
    """Return the fold of each image, so that each class is spread evenly over the folds.

    Copies of an image are in one fold, also under two classes, and so are the images of a group.
    The largest groups are placed first, each where its classes are rarest so far, much as in
    scikit-learn's `StratifiedGroupKFold`. Folds depend on contents and seed, not on file names.

    Args:
        images: images, `N`.
        seed: seed of the order in which groups of one size are placed.
        groups: group of each image, `N`, such as the patient or the video; empty without groups.
        folds: number of folds.

    Returns:
        `int64[N]`, from 0 to `folds - 1`.
    """
    ranks = [digest_of(f"{seed}:{image.digest}".encode()) for image in images]
    together = places_together([[image.digest for image in images], *([groups] if groups else [])])
    order = sorted(together, key=lambda places: (-len(places), min(ranks[k] for k in places)))
    sizes = np.bincount([image.label for image in images]).tolist()
    shares = [[0.0] * len(sizes) for _ in range(folds)]  # of each class
    totals = [0] * folds
    result = np.empty(len(images), np.int64)
    for places in order:
        labels = [images[place].label for place in places]
        fold = min(range(folds), key=lambda k: (sum(shares[k][c] for c in labels), totals[k]))
        for label in labels:
            shares[fold][label] += 1 / sizes[label]
        totals[fold] += len(places)
        result[places] = fold
    return result


def groups_of(images: Sequence[ImageFile]) -> list[str]:
    """Return the group of each image, or nothing if there are no groups.

    An image without a group is one by itself.
    """
    if not any(image.group for image in images):
        return []
    return [image.group or f"\0{image.digest}" for image in images]


def group_numbers(images: Sequence[ImageFile]) -> NDArray[np.int64] | None:
    """Return the number of each image's group, `int64[N]`, copies of an image together.

    None without groups, or if each image is one by itself.
    """
    groups = groups_of(images)
    together = places_together([[image.digest for image in images], groups]) if groups else []
    if len(set(groups)) == len(images) or not together:
        return None
    numbers = np.empty(len(images), np.int64)
    for number, places in enumerate(together):
        numbers[places] = number
    return numbers


def places_together(keys: Sequence[Sequence[Hashable]]) -> list[list[int]]:
    """Return the places that belong together, since they agree in a key, directly or by others."""
    parent = list(range(len(keys[0])))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = place = parent[parent[place]]
        return place

    for column in keys:
        first: dict[Hashable, int] = {}
        for place, key in enumerate(column):
            parent[root(place)] = root(first.setdefault(key, place))
    members: dict[int, list[int]] = defaultdict(list)
    for place in range(len(parent)):
        members[root(place)].append(place)
    return list(members.values())
