"""What the charts draw: the curves of runs, and the loss over the number of training images."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any

from visionsweep.analysis.learning_curve import LearningCurve
from visionsweep.data.split_names import SPLITS
from visionsweep.report.column_values import replicates_of
from visionsweep.report.evidence import Evidence
from visionsweep.report.page.colors import DASHES, LINES
from visionsweep.runs.scores import Epoch
from visionsweep.text.escaping import visible

MOST = 50  # curves in a chart; more cannot be told apart, and each costs bytes
AT_FIRST = 12  # switched on when the page opens
SCORES = ("loss", "accuracy")


def run_curves(evidence: Evidence, labels: Sequence[str]) -> list[dict[str, Any]]:
    """Return the curves of the first runs, as the page's script reads them.

    Each run has its `name`, `run`, `mark`, `replicates`, `colour` and `dash` (indices), whether it
    is `on` at first, `epochs`, and for each `SPLIT.SCORE` the means over replicates with the lowest
    and highest replicate, `[mean, low, high]`; both bounds are empty where there is one. `deployed`
    has the scores of the deployed predictor, as far as they were recorded.
    """
    curves = []
    for place, (row, name) in enumerate(zip(evidence.rows[:MOST], labels, strict=False)):
        history, record = row.run.history, row.run.record
        curve = {
            "name": visible(name),
            "run": visible(record.name),
            "mark": row.mark,
            "replicates": replicates_of(record),
            "colour": place % len(LINES),
            "dash": place // len(LINES) % len(DASHES),
            "on": place < AT_FIRST,
            "epochs": [epoch.epoch for epoch in history],
            "series": {f"{s}.{m}": _series(history, s, m) for s, m in product(SPLITS, SCORES)},
            "deployed": {
                f"{split}.{score}": _plain(measures[score].value)
                for split, measures in record.deployed.items()
                for score in SCORES
            },
        }
        curves.append(curve)
    return curves


def have_twins(runs: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a curve is the first part of another: the same run with fewer epochs."""
    losses = [tuple(run["series"]["val.loss"][0]) for run in runs]
    starts = {loss[:length] for loss in losses for length in range(1, len(loss))}
    return any(loss in starts for loss in losses)


def have_schedules(evidence: Evidence) -> bool:
    """Whether the learning rate of a run depends on its number of epochs."""
    schedules = {row.run.record.config.get("training", {}).get("schedule") for row in evidence.rows}
    return not schedules <= {None, "constant"}


def _series(history: Sequence[Epoch], split: str, score: str) -> list[list[float | None]]:
    mean = _all_plain(getattr(getattr(epoch, split), score) for epoch in history)
    replicates = [
        [getattr(getattr(replicate, split), score) for replicate in epoch.replicates]
        for epoch in history
    ]
    if max(map(len, replicates), default=0) < 2:
        return [mean, [], []]
    return [mean, _all_plain(map(min, replicates)), _all_plain(map(max, replicates))]


def learning_curve(curve: LearningCurve, kind: str) -> dict[str, Any]:
    """Return a learning curve as the page's script reads it; the loss is `validation` or so."""
    bands = {name: _all_plain(getattr(curve, name)) for name in ("at", "fitted", "low", "high")}
    *losses, doubled = [
        _all_plain((e.value, e.low, e.high)) for e in (*curve.losses, curve.doubled)
    ]
    return bands | {
        "kind": kind,
        "images": curve.images.tolist(),
        "losses": losses,
        "doubled_images": curve.doubled_images,
        "doubled": doubled,
    }


def _all_plain(values: Iterable[float]) -> list[float | None]:
    return [_plain(value) for value in values]


def _plain(value: float) -> float | None:
    """Round to what a chart can show; JSON has no NaN."""
    return float(f"{value:.5g}") if math.isfinite(value) else None
