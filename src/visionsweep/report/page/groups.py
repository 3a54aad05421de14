"""What the page shows of a group of runs, put into words, numbers and pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from visionsweep.report import headline, hints, numbers
from visionsweep.report.effects import EffectLine, curve_sentence, effect_lines
from visionsweep.report.evidence import Evidence
from visionsweep.report.page import commands, curves
from visionsweep.report.page.best_run import CloseUp, close_up
from visionsweep.report.page.difference_plot import DifferencePlot, difference_plot
from visionsweep.report.page.interval_svg import common_scale, strip
from visionsweep.report.page.leaderboard_table import Standings, standings


@dataclass(frozen=True)
class Group:
    """Runs that were scored on the same images, as the page shows them."""

    key: str
    dataset: str
    facts: str
    warnings: list[str]
    headline: headline.Headline
    notes: list[str]
    plot: DifferencePlot | None
    standings: Standings
    curves: list[dict[str, Any]]
    twins: bool
    effects: list[tuple[EffectLine, Markup]]
    learning_curve: dict[str, Any] | None
    learning_sentence: str
    best: CloseUp
    recommended: bool
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
    summary = headline.headline(evidence, labels)
    return Group(
        key=key,
        dataset=str(record.dataset),
        facts=(
            f"{numbers.counted(len(evidence.rows), 'run')}, {counts['val']:,} validation and "
            f"{counts['test']:,} test images of "
            f"{numbers.counted(len(record.data.classes), 'class', 'classes')}; "
            f"weights: {', '.join(weights)}"
        ),
        warnings=hints.warnings(evidence),
        headline=summary,
        notes=[*([summary.more] if summary.more else []), *hints.hints(evidence)],
        plot=difference_plot(evidence, labels),
        standings=standings(evidence),
        curves=lines,
        twins=curves.have_twins(lines),
        effects=_effects(evidence),
        learning_curve=curves.learning_curve(evidence.curve) if evidence.curve else None,
        learning_sentence=curve_sentence(evidence.curve) if evidence.curve else "",
        best=_close_up(evidence, labels),
        recommended=evidence.recommended is not None,
        commands=commands.commands(evidence),
    )


def _close_up(evidence: Evidence, labels: Sequence[str]) -> CloseUp:
    place = [row.run for row in evidence.rows].index(evidence.chosen)
    return close_up(evidence.chosen, labels[place], evidence.rows[place].scores)


def _effects(evidence: Evidence) -> list[tuple[EffectLine, Markup]]:
    """Return each effect in words and drawn."""
    lines = effect_lines(evidence.effects)
    scale = common_scale([line.effect.effect for line in lines], zero=True)
    if scale is None:
        return []
    kinds = {True: "possible", False: "worse"}
    return [
        (line, strip(line.effect.effect, scale, kinds[line.effect.distinguishable], reference=0.0))
        for line in lines
    ]
