"""The report page: one HTML file that shows what a sweep proves, and loads nothing."""

import base64
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date
from functools import cache
from pathlib import Path

import jinja2
from markupsafe import Markup, escape

import visionsweep
from visionsweep.report import numbers
from visionsweep.report.column_values import Column
from visionsweep.report.evidence import Evidence
from visionsweep.report.page import best_run, curves, leaderboard_table
from visionsweep.report.page.colors import COLOURS, DASHES, LINES
from visionsweep.report.page.groups import group_of
from visionsweep.runs.discovery import Run
from visionsweep.storage.files import write_atomically
from visionsweep.text.escaping import visible

_HERE = Path(__file__).parent
_SCRIPTS = ("theme.js", "page.js", "charts.js")


def write_page(
    groups: Sequence[Evidence],
    failed: Sequence[Run],
    path: Path,
    *,
    command: str | None,
    sort: str = "",
    more: Sequence[Column] = (),
) -> Path:
    """Write the report as one self-contained file, and return the file.

    Groups without runs are left out. The folder is made if missing. The command is the line that
    makes this page again, if there is one. `sort` and `more` are columns to show in any case.
    """
    shown = [
        group_of(f"g{n}", evidence, sort, more)
        for n, evidence in enumerate(groups, 1)
        if evidence.rows
    ]
    runs = [row.run for evidence in groups for row in evidence.rows]
    scripts = {name: (_HERE / name).read_text("utf-8") for name in _SCRIPTS}
    scripts["plotly"] = _plotly() if shown else ""
    text = _template().render(
        groups=shown,
        failed=failed,
        reasons=_reasons(failed),
        command=command,
        days=_days([*runs, *failed]),
        runs=len(runs),
        version=visionsweep.__version__,
        colours=COLOURS,
        style=Markup((_HERE / "page.css").read_text("utf-8")),
        scripts={name: Markup(script) for name, script in scripts.items()},
        policy=_policy(scripts.values()),
        chart_facts={"lines": LINES, "dashes": DASHES},
        verdicts=leaderboard_table.VERDICTS,
        most_lines=leaderboard_table.MOST,
        most_curves=curves.MOST,
        most_classes=best_run.MOST_CLASSES,
        numbers=numbers,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text.encode())
    return path


def _reasons(failed: Sequence[Run]) -> dict[str, list[Run]]:
    """Put the runs that failed for the same reason together."""
    reasons: dict[str, list[Run]] = defaultdict(list)
    for run in failed:
        failure = run.record.failure
        text = f"{failure.type}: {failure.message}" if failure else "no reason given"
        reasons[text].append(run)
    return reasons


def _days(runs: Sequence[Run]) -> str:
    """Say when runs were started, `30 January 2026 to 2 February 2026`."""
    started = sorted(date.fromisoformat(run.record.started[:10]) for run in runs)
    days = [f"{when.day} {when:%B %Y}" for when in (*started[:1], *started[-1:])]
    return " to ".join(dict.fromkeys(days))


def _policy(scripts: Iterable[str]) -> str:
    """Return a content security policy: these scripts run, no other; nothing is loaded."""
    digests = [hashlib.sha256(script.encode()).digest() for script in scripts if script]
    hashes = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


@cache
def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # What is HTML already is ours.
        finalize=lambda value: value if isinstance(value, Markup) else visible(value),
    )
    environment.filters["lines"] = lambda text: escape(visible(text, lines=True))
    return environment.get_template("page.html.j2")
