"""Near duplicates across splits, as a record holds them and as sentences say them."""

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta, Struct

from visionsweep.runs.fields import Count, Digest, Name, Split, Text

MOST_PAIRS = 24  # that a record holds
_NAMES = {"train": "training", "val": "validation", "test": "test"}


class Pair(Struct, frozen=True):
    """Two images of different splits that are nearly the same.

    Attributes:
        splits: splits of the two images, the training split first.
        images: their paths.
        classes: names of their classes.
        digests: digests of their contents.
        bits: differing bits of their perceptual hashes; also of a mirror image.
        distance: 1 minus the cosine of their centered features; None if they were not compared.
    """

    splits: tuple[Split, Split]
    images: tuple[Text, Text]
    classes: tuple[Name, Name]
    digests: tuple[Digest, Digest]
    bits: Annotated[int, Meta(ge=0, le=63)]
    distance: Annotated[float, Meta(ge=0, le=2)] | None

    @property
    def is_exact(self) -> bool:
        """Whether the files have the same bytes."""
        return self.digests[0] == self.digests[1]

    @property
    def is_contradictory(self) -> bool:
        """Whether the images have different classes, of which one is probably wrong."""
        return self.classes[0] != self.classes[1]

    def order(self) -> tuple[bool, float, int]:
        """Return a sort key: pairs of different classes first, then the most alike."""
        return not self.is_contradictory, self.distance or 0.0, self.bits

    @property
    def likeness(self) -> str:
        """How alike the images are, in words."""
        if self.is_exact:
            return "the same file"
        if self.distance is None:
            return f"{self.bits} of 63 bits differ"
        return f"distance {self.distance:.3f}"


class Overlap(Struct, frozen=True):
    """How many images of a split are near duplicates of images of an earlier one.

    Attributes:
        splits: the earlier split, and that of the images.
        images: number of images with a near duplicate.
        exact: number of those with an exact copy.
        contradictory: number of those with a near duplicate of another class.
    """

    splits: tuple[Split, Split]
    images: Count
    exact: Count
    contradictory: Count


class NearDuplicates(Struct, frozen=True):
    """Near duplicates across the splits of a run.

    Attributes:
        overlaps: counts for each two splits that have some.
        pairs: at most 24 pairs: those of different classes first, then the most alike.
        excluded: digests of the training images that were excluded.
    """

    overlaps: list[Overlap] = []
    pairs: Annotated[list[Pair], Meta(max_length=MOST_PAIRS)] = []
    excluded: list[Digest] = []

    @property
    def counted(self) -> str:
        """The counts in words; empty if there are none."""
        parts = (_counted([o for o in self.overlaps if o.splits[0] == s]) for s in ("train", "val"))
        return "; ".join(filter(None, parts))

    @property
    def advice(self) -> str:
        """What follows from the counts, in a sentence; empty if no training image is concerned."""
        if not any(overlap.splits[0] == "train" for overlap in self.overlaps):
            return ""
        return (
            "Scores are optimistic; data.near_duplicates=exclude leaves these training images out."
        )


def _counted(overlaps: Sequence[Overlap]) -> str:
    """Return how many images are near duplicates of those of one earlier split."""
    if not overlaps:
        return ""
    kinds = {
        "exact": sum(overlap.exact for overlap in overlaps),
        "of another class": sum(overlap.contradictory for overlap in overlaps),
    }
    details = ", ".join(f"{count:,} {kind}" for kind, count in kinds.items() if count)
    images = " and ".join(f"{o.images:,} {_NAMES[o.splits[1]]}" for o in overlaps)
    alone = len(overlaps) == 1 and overlaps[0].images == 1
    text = f"{images} {'image is a near duplicate' if alone else 'images are near duplicates'} of "
    return f"{text}{_NAMES[overlaps[0].splits[0]]} images" + (f" ({details})" if details else "")
