"""The figure beside the verdict: each run's difference to the best one, drawn as an interval."""

from collections.abc import Sequence
from typing import Any

from visionsweep.analysis.intervals import Estimate
from visionsweep.report import numbers
from visionsweep.report.evidence import Evidence
from visionsweep.report.page.interval_svg import axis, common_scale, strip

MOST = 10  # rows; the leaderboard has all
_BEST = Estimate(0.0, 0.0, 0.0)


def difference_plot(evidence: Evidence, labels: Sequence[str]) -> dict[str, Any] | None:
    """Return the figure of a group whose rows have these labels, as the template reads it.

    `rows` are (mark, label, difference, the same drawn) of the first runs and of the recommended
    one, `axis` stands below them, and `left_out` is the number of others. It is None if no run is
    compared with the best one.
    """
    compared = [
        (row, label, row.comparison.difference if row.comparison else _BEST)
        for row, label in zip(evidence.rows, labels, strict=True)
        if row.comparison or row is evidence.rows[0]
    ]
    shown = compared[:MOST]
    shown += [each for each in compared[MOST:] if each[0].run is evidence.recommended]
    scale = common_scale([each[2] for each in shown], zero=True, outliers=True, width=260)
    if len(compared) < 2 or scale is None:
        return None
    rows = [
        (
            row.mark,
            label,
            numbers.decimal(difference.value, signed=True) if row.comparison else "best",
            strip(difference, scale, row.mark, 0.0),
        )
        for row, label, difference in shown
    ]
    return {"rows": rows, "axis": axis(scale), "left_out": len(compared) - len(shown)}
