"""What the page shows of a group of runs, put into words, numbers and pictures."""

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from visionsweep.report import numbers
from visionsweep.report.column_values import Column
from visionsweep.report.effects import EffectLine, curve_caption, curve_sentence, effect_lines
from visionsweep.report.evidence import Evidence
from visionsweep.report.headline import headline, labels_of
from visionsweep.report.hints import hints, warnings
from visionsweep.report.licenses import weights_of
from visionsweep.report.near_duplicates import shared_images
from visionsweep.report.page import curves
from visionsweep.report.page.best_run import close_up
from visionsweep.report.page.difference_plot import difference_plot
from visionsweep.report.page.interval_svg import common_scale, strip
from visionsweep.report.page.leaderboard_table import leaderboard_table
from visionsweep.report.page.near_duplicates import near_duplicates
from visionsweep.runs.discovery import Run
from visionsweep.text import shell

_MOST_ORIGINS = 3  # command lines; runs gathered from many sweeps have as many


def group_of(
    key: str, evidence: Evidence, sort: str = "", more: Sequence[Column] = ()
) -> dict[str, Any]:
    """Return what the template shows of a group of at least one run, whose key is unique."""
    labels = labels_of(evidence)
    rows, chosen, curve, kind = evidence.rows, evidence.chosen, evidence.curve, evidence.kind
    data = rows[0].run.record.data
    assert data is not None
    weights = weights_of(rows)
    lines = curves.run_curves(evidence, labels)
    summary = headline(evidence, labels)
    place = [row.run for row in rows].index(chosen)
    shared = shared_images(evidence)
    return {
        "key": key,
        "dataset": str(rows[0].run.record.dataset),
        "facts": (
            f"{numbers.counted(len(rows), 'run')}, {evidence.images:,} {kind} and "
            f"{data.counts['test']:,} test images of "
            f"{numbers.counted(len(data.classes), 'class', 'classes')}; "
            f"weights: {', '.join(weights)}"
        ),
        "kind": kind,
        "warnings": warnings(evidence, shared),
        "headline": summary,
        "notes": [*([summary.more] if summary.more else []), *hints(evidence)],
        "plot": difference_plot(evidence, labels),
        "leaderboard": leaderboard_table(evidence, sort, more),
        "curves": lines,
        "twins": curves.have_twins(lines),
        "scheduled": curves.have_schedules(evidence),
        "effects": _effects(evidence),
        "learning_curve": curves.learning_curve(curve, kind) if curve else None,
        "learning_sentence": curve_sentence(curve, kind) if curve else "",
        "learning_caption": curve_caption(curve) if curve else "",
        "best": close_up(chosen, labels[place], rows[place].scores),
        "near_duplicates": near_duplicates(shared),
        "recommended": evidence.recommended is not None,
        "commands": _commands(evidence),
    }


def _effects(evidence: Evidence) -> list[tuple[EffectLine, Markup]]:
    """Return each effect in words and drawn."""
    lines = effect_lines(evidence.effects)
    scale = common_scale([line.effect.effect for line in lines], zero=True)
    if scale is None:
        return []
    kinds = {True: "possible", False: "worse"}
    return [
        (line, strip(line.effect.effect, scale, kinds[line.effect.distinguishable], 0.0))
        for line in lines
    ]


def _commands(evidence: Evidence) -> list[tuple[str, str]]:
    """Return what a command does and its line, for a group of at least one run."""
    runs = [row.run for row in evidence.rows]
    which = "recommended" if evidence.recommended is not None else "best"
    use = shell.run("predict", "PHOTO.jpg", "--run", evidence.chosen.directory)
    look = shell.run("view", _common_folder(runs), "--all")
    lines = [
        (f"Predict with the {which} run", use),
        ("Look at the runs in TensorBoard", look),
    ]
    origins: dict[tuple[str, ...], list[Run]] = defaultdict(list)
    for run in runs:
        if run.record.command:
            origins[tuple(run.record.command)].append(run)
    for origin, made in list(origins.items())[:_MOST_ORIGINS]:
        what = "it" if len(origins) == 1 else f"what made {_common_folder(made)}"
        lines.append((f"Run {what} again", shell.rerun(origin)))
    return lines


def _common_folder(runs: Sequence[Run]) -> Path:
    """Return the deepest folder that holds all runs; a lone run's own directory."""
    return Path(os.path.commonpath([run.directory for run in runs]))
