"""Folds for cross-fitting: stratified, by content, with copies and groups together."""

from collections import Counter
from pathlib import Path

import numpy as np

from visionsweep.data.folds import assign_folds
from visionsweep.data.images import ImageFile, digest_of


def image(number: int, label: int) -> ImageFile:
    return ImageFile(Path(str(number)), label, digest_of(str(number).encode()))


def test_each_class_is_spread_evenly():
    images = [image(n, label) for n, label in enumerate([0] * 53 + [1] * 20 + [2] * 7 + [3] * 2)]
    folds = assign_folds(images, seed=42)
    sizes = Counter(folds.tolist())
    assert sizes.keys() == set(range(5)) and max(sizes.values()) - min(sizes.values()) <= 1
    for label, least, most in ((0, 10, 11), (1, 4, 4), (2, 1, 2), (3, 0, 1)):
        of_class = Counter(folds[[i.label == label for i in images]].tolist())
        assert {least, most} >= {of_class[fold] for fold in range(5)}


def test_folds_follow_from_content_and_seed_alone():
    images = [image(n, n % 3) for n in range(60)]
    order = np.random.default_rng(0).permutation(60)
    folds = assign_folds(images, seed=42)
    assert (assign_folds([images[k] for k in order], seed=42) == folds[order]).all()
    assert (assign_folds(images, seed=43) != folds).any()


def test_copies_are_in_one_fold_also_under_two_classes():
    images = [image(n, n % 2) for n in range(30)]
    copies = [image(0, 0), image(1, 0), image(1, 1)]
    folds = assign_folds([*images, *copies], seed=0)
    assert folds[30] == folds[0] and folds[31] == folds[32] == folds[1]


def test_groups_stay_together_and_classes_are_spread_over_their_folds():
    """Ten groups of ten images, five of each class: one of each class in each fold."""
    groups = [n // 10 for n in range(100)]
    images = [image(n, group % 2) for n, group in enumerate(groups)]
    folds = assign_folds(images, seed=1, groups=groups).reshape(10, 10)
    assert (folds == folds[:, :1]).all()
    assert sorted(folds[0::2, 0].tolist()) == sorted(folds[1::2, 0].tolist()) == [0, 1, 2, 3, 4]


def test_groups_that_share_a_copy_are_one_group():
    images = [image(n, 0) for n in range(20)] + [image(3, 0)]
    groups = ["a"] * 5 + ["b"] * 5 + [f"{n}" for n in range(10)] + ["b"]
    folds = assign_folds(images, seed=0, groups=groups)
    assert len(set(folds[:10].tolist())) == 1 and folds[20] == folds[3]
