"""Near duplicates across splits for the page: their counts, and the pairs side by side."""

from typing import Any

from visionsweep.data.gray import recorded_range
from visionsweep.report.mistakes import open_recorded
from visionsweep.report.near_duplicates import SharedImages
from visionsweep.report.page.best_run import picture


def near_duplicates(shared: SharedImages) -> dict[str, Any] | None:
    """Return the near duplicates of a group of runs, as the template reads them; None without any.

    `pairs` are (pair, its two images, whether a run excluded the first); an image is its split,
    class, path, URI, size in pixels, and why it is missing.
    """
    if not shared.found:
        return None
    model = shared.found[0][0].record.model
    gray_range = recorded_range(model.preprocessing) if model is not None else None
    pairs = []
    for pair in shared.pairs:
        images = []
        for split, name, path, digest in zip(
            pair.splits, pair.classes, pair.images, pair.digests, strict=True
        ):
            opened = open_recorded(path, digest, gray_range)
            missing = opened if isinstance(opened, str) else ""
            uri, size = picture(None if isinstance(opened, str) else opened)
            images.append((split, name, path, uri, size, missing))
        pairs.append((pair, images, pair.digests[0] in shared.excluded))
    return {"kept": shared.kept, "reduced": shared.reduced, "pairs": pairs}
