"""Training, validation and test images of a run, and whether a model can be scored on them."""

import logging
from collections import Counter
from collections.abc import Container
from dataclasses import dataclass, replace

from visionsweep.analysis.groups import FEW_GROUPS
from visionsweep.data import images
from visionsweep.data.folds import group_numbers
from visionsweep.data.gray import GrayRange
from visionsweep.data.images import ImageFile
from visionsweep.data.split_names import CROSS_FIT, SPLITS
from visionsweep.errors import UserError, nearest
from visionsweep.text.escaping import enumerated, visible

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Splits:
    """The images of one experiment, in each split sorted by class and path."""

    dataset: str  # name of the data set in records; `sample` for the built-in one
    classes: tuple[str, ...]  # sorted; a label is an index into them
    train: tuple[ImageFile, ...]
    val: tuple[ImageFile, ...]
    test: tuple[ImageFile, ...]
    skipped: tuple[str, ...] = ()  # what is not used, with the reasons; at most 1,000
    gray_range: GrayRange | None = None  # black and white in images of more than 8 bits per pixel
    is_synthetic: bool = False  # the built-in sample, which may be used with random weights

    def __getitem__(self, split: str) -> tuple[ImageFile, ...]:
        if split == CROSS_FIT:
            return self.pool
        if split not in SPLITS:
            raise KeyError(split)
        return getattr(self, split)  # type: ignore[no-any-return]

    @property
    def counts(self) -> dict[str, int]:
        """Number of images in each split."""
        return {split: len(self[split]) for split in SPLITS}

    @property
    def pool_places(self) -> list[int]:
        """Indices into training and validation images: the first of each content and class."""
        first: dict[tuple[str, int], int] = {}
        for place, image in enumerate((*self.train, *self.val)):
            first.setdefault((image.digest, image.label), place)
        return list(first.values())

    @property
    def pool(self) -> tuple[ImageFile, ...]:
        """The training and validation images, each content of a class once."""
        images = (*self.train, *self.val)
        return tuple(images[place] for place in self.pool_places)

    def without(self, digests: Container[str]) -> "Splits":
        """Return the splits without the training images of some contents.

        Raises:
            UserError: if a class would have no training image.
        """
        reduced = replace(self, train=tuple(i for i in self.train if i.digest not in digests))
        if emptied := _classes_without_images(reduced, "train"):
            raise UserError(
                f"all training images of {enumerated(emptied)} are near duplicates of validation "
                "or test images",
                where="data.near_duplicates=exclude",
                hint="Add training images, or keep these with data.near_duplicates=warn.",
            )
        return reduced

    def digest(self, split: str) -> str:
        """Return a digest of the contents and classes of a split, whatever the order."""
        lines = sorted(f"{self.classes[image.label]}\t{image.digest}" for image in self[split])
        return images.digest_of("\n".join(lines).encode())


def check_splits(splits: Splits) -> None:
    """Refuse splits that a model cannot be trained or scored on, and warn of doubtful ones.

    Raises:
        UserError: if there are fewer than two classes, a class without training images, or no
            validation or test images, or if a group is in two splits.
    """
    if not splits.classes:
        raise UserError("no image can be read", where=splits.dataset)
    if len(splits.classes) < 2:
        what = f"only one class, {splits.classes[0]!r}; a classifier needs two"
        raise UserError(what, where=splits.dataset)
    if untrained := _classes_without_images(splits, "train"):
        trained = sorted(set(splits.classes) - set(untrained))
        names = ", ".join(map(repr, untrained[:20])) + (", ..." if len(untrained) > 20 else "")
        lacks = f"class {names} has" if len(untrained) == 1 else f"classes {names} have"
        near = next(filter(None, (nearest(name, trained) for name in untrained)), "")
        raise UserError(
            f"{lacks} no readable training image{near}",
            where=splits.dataset,
            hint="Every class needs training images; add some, or remove the folders.",
        )
    for split in ("val", "test"):
        if not splits[split]:
            raise UserError(f"no image to {split} on", where=splits.dataset)
        if missing := _classes_without_images(splits, split):
            log.warning(
                "%s: no %s images of %s; %s scores say nothing about %s",
                splits.dataset,
                split,
                enumerated(missing),
                split,
                "it" if len(missing) == 1 else "them",
            )
    _check_groups(splits)
    everything = (*splits.train, *splits.val, *splits.test)
    classes = Counter(digest for digest, _ in {(i.digest, i.label) for i in everything})
    if ambiguous := sum(count > 1 for count in classes.values()):
        log.warning("%d images are in more than one class", ambiguous)
    names = ", ".join(map(visible, splits.classes))
    log.info(
        "%s: %d training, %d validation and %d test images of %s",
        splits.dataset,
        *splits.counts.values(),
        names if len(splits.classes) <= 10 else f"{len(splits.classes)} classes",
    )


def _check_groups(splits: Splits) -> None:
    """Refuse a group of which images to train and images to score are members."""
    split_of: dict[str, str] = {}
    for split in SPLITS:
        for image in splits[split]:
            first = split_of.setdefault(image.group, split) if image.group else split
            if first != split:
                raise UserError(
                    f"group {image.group!r} has images in {first} and in {split}",
                    where=splits.dataset,
                    hint="Leave the splits out, and they are made of whole groups; or change them.",
                )
    numbers = {split: group_numbers(splits[split]) for split in ("val", "test")}
    counts = {split: int(of.max()) + 1 for split, of in numbers.items() if of is not None}
    for split, count in counts.items():
        log.log(
            logging.WARNING if count < FEW_GROUPS else logging.INFO,
            "%s: %s intervals are over %d groups of %d images%s",
            splits.dataset,
            split,
            count,
            len(splits[split]),
            f"; fewer than {FEW_GROUPS} are few" if count < FEW_GROUPS else "",
        )


def _classes_without_images(splits: Splits, split: str) -> list[str]:
    labels = {image.label for image in splits[split]}
    return [name for label, name in enumerate(splits.classes) if label not in labels]
