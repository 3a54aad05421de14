"""The leaderboard in the terminal: finished runs, best first."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from visionsweep.report.column_values import Column
from visionsweep.report.columns import BY_KEY, columns_of, ordered
from visionsweep.report.console import wide_console
from visionsweep.report.effects import curve_sentence, effect_lines
from visionsweep.report.evidence import Evidence, Row, gather
from visionsweep.report.headline import Headline, headline, labels_of
from visionsweep.report.hints import hints
from visionsweep.report.licenses import weights_of
from visionsweep.report.numbers import counted
from visionsweep.report.settings import ALWAYS
from visionsweep.report.unfinished import unfinished_lines
from visionsweep.runs.discovery import FoundRuns, Run, comparable, completed, val_loss
from visionsweep.text import shell
from visionsweep.text.escaping import markdown, visible

READING = (
    "★ is recommended: the cheapest run within one standard error of the best. ≈ could be the best "
    "run; the others cannot. Brackets hold 95% confidence intervals; those of differences to the "
    "best hold for all runs together and exclude zero exactly where there is no mark "
    "(docs/evidence.md)."
)

MOST = 200  # rows of a table that are shown where nobody says how many


def groups_of(runs: Iterable[Run], *, expand_seeds: bool = False) -> list[Evidence]:
    """Return the evidence of each group of runs that were scored on the same validation images."""
    groups = comparable(completed(runs))
    return [gather(group, expand_seeds=expand_seeds) for group in groups]


def as_markdown(rows: Sequence[Row], columns: Sequence[Column]) -> str:
    """Write rows as a Markdown table, in which names are shown as they are."""

    def cell(row: Row, column: Column) -> str:
        ours = column.shown is not None and column.key in BY_KEY  # numbers and marks, no names
        return column.text(row) if ours else markdown(column.text(row))

    lines = [[markdown(column.title) for column in columns], ["---"] * len(columns)]
    lines += [[cell(row, column) for column in columns] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def heading(evidence: Evidence) -> str:
    """Return data set, image counts, and weights of a group."""
    first = evidence.rows[0].run.record
    assert first.data is not None
    counts = first.data.counts
    weights = weights_of(evidence.rows)
    return (
        f"dataset: {first.dataset}; {evidence.images} {evidence.kind} and {counts['test']} test "
        f"images; "
        f"weights: {', '.join(weights)}"
    )


def _findings(evidence: Evidence, summary: Headline) -> list[str]:
    """Return what else a group shows: images needed, hints, effects, and the learning curve."""
    lines = [summary.more] if summary.more else []
    lines += hints(evidence)
    if effects := effect_lines(evidence.effects):
        said = "; ".join(
            f"{line.change}: {line.number}"
            + ", not significant" * (not line.effect.distinguishable)
            for line in effects
        )
        lines.append(f"On {evidence.kind} loss, over the rest of the grid: {said}.")
    return lines + ([curve_sentence(evidence.curve, evidence.kind)] if evidence.curve else [])


def _that_fit(
    rows: Sequence[Row], columns: Sequence[Column], sort: str, width: int
) -> list[Column]:
    """Return the columns that fit into a terminal.

    Left out first are model, data, and epochs if all runs agree in them, then columns by their
    `drop_priority`, and before the last ones (difference and accuracy) the intervals beside their
    values. The column that the table is sorted by stays, and the run's name if no setting tells two
    rows apart.
    """
    alike = [
        column
        for column in columns
        if column.key in ALWAYS and len(rows) > 1 and len({column.text(row) for row in rows}) == 1
    ]
    by_priority = sorted((c for c in columns if c.drop_priority), key=lambda c: -c.drop_priority)
    by_key = {column.key: column for column in columns}
    last = [c for c in by_priority if c.key in ("difference", "val_accuracy")]
    short = [_without_interval(by_key[key]) for key in ("val_accuracy", "val_loss", "difference")]
    steps = [*alike, *(c for c in by_priority if c not in last), *short, *last]
    settings = [c for c in columns if c.key not in BY_KEY or c.key in ALWAYS]
    told_apart = len({tuple(c.text(row) for c in settings) for row in rows})
    named = told_apart == len(rows) > 1
    kept = {c.key: (c, _width(c, rows)) for c in columns}
    for column in steps:
        if sum(wide for _, wide in kept.values()) < width:
            break
        if column in short:
            kept[column.key] = column, _width(column, rows)
        elif column.key != sort and (column.key != "name" or named):
            del kept[column.key]
    return [column for column, _ in kept.values()]


def _width(column: Column, rows: Sequence[Row]) -> int:
    """Return the width of a column with its border, in cells of a terminal."""
    return 3 + max(map(cell_len, [column.title, *(visible(column.text(row)) for row in rows)]))


def _without_interval(column: Column) -> Column:
    return replace(column, shown=lambda row: column.text(row).partition(" [")[0])


def _drawn(rows: Sequence[Row], columns: Sequence[Column], title: str) -> Table:
    table = Table(title=Text(visible(title)), title_justify="left", title_style="bold")
    for column in columns:
        right = not isinstance(column.value(rows[0]), str)
        name = Text(visible(column.title))
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for row in rows:
        style = {"recommended": "bold", "worse": "dim"}.get(row.mark, "")
        table.add_row(*(Text(visible(column.text(row))) for column in columns), style=style)
    return table


def show(
    folders: Sequence[Path],
    found: FoundRuns,
    groups: Sequence[Evidence],
    *,
    sort: str = "val_loss",
    more: Sequence[Column] = (),
    top: int | None = None,
    as_text: bool = False,
    everything: bool = False,
    console: Console | None = None,
) -> None:
    """Print what was found below some folders: the leaderboard of each group, and runs outside it.

    The column that a table is sorted by is shown in any case, and `more` beside it. Without `top`,
    at most `MOST` rows are shown. With `as_text`, tables are in Markdown; with `everything`, every
    run that is not ranked has a line of its own.
    """
    console = console or wide_console()
    for evidence in (each for each in groups if each.rows):
        columns = columns_of(evidence.rows, "table", sort=sort, more=more)
        rows = ordered(evidence.rows, sort)[: top or MOST]
        summary = headline(evidence, labels_of(evidence))
        verdict = f"{summary.best} {summary.advice}"
        notes = []
        if not top and len(rows) < (runs := len(evidence.rows)):
            notes.append(
                f"The first {len(rows):,} of {runs:,} runs; all are compared. --top {runs} shows "
                "them all, and --csv prints them for a file."
            )
        if len(rows) > 1:
            notes.append(READING)
        notes += _findings(evidence, summary)
        if as_text:
            print(f"{markdown(heading(evidence))}\n\n{as_markdown(rows, columns)}\n")
            print("\n\n".join(map(markdown, [verdict, *notes])) + "\n")
            continue
        shown = _that_fit(rows, columns, sort, console.width)
        console.print(Text(visible(verdict)), style="bold")
        console.print(_drawn(rows, shown, heading(evidence)))
        shown_keys = {column.key for column in shown}
        if missing := ", ".join(column.title for column in columns if column.key not in shown_keys):
            hint = "A wider terminal, --markdown, or --csv shows them."
            console.print(Text(visible(f"Columns left out: {missing}. {hint}")))
        for line in notes:
            console.print(Text(visible(line)), style="dim" if line is READING else "")
        console.print()
    for record in (run.record for run in found.runs):
        if record.images_at_once is not None:
            line = (
                f"{record.name}: device memory held {counted(record.images_at_once, 'image')} at "
                f"once; larger batches ({record.config['batch_size']}) were computed in parts."
            )
            console.print(Text(visible(line)))
    broken = [line for evidence in groups for line in evidence.passed_over]
    found = replace(found, skipped=[*found.skipped, *broken])
    for entry in unfinished_lines(found, folders, everything=everything):
        console.print(entry)
    if not found.runs:
        where = visible(", ".join(map(str, folders)))
        console.print(Text(f"No runs under {where}. Start one: {shell.run('train')}"))
    elif not as_text:
        where = " ".join(map(str, folders))
        console.print(Text(visible(f"Results are in {where}. View them in TensorBoard:")))
        look = shell.run("view", folders[0], "--all")
        console.print(Text(f"  {look}"), style="cyan", soft_wrap=True)  # it is to be pasted
        ranked = [evidence for evidence in groups if evidence.rows]
        if len(ranked) == 1 and math.isfinite(val_loss(chosen := ranked[0].chosen)):
            which = "recommended" if ranked[0].recommended is not None else "best"
            console.print(Text(f"Predict with the {which} run:"))
            use = shell.run("predict", "PHOTO.jpg", "--run", chosen.directory)
            console.print(Text(f"  {use}"), style="cyan", soft_wrap=True)
