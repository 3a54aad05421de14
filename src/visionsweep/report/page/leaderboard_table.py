"""The leaderboard as a table of the report."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from visionsweep.report import numbers
from visionsweep.report.column_values import Column
from visionsweep.report.columns import BY_KEY, columns_of
from visionsweep.report.evidence import Evidence, Row
from visionsweep.report.page.interval_svg import Scale, common_scale, strip

MARKS = {
    "recommended": "recommended",
    "possible": "could be best",
    "worse": "not the best",
    "unknown": "not compared",
}
MOST = 1000  # rows; a browser sorts that many at once, and each takes two kilobytes


@dataclass(frozen=True)
class Heading:
    """Heading of a column.

    Attributes:
        title: text.
        numeric: whether its values are numbers.
        descending: whether larger values are better, and sorted first.
        hint: meaning of the column, or an empty text.
    """

    title: str
    numeric: bool = False
    descending: bool = False
    hint: str = ""


@dataclass(frozen=True)
class Cell:
    """Cell of a run in a column.

    Attributes:
        text: formatted value.
        sort: sort key, a number or a text; None is sorted last.
        interval: confidence interval, or an empty text.
        picture: drawing of value and interval, or None.
    """

    text: str
    sort: float | str | None
    interval: str = ""
    picture: Markup | None = None


@dataclass(frozen=True)
class Standing:
    """Row of the leaderboard.

    Attributes:
        mark: as in `evidence.Row`.
        verdict: the mark in words.
        place: from 1.
        take: whether the run is recommended.
        model: label of its model.
        cells: other cells, one per heading.
    """

    mark: str
    verdict: str
    place: int
    take: bool
    model: str
    cells: list[Cell]


@dataclass(frozen=True)
class Standings:
    """The leaderboard and its legend.

    Attributes:
        headings: headings of the columns.
        lines: rows of the first runs, and of the recommended one.
        runs: number of runs.
        legend: explanation of the rows.
    """

    headings: list[Heading]
    lines: list[Standing]
    runs: int
    legend: str


def standings(evidence: Evidence) -> Standings:
    """Return the leaderboard of a group of at least one run."""
    take = evidence.recommended.directory if evidence.recommended else None
    shown = [
        (place, row)
        for place, row in enumerate(evidence.rows, 1)
        if place <= MOST or row.run.directory == take
    ]
    rows = [row for _, row in shown]
    columns = [c for c in columns_of(evidence.rows, "page") if c.key != "model"]
    scales = {c.key: scale for c in columns if (scale := _scale(c, rows)) is not None}
    best = BY_KEY["val_loss"].value(rows[0])
    lines = [
        Standing(
            mark=row.mark,
            verdict=MARKS[row.mark],
            place=place,
            take=row.run.directory == take,
            model=str(BY_KEY["model"].value(row)),
            cells=[_cell(column, row, scales.get(column.key), float(best)) for column in columns],
        )
        for place, row in shown
    ]
    headings = [
        Heading(
            column.heading or column.title,
            numeric=all(not isinstance(column.value(row), str) for row in rows),
            descending=column.descending,
            hint=column.hint,
        )
        for column in columns
    ]
    return Standings(headings, lines, len(evidence.rows), _legend(rows, scales.get("val_loss")))


def _scale(column: Column, rows: Sequence[Row]) -> Scale | None:
    """Return the scale on which the estimates of a column are drawn, or None if they are not."""
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
    reference = 0.0 if signed else best_loss
    picture = strip(estimate, scale, row.mark, reference=reference) if scale else None
    if column.percent:
        text, interval = numbers.percent(estimate.value), numbers.percent_interval(estimate)
    else:
        finite = math.isfinite(estimate.value) or scale is not None
        text = numbers.decimal(estimate.value, signed=signed) if finite else "–"
        interval = numbers.interval(estimate, 3, signed=signed)
    return Cell(text, _finite(estimate.value), interval, picture)


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _legend(rows: Sequence[Row], scale: Scale | None) -> str:
    said = "Dot and bar are the value and its 95% confidence interval over images"
    if scale:
        ends = f"{numbers.decimal(scale.low, 2)} to {numbers.decimal(scale.high, 2)}"
        said += f", on one scale (loss {ends})"
    return (
        f"{said}. Marks compare runs image by image, for all runs together: go by them, not by "
        "overlapping bars. Choose by validation scores; report test scores."
    )
