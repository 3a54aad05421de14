"""The leaderboard in the terminal: finished runs, best first."""

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
from visionsweep.report.numbers import counted
from visionsweep.report.settings import ALWAYS
from visionsweep.report.unfinished import unfinished_lines
from visionsweep.runs.discovery import FoundRuns, Run, comparable, completed
from visionsweep.text.escaping import markdown, visible
from visionsweep.text.shell import command, script

READING = (
    "★ is recommended: the cheapest run within one standard error of the best. ≈ could be the best "
    "run; the others cannot. Brackets hold 95% confidence intervals (docs/evidence.md)."
)

MOST = 200  # rows of a table that are shown where nobody says how many


def groups_of(runs: Iterable[Run], *, expand_seeds: bool = False) -> list[Evidence]:
    """Return the evidence of each group of runs that were scored on the same validation images."""
    groups = comparable(completed(runs))
    return [gather(group, expand_seeds=expand_seeds) for group in groups]


def as_markdown(rows: Sequence[Row], columns: Sequence[Column]) -> str:
    """Write rows as a Markdown table, in which names are shown as they are."""
    lines = [[markdown(column.title) for column in columns], ["---"] * len(columns)]
    lines += [[_markdown_cell(row, column) for column in columns] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _is_safe(column: Column) -> bool:
    """Return whether the texts of a column hold numbers and marks alone, no names from others."""
    return column.shown is not None and column.key in BY_KEY


def _markdown_cell(row: Row, column: Column) -> str:
    text = column.text(row)
    return text if _is_safe(column) else markdown(text)


def heading(evidence: Evidence) -> str:
    """Return data set, image counts, and weights of a group."""
    first = evidence.rows[0].run.record
    assert first.data is not None
    counts = first.data.counts
    weights = sorted({str(row.run.record.weights) for row in evidence.rows})
    return (
        f"dataset: {first.dataset}; {counts['val']} validation and {counts['test']} test images; "
        f"weights: {', '.join(weights)}"
    )


def _findings(evidence: Evidence, summary: Headline) -> list[str]:
    """Return what else a group shows: images needed, hints, effects, and the learning curve."""
    lines = [summary.more] if summary.more else []
    lines += hints(evidence)
    effects = [
        f"{line.change}: {line.number}"
        + (", not significant" if line.reading == "not significant" else "")
        for line in effect_lines(evidence.effects)
    ]
    if effects:
        lines.append("On validation loss, over the rest of the grid: " + "; ".join(effects) + ".")
    return lines + ([curve_sentence(evidence.curve)] if evidence.curve else [])


def _that_fit(
    rows: Sequence[Row], columns: Sequence[Column], sort: str, width: int
) -> list[Column]:
    """Return the columns that fit into a terminal.

    Left out first are model, data, and epochs if all runs agree in them, then columns by their
    `drop_priority`. The one that the table is sorted by stays, and the run's name if no setting
    tells two rows apart.
    """
    alike = [
        column
        for column in columns
        if column.key in ALWAYS and len(rows) > 1 and len({column.text(row) for row in rows}) == 1
    ]
    by_priority = sorted((c for c in columns if c.drop_priority), key=lambda c: -c.drop_priority)
    settings = [c for c in columns if c.key not in BY_KEY or c.key in ALWAYS]
    told_apart = len({tuple(c.text(row) for c in settings) for row in rows})
    named = told_apart == len(rows) > 1
    kept = list(columns)
    for column in [*alike, *by_priority]:
        if column.key == sort or (column.key == "name" and not named):
            continue
        if _natural_width(rows, kept) <= width:
            break
        kept.remove(column)
    return kept


def _natural_width(rows: Sequence[Row], columns: Sequence[Column]) -> int:
    widths = [max(cell_len(c.title), *(cell_len(_text(c, row)) for row in rows)) for c in columns]
    return sum(widths) + 3 * len(columns) + 1


def _drawn(rows: Sequence[Row], columns: Sequence[Column], title: str) -> Table:
    table = Table(title=Text(visible(title)), title_justify="left", title_style="bold")
    for column in columns:
        right = not isinstance(column.value(rows[0]), str)
        name = Text(visible(column.title))
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for row in rows:
        style = {"recommended": "bold", "worse": "dim"}.get(row.mark, "")
        table.add_row(*(Text(_text(column, row)) for column in columns), style=style)
    return table


def _text(column: Column, row: Row) -> str:
    return visible(column.text(row))


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
    """Print the leaderboard.

    Args:
        folders: where the runs were looked for.
        found: all that was found there.
        groups: what the completed runs prove, `groups_of(found.runs)`.
        sort: key of the column to sort by, which is shown in any case.
        more: columns to show beside it.
        top: how many of the first to show, or None for all, but not more than `MOST`.
        as_text: whether to print Markdown instead of drawn tables.
        everything: whether every run that is not ranked has a line of its own.
        console: where to print.
    """
    console = console or wide_console()
    for evidence in (each for each in groups if each.rows):
        columns = columns_of(evidence.rows, "table", sort=sort, more=more)
        rows = ordered(evidence.rows, sort)[: top or MOST]
        left_out = [] if top else _left_out(len(rows), len(evidence.rows))
        reading = [READING] if len(rows) > 1 else []
        summary = headline(evidence, labels_of(evidence))
        verdict = f"{summary.best} {summary.advice}"
        notes = [*left_out, *reading, *_findings(evidence, summary)]
        if as_text:
            print(f"{markdown(heading(evidence))}\n\n{as_markdown(rows, columns)}\n")
            print("\n\n".join(map(markdown, [verdict, *notes])) + "\n")
        else:
            shown = _that_fit(rows, columns, sort, console.width)
            console.print(Text(visible(verdict)), style="bold")
            console.print(_drawn(rows, shown, heading(evidence)))
            for line in [*_no_room(columns, shown), *notes]:
                console.print(Text(visible(line)), style="dim" if line is READING else "")
            console.print()
    for line in _in_parts(found.runs):
        console.print(Text(visible(line)))
    broken = [line for evidence in groups for line in evidence.passed_over]
    found = replace(found, skipped=[*found.skipped, *broken])
    for entry in unfinished_lines(found, folders, everything=everything):
        console.print(entry)
    if not found.runs:
        where = visible(", ".join(map(str, folders)))
        console.print(Text(f"No runs under {where}. Start one: python src/train.py"))
    elif not as_text:
        where = " ".join(map(str, folders))
        console.print(Text(visible(f"Results are in {where}. View them in TensorBoard:")))
        look = command("python", script("view.py"), folders[0], "--all")
        console.print(Text(f"  {look}"), style="cyan", soft_wrap=True)  # it is to be pasted


def _in_parts(runs: Iterable[Run]) -> list[str]:
    """Return one line per run whose batches did not fit into device memory."""
    lines = []
    for run in runs:
        known = run.record
        if known.images_at_once is not None:
            lines.append(
                f"{known.name}: device memory held {counted(known.images_at_once, 'image')} at "
                f"once; larger batches ({known.config['batch_size']}) were computed in parts."
            )
    return lines


def _no_room(columns: Sequence[Column], shown: Sequence[Column]) -> list[str]:
    """Return a line that names the columns that were left out, if any."""
    missing = [column.title for column in columns if column not in shown]
    if not missing:
        return []
    names = ", ".join(missing)
    return [f"Columns left out: {names}. A wider terminal, --markdown, or --csv shows them."]


def _left_out(shown: int, runs: int) -> list[str]:
    """Return a line that says how to see the other rows, if there are any."""
    if shown == runs:
        return []
    return [
        f"The first {shown:,} of {runs:,} runs; all are compared. --top {runs} shows them all, and "
        "--csv prints them for a file."
    ]
