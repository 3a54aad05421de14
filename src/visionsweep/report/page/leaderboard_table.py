"""The leaderboard of the page: its columns, and what each run has in them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from visionsweep.analysis.intervals import Estimate
from visionsweep.report import numbers
from visionsweep.report.evidence import Evidence, Row
from visionsweep.report.page.curves import replicates_of
from visionsweep.report.page.interval_svg import Scale, common_scale, strip
from visionsweep.report.settings import ALWAYS, settings_of
from visionsweep.runs.record import RecordSummary

MARKS = {
    "leader": "leader",
    "level": "cannot be told apart",
    "behind": "worse",
    "unknown": "not compared",
}
MOST = 1000  # lines; a browser sorts so many at once, and each costs two kilobytes
_NAN = math.nan


@dataclass(frozen=True)
class Heading:
    """The head of a column.

    Attributes:
        title: what stands there.
        numeric: whether its values are numbers.
        descending: whether the best is the largest, and comes first when it is sorted by.
        hint: what the column means, or nothing.
    """

    title: str
    numeric: bool = False
    descending: bool = False
    hint: str = ""


@dataclass(frozen=True)
class Cell:
    """What a run has in a column.

    Attributes:
        text: the value as it is written.
        sort: what it is sorted by: a number, or a text; None comes last.
        interval: beside the value, or nothing.
        picture: the value and its interval drawn, or nothing.
    """

    text: str
    sort: float | str | None
    interval: str = ""
    picture: Markup | None = None


@dataclass(frozen=True)
class Standing:
    """A line of the leaderboard.

    Attributes:
        mark: as in `evidence.Row`.
        verdict: the mark in words.
        place: from 1.
        take: whether it is the run to take.
        model: its model.
        cells: the rest, one for each heading.
    """

    mark: str
    verdict: str
    place: int
    take: bool
    model: str
    cells: list[Cell]


@dataclass(frozen=True)
class Standings:
    """The leaderboard, and how to read it.

    Attributes:
        headings: of the columns.
        lines: the first runs, and the one to take.
        runs: how many there are in all.
        legend: how to read the lines.
    """

    headings: list[Heading]
    lines: list[Standing]
    runs: int
    legend: str


def standings(evidence: Evidence) -> Standings:
    """Lay out the leaderboard of a group of at least one run."""
    settings = settings_of([row.run for row in evidence.rows])
    swept = [key for key in settings[0] if key not in ALWAYS]
    take = evidence.cheapest.directory if evidence.cheapest else None
    shown = [
        (place, row, given)
        for place, (row, given) in enumerate(zip(evidence.rows, settings, strict=True), 1)
        if place <= MOST or row.run.directory == take
    ]
    rows = [row for _, row, _ in shown]
    losses = [_measure(row.run.record, "val", "loss") for row in rows]
    differences = [row.comparison.difference if row.comparison else None for row in rows]
    loss_scale = common_scale(losses, outliers=True)
    difference_scale = common_scale([d for d in differences if d], zero=True, outliers=True)
    lines = [
        Standing(
            mark=row.mark,
            verdict=MARKS[row.mark],
            place=place,
            take=row.run.directory == take,
            model=str(given["model"]),
            cells=[
                *(_setting(given[key]) for key in ("data", "epochs", *swept)),
                _loss(row, loss, loss_scale, losses[0].value),
                _difference(row, difference_scale),
                *_scores(row.run.record),
                *_costs(row),
            ],
        )
        for (place, row, given), loss in zip(shown, losses, strict=True)
    ]
    headings, legend = _headings(swept, settings), _legend(rows, loss_scale)
    return Standings(headings, lines, len(evidence.rows), legend)


def _headings(swept: Sequence[str], settings: Sequence[dict[str, Any]]) -> list[Heading]:
    def is_number(key: str) -> bool:
        return all(isinstance(s[key], int | float) for s in settings)

    return [
        Heading("data"),
        Heading("epochs", numeric=True),
        *(Heading(key, numeric=is_number(key)) for key in swept),
        Heading("validation loss", numeric=True, hint="after the last epoch; lower is better"),
        Heading(
            "difference to the leader",
            numeric=True,
            hint="in validation loss, on the same images; above zero is worse",
        ),
        Heading("validation accuracy", numeric=True, descending=True, hint="share of images right"),
        Heading("test accuracy", numeric=True, descending=True, hint="the same on test images"),
        Heading(
            "test macro F1",
            numeric=True,
            descending=True,
            hint="precision and recall in one number, every class counting alike; 1 is best",
        ),
        Heading(
            "test ECE",
            numeric=True,
            hint="expected calibration error: how far confidence and accuracy lie apart; 0 is best",
        ),
        Heading("parameters", numeric=True, hint="of the whole network"),
        Heading("ms an image", numeric=True, hint="one forward pass on one core of a CPU"),
        Heading(
            "replicates",
            numeric=True,
            descending=True,
            hint="times the run was made from other seeds; all numbers are their means",
        ),
        Heading("run", hint="the name of its directory"),
    ]


def _measure(record: RecordSummary, split: str, metric: str) -> numbers.Between:
    found = record.evaluation.get(split, {}).get(metric)
    if found is not None:
        return found
    assert record.metrics is not None
    scores = getattr(record.metrics.final, split)
    return Estimate(getattr(scores, metric, _NAN), _NAN, _NAN)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _setting(value: Any) -> Cell:
    return Cell(
        numbers.setting(value),
        float(value) if isinstance(value, int | float) else str(value),
    )


def _loss(row: Row, loss: numbers.Between, scale: Scale | None, leader: float) -> Cell:
    picture = strip(loss, scale, row.mark, reference=leader) if scale else None
    return Cell(
        numbers.decimal(loss.value), _finite(loss.value), numbers.interval(loss, 3), picture
    )


def _difference(row: Row, scale: Scale | None) -> Cell:
    if row.comparison is None:
        return Cell("", 0.0) if row.mark == "leader" else Cell("–", None)
    found = row.comparison.difference
    picture = strip(found, scale, row.mark, reference=0.0) if scale else None
    return Cell(
        numbers.decimal(found.value, signed=True),
        _finite(found.value),
        numbers.interval(found, 3, signed=True),
        picture,
    )


def _scores(record: RecordSummary) -> list[Cell]:
    wanted = (("val", "accuracy"), ("test", "accuracy"), ("test", "macro_f1"), ("test", "ece"))
    cells = []
    for split, metric in wanted:
        found = _measure(record, split, metric)
        if metric == "accuracy":
            text, interval = numbers.percent(found.value), numbers.percent_interval(found)
        else:
            text = numbers.decimal(found.value) if math.isfinite(found.value) else "–"
            interval = numbers.interval(found, 3)
        cells.append(Cell(text, _finite(found.value), interval))
    return cells


def _costs(row: Row) -> list[Cell]:
    record = row.run.record
    assert record.model is not None
    milliseconds = record.model.milliseconds
    return [
        Cell(f"{record.model.parameters:,}", record.model.parameters),
        Cell("–", None) if milliseconds is None else Cell(f"{milliseconds:.1f}", milliseconds),
        Cell(str(replicates_of(record)), replicates_of(record)),
        Cell(record.name, record.name),
    ]


def _legend(rows: Sequence[Row], scale: Scale | None) -> str:
    over = "images and replicates"
    if all(replicates_of(row.run.record) == 1 for row in rows):
        over = "images"
    said = f"Dot and bar are the value and its 95 % interval over {over}"
    if scale:
        ends = f"{numbers.decimal(scale.low, 2)} to {numbers.decimal(scale.high, 2)}"
        said += f", on one scale (loss {ends})"
    return (
        f"{said}. “Worse” is decided image by image and allows for how many runs are compared: go "
        "by it, not by bars that overlap. Choose by validation; the test columns are the last word."
    )
