"""Training, validation and test images of a run."""

from dataclasses import dataclass, field

from visionsweep.data import images
from visionsweep.data.gray import GrayRange
from visionsweep.data.images import ImageFile

SPLITS = ("train", "val", "test")
CROSS_FIT = "cross_fit"  # training and validation images, each scored by heads that did not see it


@dataclass(frozen=True)
class Splits:
    """The images of one experiment.

    Attributes:
        dataset: name of the data set in records; `sample` for the built-in one.
        classes: class names, sorted; a label is an index into them.
        train, val, test: images of each split, sorted by class and path.
        skipped: files and folders that are not used, with the reasons; at most 1,000.
        gray_range: gray values that become black and white in images of more than 8 bits per
            pixel; None if there are no such images.
        is_synthetic: True for the built-in sample, which may be used with random weights.
    """

    dataset: str
    classes: tuple[str, ...]
    train: tuple[ImageFile, ...]
    val: tuple[ImageFile, ...]
    test: tuple[ImageFile, ...]
    skipped: tuple[str, ...] = field(default=())
    gray_range: GrayRange | None = None
    is_synthetic: bool = False

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

    def digest(self, split: str) -> str:
        """Return a digest of the contents and classes of a split, whatever the order."""
        lines = sorted(f"{self.classes[image.label]}\t{image.digest}" for image in self[split])
        return images.digest_of("\n".join(lines).encode())
