"""The leaderboard as a table of the report."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from visionsweep.report import numbers
from visionsweep.report.column_values import Column
from visionsweep.report.columns import BY_KEY, columns_of
from visionsweep.report.evidence import Evidence, Row
from visionsweep.report.page.interval_svg import Scale, common_scale, strip

VERDICTS = {
    "recommended": "recommended",
    "possible": "could be best",
    "worse": "not the best",
    "unknown": "not compared",
}
MOST = 1000  # rows; a browser sorts that many at once, and each takes two kilobytes


class Heading(NamedTuple):
    """Heading of a column, as in `Column`; `numeric` if none of its values is a text."""

    title: str
    numeric: bool
    descending: bool
    hint: str


class Cell(NamedTuple):
    """A value and its confidence interval as text and drawn; a sort key of None comes last."""

    text: str
    sort: float | str | None
    interval: str = ""
    picture: Markup | None = None


def leaderboard_table(
    evidence: Evidence, sort: str = "", more: Sequence[Column] = ()
) -> dict[str, Any]:
    """Return the leaderboard of a group of at least one run, as the template reads it.

    `sort` is a column to show in any case, `more` are those to show after it.

    Returns:
        `headings`; `lines`, which are (place, row, model, cells) of the first runs and of the
        recommended one; `runs`, the number of all; and the `legend`.
    """
    shown = [
        (place, row)
        for place, row in enumerate(evidence.rows, 1)
        if place <= MOST or row.run is evidence.recommended
    ]
    rows = [row for _, row in shown]
    columns = [
        c for c in columns_of(evidence.rows, "page", sort=sort, more=more) if c.key != "model"
    ]
    scales = {c.key: _scale(c, rows) for c in columns}
    best_loss = float(BY_KEY["val_loss"].value(rows[0]))
    return {
        "headings": [
            Heading(
                column.heading or column.title,
                not any(isinstance(column.value(row), str) for row in rows),
                column.descending,
                column.hint,
            )
            for column in columns
        ],
        "lines": [
            (
                place,
                row,
                BY_KEY["model"].value(row),
                [_cell(column, row, scales[column.key], best_loss) for column in columns],
            )
            for place, row in shown
        ],
        "runs": len(evidence.rows),
        "legend": _legend(scales["val_loss"]),
    }


def _scale(column: Column, rows: Sequence[Row]) -> Scale | None:
    if not column.scale or column.estimate is None:
        return None
    estimates = [found for row in rows if (found := column.estimate(row)) is not None]
    return common_scale(estimates, zero=column.scale == "difference", outliers=True)


def _cell(column: Column, row: Row, scale: Scale | None, best_loss: float) -> Cell:
    if column.estimate is None:
        value = column.value(row)
        sort = value if isinstance(value, str) else _finite(value)
        return Cell(column.text(row) or "–", sort)
    estimate = column.estimate(row)
    if estimate is None:
        return Cell("–", None) if row.mark == "unknown" else Cell("best", 0.0)
    signed = column.scale == "difference"
    picture = strip(estimate, scale, row.mark, 0.0 if signed else best_loss) if scale else None
    if column.percent:
        text, interval = numbers.percent(estimate.value), numbers.percent_interval(estimate)
    else:
        finite = math.isfinite(estimate.value) or scale is not None
        text = numbers.decimal(estimate.value, signed=signed) if finite else "–"
        interval = numbers.interval(estimate, 3, signed=signed)
    return Cell(text, _finite(estimate.value), interval, picture)


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _legend(scale: Scale | None) -> str:
    said = "Dot and bar are the value and its 95% confidence interval over images"
    if scale:
        ends = f"{numbers.decimal(scale.low, 2)} to {numbers.decimal(scale.high, 2)}"
        said += f", on one scale (loss {ends})"
    return (
        f"{said}. Marks compare runs image by image, for all runs together: go by them, not by "
        "overlapping bars. Intervals of differences are at the level of the marks: they exclude "
        "zero exactly for runs that cannot be the best. Choose by validation scores; report test "
        "scores."
    )
