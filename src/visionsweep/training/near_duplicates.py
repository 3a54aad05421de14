"""Find near duplicates across the splits of a run, by perceptual hashes and stored features."""

import logging
from collections.abc import Sequence
from functools import cached_property
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from visionsweep.analysis.near_duplicates import (
    Features,
    Matches,
    centered,
    least_cosines,
    near_duplicates,
)
from visionsweep.command_memory import remembered
from visionsweep.config.schema import Config
from visionsweep.data.images import ImageFile
from visionsweep.data.split_names import SPLITS
from visionsweep.data.splits import Splits
from visionsweep.data.transforms import Preprocessing
from visionsweep.errors import warn_once
from visionsweep.features.cached import cache_dir, cached_features
from visionsweep.models.backbone_spec import BackboneSpec
from visionsweep.models.lazy_model import LazyModel
from visionsweep.runs.near_duplicates import MOST_PAIRS, NearDuplicates, Overlap, Pair
from visionsweep.runtime.devices import pick_device
from visionsweep.text import shell
from visionsweep.text.paths import as_text
from visionsweep.training.feature_inputs import trains_on_features

log = logging.getLogger(__name__)

_SAMPLE = 256  # images whose features have the mean that others are compared without


def warn_of_near_duplicates(
    found: NearDuplicates, config: Config, dataset: str, run_dir: Path
) -> None:
    """Log the counts, the worst pair, where to see it, and what to do, in a line."""
    if not found.overlaps:
        return
    sweep = Path(config.sweep_dir).absolute()
    page = sweep / "report.html" if sweep in run_dir.absolute().parents else None
    worst = found.pairs[0]
    classes = " (of different classes: a probable label error)" * worst.is_contradictory
    where = page or shell.run("compare", run_dir, "--html", "PAGE.html")
    advice = found.advice
    if found.excluded:
        advice = f"Excluded from training: {len(found.excluded):,} of them."
    line = (
        f"{dataset}: {found.counted}. Worst: {' and '.join(worst.images)}{classes}. "
        f"Side by side: {where}. {advice}"
    )
    warn_once(log, line.rstrip())


@remembered()
def _found() -> dict[tuple[object, ...], NearDuplicates]:
    """Return what was found in this command, by images, backbone, and method."""
    return {}


def find_near_duplicates(
    config: Config, splits: Splits, backbone: BackboneSpec, preprocessing: Preprocessing
) -> NearDuplicates:
    """Return the near duplicates across splits; once per command.

    Candidates are confirmed by features if the run stores those of all images, or if training
    images are to be excluded. Random weights confirm nothing.

    Raises:
        UserError: if images have changed that have no stored features yet.
    """
    excludes = config.data.near_duplicates == "exclude"
    confirms = backbone.weights != "random" and (excludes or trains_on_features(config))
    digests = (splits.digest(split) for split in SPLITS)
    key = (*digests, backbone.fingerprint, repr(preprocessing), confirms, excludes)
    if key not in _found():
        features = _Features(config, splits, backbone, preprocessing) if confirms else None
        _found()[key] = _find(splits, features, excludes)
    return _found()[key]


class _Features:
    """Features of images of a run, centered on those of a sample of its images."""

    def __init__(
        self, config: Config, splits: Splits, backbone: BackboneSpec, preprocessing: Preprocessing
    ) -> None:
        folder = cache_dir(config.features) / "networks"
        network = LazyModel(backbone, preprocessing.size, len(splits.classes), True, folder)
        device = pick_device(config.device)
        self._arguments = network, preprocessing, device, config.features
        images = {image.digest: image for split in SPLITS for image in splits[split]}
        spaced = sorted(images)[:: max(1, len(images) // _SAMPLE)]
        self._sample = [images[digest] for digest in spaced]

    @cached_property
    def _mean(self) -> NDArray[np.floating]:
        sample = cached_features(self._sample, *self._arguments)
        return np.asarray(sample.numpy().mean(0, dtype=np.float64))

    @cached_property
    def least(self) -> tuple[float, float]:
        """The cosines that confirm candidates in this data set."""
        images = [image for image in self._sample if image.phash is not None]
        return least_cosines([image.phash or 0 for image in images], self.of(images))

    def of(self, images: Sequence[ImageFile]) -> Features:
        """Return the centered features of images as unit vectors, `float32[N, width]`."""
        return centered(cached_features(images, *self._arguments).numpy(), self._mean)


def _find(splits: Splits, features: _Features | None, excludes: bool) -> NearDuplicates:
    overlaps: list[Overlap] = []
    pairs: list[Pair] = []
    excluded: set[str] = set()

    def least() -> tuple[float, float]:
        assert features is not None
        return features.least

    for earlier, later in combinations(SPLITS, 2):
        first, second = ([i for i in splits[s] if i.phash is not None] for s in (earlier, later))

        def features_of(
            one: NDArray[np.int64],
            other: NDArray[np.int64],
            first: list[ImageFile] = first,
            second: list[ImageFile] = second,
        ) -> tuple[Features, Features]:
            assert features is not None
            return features.of([first[k] for k in one]), features.of([second[k] for k in other])

        found = near_duplicates(
            [i.phash or 0 for i in first],
            [i.phash or 0 for i in second],
            None if features is None else features_of,
            least,
        )
        if len(found.first):
            overlap, worst = _described((earlier, later), first, second, found, splits.classes)
            overlaps.append(overlap)
            pairs += worst
        if excludes and earlier == "train":
            excluded |= {first[k].digest for k in set(found.first.tolist())}
    pairs.sort(key=Pair.order)
    return NearDuplicates(overlaps, pairs[:MOST_PAIRS], sorted(excluded))


def _described(
    names: tuple[str, str],
    first: Sequence[ImageFile],
    second: Sequence[ImageFile],
    found: Matches,
    classes: Sequence[str],
) -> tuple[Overlap, list[Pair]]:
    """Count the near duplicates of two splits, and return the worst pair of each of some images."""
    ones, others = ([images[k] for k in places] for images, places in
                    ((first, found.first), (second, found.second)))  # fmt: skip
    exact = np.array([a.digest == b.digest for a, b in zip(ones, others, strict=True)])
    differ = np.array([a.label != b.label for a, b in zip(ones, others, strict=True)])
    counts = (len(np.unique(found.second[kept])) for kept in (slice(None), exact, differ))
    order = np.lexsort((found.bits, found.distance, ~exact, ~differ))
    _, places = np.unique(found.second[order], return_index=True)  # the first of each image
    pairs = [
        Pair(
            splits=names,
            images=(as_text(ones[k].path), as_text(others[k].path)),
            classes=(classes[ones[k].label], classes[others[k].label]),
            digests=(ones[k].digest, others[k].digest),
            bits=int(found.bits[k]),
            distance=None if np.isnan(found.distance[k]) else float(found.distance[k]),
        )
        for k in order[np.sort(places)[:MOST_PAIRS]]
    ]
    return Overlap(names, *counts), pairs
