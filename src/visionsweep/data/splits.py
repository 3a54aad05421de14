"""Training, validation and test images of a run."""

from dataclasses import dataclass, field

from visionsweep.data import images
from visionsweep.data.gray import GrayRange
from visionsweep.data.images import ImageFile

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Splits:
    """The images of one experiment.

    Attributes:
        dataset: what the images are called in the record; `sample` for the rendered ones.
        classes: class names, sorted; a label is an index into them.
        train, val, test: the images of each split, sorted by class and path.
        skipped: files that could not be read and what else was left out, with the reasons; at most
            1,000 of them.
        gray_range: gray values that become black and white in images of more than 8 bits per
            pixel; None if there are no such images.
        is_synthetic: whether the images are the built-in sample, which may do with random weights.
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
        if split not in SPLITS:
            raise KeyError(split)
        return getattr(self, split)  # type: ignore[no-any-return]

    @property
    def counts(self) -> dict[str, int]:
        """Number of images in each split."""
        return {split: len(self[split]) for split in SPLITS}

    def digest(self, split: str) -> str:
        """Name a split by its contents and classes: equal only if the images are the same."""
        lines = sorted(f"{self.classes[image.label]}\t{image.digest}" for image in self[split])
        return images.digest_of("\n".join(lines).encode())
