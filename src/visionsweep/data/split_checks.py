"""Check that splits can be trained and scored on."""

import logging
from collections import Counter
from collections.abc import Sequence

from visionsweep.data.splits import Splits
from visionsweep.errors import UserError, nearest
from visionsweep.text.escaping import visible

log = logging.getLogger(__name__)


def _refuse_untrained(splits: Splits, untrained: Sequence[str]) -> None:
    known = sorted(set(splits.classes) - set(untrained))
    near = next((close for name in untrained if (close := _spelled_nearly(name, known))), "")
    names = ", ".join(map(repr, untrained[:20])) + (", ..." if len(untrained) > 20 else "")
    classes = "class" if len(untrained) == 1 else "classes"
    have = "has" if len(untrained) == 1 else "have"
    raise UserError(
        f"{classes} {names} {have} no readable training image{near}",
        where=splits.dataset,
        hint="Every class needs training images; add some, or remove the folders.",
    )


def _spelled_nearly(name: str, known: Sequence[str]) -> str:
    same = [other for other in known if other.casefold() == name.casefold()]
    return f"; training has {same[0]!r}" if same else nearest(name, known)


def check_splits(splits: Splits) -> None:
    """Refuse splits that nothing can be trained or scored on, and warn of doubtful ones.

    Raises:
        UserError: if there are fewer than two classes, a class without training images, or no
            images to validate or test on.
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
        there = {image.label for image in splits[split]}
        if lacking := [name for label, name in enumerate(splits.classes) if label not in there]:
            log.warning(
                "%s: its %s images hold none of %s: its scores there say nothing of %s",
                splits.dataset,
                split,
                ", ".join(map(visible, lacking)),
                "it" if len(lacking) == 1 else "them",
            )
        shared = {i.digest for i in splits.train} & {i.digest for i in splits[split]}
        if shared:
            log.warning(
                "%d images of %s are training images too: its scores are too good",
                len(shared),
                split,
            )
    everything = (*splits.train, *splits.val, *splits.test)
    labels = Counter(digest for digest, _ in {(i.digest, i.label) for i in everything})
    if twice := sum(count > 1 for count in labels.values()):
        log.warning("%d images stand under more than one class", twice)
    log.info(
        "%s: %d training, %d validation and %d test images of %s",
        splits.dataset,
        *splits.counts.values(),
        ", ".join(map(visible, splits.classes))
        if len(splits.classes) <= 10
        else f"{len(splits.classes)} classes",
    )
