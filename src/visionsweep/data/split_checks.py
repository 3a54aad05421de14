"""Check that a model can be trained and scored on splits."""

import logging
from collections import Counter
from collections.abc import Sequence

from visionsweep.data.splits import Splits
from visionsweep.errors import UserError, nearest
from visionsweep.text.escaping import visible

log = logging.getLogger(__name__)


def _refuse_untrained(splits: Splits, untrained: Sequence[str]) -> None:
    trained = sorted(set(splits.classes) - set(untrained))
    near = next((close for name in untrained if (close := _similar(name, trained))), "")
    names = ", ".join(map(repr, untrained[:20])) + (", ..." if len(untrained) > 20 else "")
    classes = "class" if len(untrained) == 1 else "classes"
    have = "has" if len(untrained) == 1 else "have"
    raise UserError(
        f"{classes} {names} {have} no readable training image{near}",
        where=splits.dataset,
        hint="Every class needs training images; add some, or remove the folders.",
    )


def _similar(name: str, trained: Sequence[str]) -> str:
    same = [other for other in trained if other.casefold() == name.casefold()]
    return f"; training has {same[0]!r}" if same else nearest(name, trained)


def check_splits(splits: Splits) -> None:
    """Refuse splits that a model cannot be trained or scored on, and warn of doubtful ones.

    Raises:
        UserError: if there are fewer than two classes, a class without training images, or no
            validation or test images.
    """
    if not splits.classes:
        raise UserError("no image can be read", where=splits.dataset)
    if len(splits.classes) < 2:
        raise UserError(
            f"{splits.dataset}: only one class, {splits.classes[0]!r}; a classifier needs two"
        )
    trained = {image.label for image in splits.train}
    untrained = [name for label, name in enumerate(splits.classes) if label not in trained]
    if untrained:
        _refuse_untrained(splits, untrained)
    for split in ("val", "test"):
        if not splits[split]:
            raise UserError(f"{splits.dataset}: no image to {split} on")
        labels = {image.label for image in splits[split]}
        if missing := [name for label, name in enumerate(splits.classes) if label not in labels]:
            log.warning(
                "%s: no %s images of %s; %s scores say nothing about %s",
                splits.dataset,
                split,
                ", ".join(map(visible, missing)),
                split,
                "it" if len(missing) == 1 else "them",
            )
        shared = {i.digest for i in splits.train} & {i.digest for i in splits[split]}
        if shared:
            log.warning(
                "%d %s images are also training images: %s scores are optimistic",
                len(shared),
                split,
                split,
            )
    everything = (*splits.train, *splits.val, *splits.test)
    classes = Counter(digest for digest, _ in {(i.digest, i.label) for i in everything})
    if ambiguous := sum(count > 1 for count in classes.values()):
        log.warning("%d images are in more than one class", ambiguous)
    log.info(
        "%s: %d training, %d validation and %d test images of %s",
        splits.dataset,
        *splits.counts.values(),
        ", ".join(map(visible, splits.classes))
        if len(splits.classes) <= 10
        else f"{len(splits.classes)} classes",
    )
