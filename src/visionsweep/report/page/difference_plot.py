"""The figure beside the verdict: each run's difference to the best one, drawn as an interval."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from visionsweep.analysis.intervals import Estimate
from visionsweep.report import numbers
from visionsweep.report.evidence import Evidence, Row
from visionsweep.report.page.interval_svg import axis, common_scale, strip

MOST = 10  # rows; the leaderboard has all
_WIDTH = 260  # pixels of an interval


@dataclass(frozen=True)
class Difference:
    """A run of the figure.

    Attributes:
        mark: as in `evidence.Row`.
        label: settings of the run.
        text: difference in validation loss.
        picture: the same, drawn with its confidence interval.
    """

    mark: str
    label: str
    text: str
    picture: Markup


@dataclass(frozen=True)
class DifferencePlot:
    """Differences to the best run, the best first.

    Attributes:
        rows: the first runs, and the recommended one.
        axis: the scale below them.
        left_out: number of runs that are not shown.
    """

    rows: list[Difference]
    axis: Markup
    left_out: int


def difference_plot(evidence: Evidence, labels: Sequence[str]) -> DifferencePlot | None:
    """Return the figure of a group; None if no run is compared with the best one.

    Args:
        evidence: evidence of the group.
        labels: labels of its rows.
    """
    compared = [
        (row, label, _difference(row))
        for row, label in zip(evidence.rows, labels, strict=True)
        if row.comparison is not None or row is evidence.rows[0]
    ]
    shown = compared[:MOST]
    shown += [each for each in compared[MOST:] if each[0].run is evidence.recommended]
    scale = common_scale(
        [difference for _, _, difference in shown], zero=True, outliers=True, width=_WIDTH
    )
    if len(compared) < 2 or scale is None:
        return None
    rows = [
        Difference(
            row.mark,
            label,
            numbers.decimal(difference.value, signed=True) if row.comparison else "best",
            strip(difference, scale, row.mark, reference=0.0),
        )
        for row, label, difference in shown
    ]
    return DifferencePlot(rows, axis(scale), len(compared) - len(shown))


def _difference(row: Row) -> Estimate:
    return Estimate(0.0, 0.0, 0.0) if row.comparison is None else row.comparison.difference
