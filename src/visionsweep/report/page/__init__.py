"""The report page: one HTML file that shows what a sweep proves, and loads nothing."""

import base64
import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

import visionsweep
from visionsweep.files import write_atomically
from visionsweep.report import headline, numbers
from visionsweep.report.effects import EffectLine, effect_lines
from visionsweep.report.evidence import Evidence
from visionsweep.report.page import best_run, commands, curves
from visionsweep.report.page.colours import COLOURS, DASHES, LINES
from visionsweep.report.page.standings import Standings, standings
from visionsweep.report.page.strips import common_scale, strip
from visionsweep.tracking.runs import Run

_HERE = Path(__file__).parent
_METRICS = {
    "loss": "loss",
    "accuracy": "accuracy",
    "accuracy_wilson": "accuracy (Wilson's interval)",
    "macro_f1": "macro F1",
    "ece": "calibration error (ECE)",
}


@dataclass(frozen=True)
class Group:
    """Runs that were scored on the same images, as the page shows them."""

    key: str
    dataset: str
    facts: str
    warnings: list[str]
    headline: headline.Headline
    standings: Standings
    curves: list[dict[str, Any]]
    twins: bool
    effects: list[tuple[EffectLine, Markup]]
    learning_curve: dict[str, Any] | None
    learning_sentence: str
    best: "Best"
    commands: list[commands.Command]


@dataclass(frozen=True)
class Best:
    """The leader, looked at closely."""

    label: str
    name: str
    metrics: list[tuple[str, list[str]]]
    predictions: best_run.Predictions | None
    tested: str
    mistakes: list[best_run.Mistake]


def write_page(
    groups: Sequence[Evidence], failed: Sequence[Run], path: Path, *, command: str | None
) -> Path:
    """Write the report as one self-contained file.

    Args:
        groups: what each group of comparable runs proves; groups without runs are left out.
        failed: runs that did not complete.
        path: the file; its folder is made if missing.
        command: the command line that makes this page again, or None.

    Returns:
        The file.
    """
    shown = [_group(f"g{n}", evidence) for n, evidence in enumerate(groups, 1) if evidence.rows]
    runs = [row.run for evidence in groups for row in evidence.rows]
    scripts = {name: _text(name) for name in ("theme.js", "page.js", "charts.js")}
    plotly = _plotly() if shown else ""
    text = _template().render(
        groups=shown,
        failed=failed,
        reasons=_reasons(failed),
        command=command,
        days=_days([*runs, *failed]),
        runs=len(runs),
        version=visionsweep.__version__,
        colours=COLOURS,
        style=Markup(_text("page.css")),
        scripts={name: Markup(text) for name, text in scripts.items()},
        plotly=Markup(plotly),
        policy=_policy([*scripts.values(), plotly]),
        chart_facts={"lines": LINES, "dashes": DASHES},
        most_curves=curves.MOST,
        most_classes=best_run.MOST_CLASSES,
        numbers=numbers,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text.encode())
    return path


def _group(key: str, evidence: Evidence) -> Group:
    labels = headline.labels_of(evidence)
    record = evidence.rows[0].run.record
    assert record.data is not None
    weights = sorted({str(row.run.record.weights) for row in evidence.rows})
    counts = record.data.counts
    lines = curves.run_curves(evidence, labels)
    predictions = best_run.read_predictions(evidence.rows[0].run)
    return Group(
        key=key,
        dataset=str(record.dataset),
        facts=(
            f"{numbers.counted(len(evidence.rows), 'run')}, {counts['val']:,} validation and "
            f"{counts['test']:,} test images of "
            f"{numbers.counted(len(record.data.classes), 'class', 'classes')}; "
            f"weights: {', '.join(weights)}"
        ),
        warnings=headline.warnings(evidence),
        headline=headline.headline(evidence, labels),
        standings=standings(evidence),
        curves=lines,
        twins=curves.have_twins(lines),
        effects=_effects(evidence),
        learning_curve=curves.learning_curve(evidence.curve) if evidence.curve else None,
        learning_sentence=headline.curve_sentence(evidence.curve) if evidence.curve else "",
        best=Best(
            label=labels[0],
            name=record.name,
            metrics=[
                (title, [_metric(record.evaluation, split, name) for split in ("val", "test")])
                for name, title in _METRICS.items()
                if name in record.evaluation.get("test", {})
            ],
            predictions=predictions,
            tested=_tested(predictions, curves.replicates_of(record)) if predictions else "",
            mistakes=best_run.mistakes(predictions) if predictions else [],
        ),
        commands=commands.commands(evidence),
    )


def _tested(predictions: best_run.Predictions, replicates: int) -> str:
    said = f"{predictions.hits} of {numbers.counted(len(predictions.images), 'test image')} right"
    return f"{said} by the mean of its {replicates} replicates" if replicates > 1 else said


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


def _effects(evidence: Evidence) -> list[tuple[EffectLine, Markup]]:
    """Return each effect in words and drawn."""
    lines = effect_lines(evidence.effects)
    scale = common_scale([line.effect.effect for line in lines], zero=True)
    if scale is None:
        return []
    kinds = {True: "level", False: "behind"}
    return [
        (line, strip(line.effect.effect, scale, kinds[line.effect.distinguishable], reference=0.0))
        for line in lines
    ]


def _metric(evaluation: Mapping[str, Mapping[str, Any]], split: str, name: str) -> str:
    found = evaluation.get(split, {}).get(name)
    if found is None:
        return "–"
    if name.startswith("accuracy"):
        return f"{numbers.percent(found.value)} {numbers.percent_interval(found)}".rstrip()
    return f"{numbers.decimal(found.value)} {numbers.interval(found, 3)}".rstrip()


def _policy(scripts: Sequence[str]) -> str:
    """Return a content security policy: these scripts run, no other; nothing is loaded."""
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in scripts
        if script
    )
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _text(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


@cache
def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    source: str = get_plotlyjs()
    return source


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2")
