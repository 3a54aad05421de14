"""Differences of a metric to the best run by that metric, paired image by image."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from visionsweep.analysis.calibration import deployed_predictions
from visionsweep.analysis.contributions import METRICS, Contributions, contributions
from visionsweep.analysis.cross_fit import WIDER
from visionsweep.analysis.groups import joined
from visionsweep.analysis.intervals import Estimate
from visionsweep.data.split_names import CROSS_FIT
from visionsweep.report import numbers
from visionsweep.report.column_values import NAN, Column
from visionsweep.report.columns import BY_KEY
from visionsweep.report.evidence import Evidence, Row
from visionsweep.report.recipes import Images, common_images, compared_predictions

SPLIT = "val_"
_NONE = Estimate(NAN, NAN, NAN)


def difference_columns(groups: Sequence[Evidence], sort: str) -> list[Column]:
    """Return columns of the paired difference of a metric and its bounds.

    Only the columns `val_METRIC` of `analysis.contributions` have differences; those in loss are in
    the leaderboard anyway, and no file is read for them.
    """
    metric = sort.removeprefix(SPLIT)
    if metric not in METRICS or metric == sort:
        return []
    differences: dict[Path, Estimate] = {}
    for evidence in groups:
        differences |= _differences(evidence.rows, metric)
    if not differences:
        return []

    def end(name: str) -> Callable[[Row], float]:
        return lambda row: float(getattr(differences.get(row.run.directory, _NONE), name))

    def shown(row: Row) -> str:
        found = differences.get(row.run.directory)
        return "" if found is None else numbers.with_interval(found, signed=True)

    title = f"diff. in {BY_KEY[sort].title.removeprefix('val ')}"
    key = f"{sort}_difference"
    return [
        Column(key, title, end("value"), shown),
        *(Column(f"{key}_{name}", "", end(name), views=()) for name in ("low", "high")),
    ]


def _differences(rows: Sequence[Row], metric: str) -> dict[Path, Estimate]:
    """Return the difference of each compared row to the best one, by directory.

    Intervals are 95% for all of them together, as is the test of `analysis.accuracy.more_accurate`.
    """
    compared = [row for row in rows if row.mark != "unknown"]
    images = common_images([run for row in compared for run in row.runs or (row.run,)])
    values = {row.run.directory: found for row in compared if (found := _of(row, metric, images))}
    if not values:
        return {}
    best = max(values.values(), key=lambda value: value.value)
    return {
        folder: value.minus(best, tests=len(values) - 1)
        for folder, value in values.items()
        if value is not best
    }


def _of(row: Row, metric: str, images: Images | None) -> Contributions | None:
    """Return a metric of a recipe, the mean over its runs; None if its runs do not have it."""
    found: list[Contributions] = []
    for run in row.runs or (row.run,):
        if (predictions := compared_predictions(run, images)) is not None:
            deployed = deployed_predictions(predictions, run.record.temperature or 1.0)
            wider = WIDER if run.record.evidence == CROSS_FIT else 1.0
            found += [
                replace(each, influence=wider * each.influence)
                for each in contributions(deployed, [metric]).values()
            ]
    found = [each for each in found if math.isfinite(each.value)]
    if not found:
        return None
    value = float(np.mean([each.value for each in found]))
    influence = np.mean([each.influence for each in found], axis=0)
    return Contributions(value, influence, joined([each.groups for each in found]))
