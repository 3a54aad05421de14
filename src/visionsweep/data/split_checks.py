"""Check that a model can be trained and scored on splits."""

import logging
from collections import Counter

from visionsweep.data.splits import Splits
from visionsweep.errors import UserError, nearest
from visionsweep.text.escaping import visible

log = logging.getLogger(__name__)


def check_splits(splits: Splits) -> None:
    """Refuse splits that a model cannot be trained or scored on, and warn of doubtful ones.

    Raises:
        UserError: if there are fewer than two classes, a class without training images, or no
            validation or test images.
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
                ", ".join(map(visible, missing)),
                split,
                "it" if len(missing) == 1 else "them",
            )
        if shared := {i.digest for i in splits.train} & {i.digest for i in splits[split]}:
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
    names = ", ".join(map(visible, splits.classes))
    log.info(
        "%s: %d training, %d validation and %d test images of %s",
        splits.dataset,
        *splits.counts.values(),
        names if len(splits.classes) <= 10 else f"{len(splits.classes)} classes",
    )


def _classes_without_images(splits: Splits, split: str) -> list[str]:
    labels = {image.label for image in splits[split]}
    return [name for label, name in enumerate(splits.classes) if label not in labels]
