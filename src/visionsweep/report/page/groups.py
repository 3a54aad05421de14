"""What the page shows of a group of runs, put into words, numbers and pictures."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from visionsweep.data.gray import recorded_range
from visionsweep.report import headline, numbers
from visionsweep.report.effects import EffectLine, effect_lines
from visionsweep.report.evidence import Evidence
from visionsweep.report.page import best_run, commands, curves
from visionsweep.report.page.interval_svg import common_scale, strip
from visionsweep.report.page.leaderboard_table import Standings, standings
from visionsweep.report.page.pictures import recorded_digests
from visionsweep.runs.discovery import Run
from visionsweep.runs.scores import Measure

_METRICS = {
    "loss": "loss",
    "accuracy": "accuracy",
    "accuracy_wilson": "accuracy (Wilson's interval)",
    "macro_f1": "macro F1",
    "ece": "calibration error (ECE)",
}


@dataclass(frozen=True)
class Best:
    """The leader, looked at closely."""

    label: str
    name: str
    metrics: list[tuple[str, list[str]]]
    predictions: best_run.Predictions | None
    tested: str
    mistakes: list[best_run.Mistake]
    pictured: bool


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
    best: Best
    commands: list[commands.Command]


def group_of(key: str, evidence: Evidence) -> Group:
    """Prepare a group for the page.

    Args:
        key: what its parts are called by, unique in the page.
        evidence: of at least one run.
    """
    labels = headline.labels_of(evidence)
    record = evidence.rows[0].run.record
    assert record.data is not None
    weights = sorted({str(row.run.record.weights) for row in evidence.rows})
    counts = record.data.counts
    lines = curves.run_curves(evidence, labels)
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
        best=_best(evidence.rows[0].run, labels[0]),
        commands=commands.commands(evidence),
    )


def _best(run: Run, label: str) -> Best:
    evaluation = run.record.evaluation
    predictions = best_run.read_predictions(run)
    digests = recorded_digests(run, "test", len(predictions.images)) if predictions else None
    facts = run.record.model
    gray_range = recorded_range(facts.preprocessing) if facts else None
    return Best(
        label=label,
        name=run.record.name,
        metrics=[
            (title, [_metric(evaluation, split, name) for split in ("val", "test")])
            for name, title in _METRICS.items()
            if name in evaluation.get("test", {})
        ],
        predictions=predictions,
        tested=_tested(predictions, curves.replicates_of(run.record)) if predictions else "",
        mistakes=best_run.mistakes(predictions, digests, gray_range) if predictions else [],
        pictured=digests is not None,
    )


def _tested(predictions: best_run.Predictions, replicates: int) -> str:
    said = (
        f"{predictions.correct} of {numbers.counted(len(predictions.images), 'test image')} right"
    )
    return f"{said} by the mean of its {replicates} replicates" if replicates > 1 else said


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


def _metric(evaluation: Mapping[str, Mapping[str, Measure]], split: str, name: str) -> str:
    found = evaluation.get(split, {}).get(name)
    if found is None:
        return "–"
    if name.startswith("accuracy"):
        return f"{numbers.percent(found.value)} {numbers.percent_interval(found)}".rstrip()
    return f"{numbers.decimal(found.value)} {numbers.interval(found, 3)}".rstrip()
