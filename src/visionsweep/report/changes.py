"""What changed between two sweeps: settings, versions, device, and images."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from visionsweep.config.derived import result_settings, short_names
from visionsweep.report.numbers import setting
from visionsweep.runs import logits, predictions_csv
from visionsweep.runs.discovery import Run
from visionsweep.runs.record import RecordSummary

_SPLITS = ("train", *(split for split in logits.SCORED if split != "train"))


@dataclass(frozen=True)
class Change:
    """A fact that is not the same in two sweeps; each side lists the values of its runs."""

    what: str
    earlier: str
    now: str


@dataclass(frozen=True)
class ImageChange:
    """Images of a split that are not the same in two sweeps, by content.

    Attributes:
        earlier: number of distinct images before.
        now: number of distinct images now.
        listed: whether each image is known; otherwise only that they differ.
        added: names of images that are new, or their digests.
        removed: those that are gone.
        changed: names whose content is another.
        relabeled: those of another class.
    """

    split: str
    earlier: int
    now: int
    listed: bool = False
    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    relabeled: list[str] = field(default_factory=list)


def changed_facts(runs: Sequence[Run], earlier: Sequence[Run]) -> list[Change]:
    """Return settings, then what else may change numbers, where the sweeps' values differ.

    Args:
        runs: runs of the later sweep.
        earlier: runs of the earlier one.
    """
    names = short_names()

    def settings(record: RecordSummary) -> dict[str, Any]:
        given = result_settings(record.config)
        return {names.get(key, key): value for key, value in given.items()}

    return [
        *_differing(runs, earlier, settings),
        *_differing(runs, earlier, _circumstances),
    ]


def _differing(
    runs: Sequence[Run], earlier: Sequence[Run], facts_of: Callable[[RecordSummary], dict[str, Any]]
) -> list[Change]:
    now, then = ([facts_of(run.record) for run in side] for side in (runs, earlier))
    changes = []
    for what in dict.fromkeys(name for facts in [*then, *now] for name in facts):
        # A sweep has the backbones of its own models only.
        missing = [] if what.startswith("backbone ") else ["-"]
        sides = [
            sorted({setting(facts[what]) for facts in side if what in facts})
            + missing * any(what not in facts for facts in side)
            for side in (then, now)
        ]
        if not all(sides):
            continue
        if sides[0] != sides[1]:
            changes.append(Change(what, *map(", ".join, sides)))
    return changes


def _circumstances(record: RecordSummary) -> dict[str, Any]:
    """Return what a run was made of and with, beside its settings."""
    facts: dict[str, Any] = {"dataset": record.dataset}
    if record.data is not None:
        facts["classes"] = ", ".join(record.data.classes)
    if record.model is not None:
        facts["weights"] = record.weights
        facts[f"backbone {record.model.name}"] = record.model.fingerprint[:12]
        facts["gray range"] = record.model.preprocessing.get("gray_range")
    facts |= {"version of heads": record.heads_version, **record.versions}
    facts["version of intervals"] = record.intervals_version
    if record.git is not None:
        dirty = ", with changes" if record.git.get("dirty") else ""
        facts["commit"] = f"{str(record.git.get('commit'))[:12]}{dirty}"
    return facts | {f"device: {key}": value for key, value in record.device.items()}


def changed_images(runs: Sequence[Run], earlier: Sequence[Run]) -> list[ImageChange]:
    """Return the splits whose images differ between the completed runs of two sweeps.

    Images of a split are those of all its variants in a sweep together. Each training image is
    recorded only where a run was cross-fitted, as a part of `cross_fit`.
    """
    changes = []
    for split in _SPLITS:
        now, then = _variants(runs, split), _variants(earlier, split)
        if not now or not then or now.keys() == then.keys():
            continue
        ours, theirs = _images(now, split), _images(then, split)
        if ours is None or theirs is None:
            counts = (_most(then, split), _most(now, split))
            changes.append(ImageChange(split, *counts))
        else:
            changes.append(_change(split, ours, theirs))
    return changes


def _variants(runs: Sequence[Run], split: str) -> dict[str, Run]:
    """Return a run for each set of images that a split has in a sweep, by digest."""
    found = {}
    for run in runs:
        if run.record.data is not None and split in run.record.data.digests:
            found[run.record.data.digests[split]] = run
    return found


def _most(variants: Mapping[str, Run], split: str) -> int:
    return max(run.record.data.counts[split] for run in variants.values() if run.record.data)


_Images = dict[str, tuple[str, str]]  # class and name by digest


def _images(variants: Mapping[str, Run], split: str) -> _Images | None:
    """Return the images of a split; None if a run does not list them."""
    images: _Images = {}
    for run in variants.values():
        try:
            scored = (logits.read(run.directory, run.record, [split]) or {}).get(split)
        except ValueError:
            return None
        if scored is None or run.record.data is None:
            return None
        table = predictions_csv.read(run, split)
        named = table is not None and table.labels.tolist() == scored.labels.tolist()
        names = table.images if table is not None and named else [d[:12] for d in scored.images]
        classes = [run.record.data.classes[label] for label in scored.labels]
        images |= dict(zip(scored.images, zip(classes, names, strict=True), strict=True))
    return images


def _change(split: str, now: _Images, then: _Images) -> ImageChange:
    added, removed = ([a[d][1] for d in a if d not in b] for a, b in ((now, then), (then, now)))
    places = [Counter(map(place_of, names)) for names in (added, removed)]
    same = {place for place in places[0] if places[0][place] == places[1][place] == 1}
    return ImageChange(
        split,
        len(then),
        len(now),
        True,
        [name for name in added if place_of(name) not in same],
        [name for name in removed if place_of(name) not in same],
        [name for name in added if place_of(name) in same],
        [name for d, (label, name) in now.items() if d in then and then[d][0] != label],
    )


def place_of(name: str) -> tuple[str, ...]:
    """Return the folder and the name of a file, by which it is known where the data set moved."""
    return PurePath(name).parts[-2:]
