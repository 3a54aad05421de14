"""Comparison of the runs of one group: the best, those tied with it, and effects of settings."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from visionsweep.analysis.comparison import Comparison, compare, images_needed
from visionsweep.analysis.factors import Effect, effects
from visionsweep.analysis.learning_curve import LearningCurve, learning_curve
from visionsweep.analysis.run_losses import RunLosses
from visionsweep.report.settings import settings_of
from visionsweep.runs import logits as kept
from visionsweep.runs.discovery import Run, val_loss

HEAD = "head.safetensors"  # what a run with a frozen backbone keeps

Mark = Literal["leader", "level", "behind", "unknown"]


@dataclass(frozen=True)
class Row:
    """A run and its comparison with the best run.

    Attributes:
        run: the run.
        mark: `level` if tied with the best run, `behind` if significantly worse, `unknown` if not
            compared.
        comparison: comparison with the best run; None for that run, or without predictions.
    """

    run: Run
    mark: Mark
    comparison: Comparison | None


@dataclass(frozen=True)
class Evidence:
    """Comparison of runs that were scored on the same images.

    Attributes:
        rows: runs, lowest validation loss first.
        cheapest: cheapest of the best run and those tied with it; None if unknown, or if all of
            them are untrained (`is_untrained`).
        images_needed: number of further images that would separate the first two; None if unknown.
        effects: effect of each swept value, averaged over the grid.
        curve: loss over the number of training images; None if it was not swept.
        passed_over: invalid files of predictions with the reason; their runs are in no row.
    """

    rows: list[Row]
    cheapest: Run | None
    images_needed: int | None
    effects: list[Effect]
    curve: LearningCurve | None
    passed_over: list[str] = field(default_factory=list)


def gather(runs: Sequence[Run]) -> Evidence:
    """Compare runs image by image.

    Args:
        runs: completed runs, scored on the same validation images. A run without predictions, or
            that diverged, is shown and not compared. A run with invalid predictions is skipped.
    """
    runs, found, passed_over = _with_losses(sorted(runs, key=val_loss))
    compared = {k: each for k, each in enumerate(found) if each is not None}
    if 0 not in compared:
        unknown = [Row(run, "leader" if k == 0 else "unknown", None) for k, run in enumerate(runs)]
        return Evidence(unknown, None, None, [], None, passed_over)
    comparisons = dict(zip(list(compared)[1:], compare(list(compared.values())), strict=True))
    given = settings_of(runs)
    recipes = [_recipe(run, each) for run, each in zip(runs, given, strict=True)]
    rows = [
        Row(
            run,
            _mark(k, comparisons.get(k), repeats=recipes[k] == recipes[0]),
            comparisons.get(k),
        )
        for k, run in enumerate(runs)
    ]
    settings, predictions = [given[k] for k in compared], list(compared.values())
    sizes = [runs[k].record.data.counts["train"] for k in compared]  # type: ignore[union-attr]
    return Evidence(
        rows=rows,
        cheapest=_to_take(rows),
        images_needed=_needed(predictions) if recipes[0] not in recipes[1:2] else None,
        effects=effects(settings, predictions) if len(predictions) > 1 else [],
        curve=_curve(settings, sizes, predictions),
        passed_over=passed_over,
    )


def is_untrained(run: Run) -> bool:
    """Return whether a run's backbone has random weights and was frozen."""
    model = run.record.model
    return run.record.weights == "random" and model is not None and model.checkpoint == HEAD


def _to_take(rows: Sequence[Row]) -> Run | None:
    """Return the cheapest of the best run and those tied with it, without untrained ones."""
    best = [row.run for row in rows if row.mark in ("leader", "level")]
    return min((run for run in best if not is_untrained(run)), key=_cost, default=None)


def _recipe(run: Run, given: Mapping[str, Any]) -> tuple[dict[str, Any], str, str]:
    """Return what a run has in common with its repeats from other seeds."""
    data, model = run.record.data, run.record.model
    assert data is not None and model is not None
    settings = {key: value for key, value in given.items() if key != "seed"}
    return settings, data.digests["train"], model.fingerprint


def _needed(predictions: Sequence[RunLosses]) -> int | None:
    """Return how many more images would tell the first two apart.

    Asked of these two alone; where that is done and the table's correction still calls them level,
    asked of them among all that are compared.
    """
    if len(predictions) < 2:
        return None
    pairs = len(predictions) * (len(predictions) - 1) // 2
    alone = images_needed(predictions[0], predictions[1])
    return images_needed(predictions[0], predictions[1], tests=pairs) if alone == 0 else alone


def _with_losses(
    runs: Sequence[Run],
) -> tuple[list[Run], list[RunLosses | None], list[str]]:
    """Return the runs whose predictions may be shown, what they lost, and the files passed over."""
    shown: list[Run] = []
    found: list[RunLosses | None] = []
    passed_over = []
    for run in runs:
        try:
            losses = _losses(run)
        except ValueError as error:
            passed_over.append(f"{run.directory / kept.FILE_NAME}: {error}")
            continue
        shown.append(run)
        found.append(losses)
    return shown, found, passed_over


def _losses(run: Run) -> RunLosses | None:
    """Return what a run lost on the validation images, these in the order of their contents.

    The logits are not kept: of ten thousand runs they are as large as memory.

    Raises:
        ValueError: if the file of predictions is damaged, or not of this run.
    """
    if not math.isfinite(val_loss(run)):
        return None
    found = (kept.read(run.directory, run.record, ["val"]) or {}).get("val")
    return RunLosses.of(found.sorted_by_image()) if found is not None else None


def _mark(place: int, comparison: Comparison | None, *, repeats: bool) -> Mark:
    """Return the mark of a run; repeats of the best run with other seeds are tied with it."""
    if place == 0:
        return "leader"
    if comparison is None:
        return "unknown"
    return "behind" if comparison.distinguishable and not repeats else "level"


def _cost(run: Run) -> tuple[int, float, float]:
    """Return the cost of a run: parameters, milliseconds per image, validation loss."""
    model = run.record.model
    assert model is not None
    return model.parameters, model.milliseconds or math.inf, val_loss(run)


def _curve(
    settings: Sequence[Mapping[str, Any]], sizes: Sequence[int], predictions: Sequence[RunLosses]
) -> LearningCurve | None:
    """Fit a curve to runs that differ in nothing but how many images they were trained on.

    Only what was tried with every number of images takes part, so that the curve is not bent by
    what was tried with few.
    """
    alike: dict[str, dict[int, RunLosses]] = defaultdict(dict)
    for given, size, found in zip(settings, sizes, predictions, strict=True):
        rest = {key: value for key, value in given.items() if not key.startswith("data")}
        alike[repr(rest)][size] = found
    counts = sorted(set(sizes))
    complete = [by_size for by_size in alike.values() if len(by_size) == len(counts)]
    if len(counts) < 2 or not complete:
        return None
    return learning_curve(counts, [[by_size[count] for by_size in complete] for count in counts])
