"""The leaderboard in the terminal: finished runs, and which of them cannot be told apart."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from shlex import quote

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from visionsweep.report.columns import Column, ordered, table_columns
from visionsweep.report.effects import effect_lines
from visionsweep.report.evidence import Evidence, Row, gather
from visionsweep.report.headline import curve_sentence, headline, labels_of
from visionsweep.report.numbers import counted
from visionsweep.report.settings import ALWAYS
from visionsweep.tracking.folders import half_done
from visionsweep.tracking.runs import Found, Run, comparable, completed

READING = (
    "How to read it: ★ has the lowest validation loss, ≈ cannot be told from it on these images; "
    "the others are worse by more than chance explains. [ , ] are 95 % intervals: "
    "docs/evidence.md"
)

MOST = 200  # rows of a table that are shown where nobody says how many


def groups_of(runs: Iterable[Run]) -> list[Evidence]:
    """Return the evidence of each group of runs that were scored on the same validation images."""
    return [gather(group) for group in comparable(completed(runs))]


def as_markdown(rows: Sequence[Row], columns: Sequence[Column]) -> str:
    """Write rows as a Markdown table."""
    lines = [[column.title for column in columns], ["---"] * len(columns)]
    lines += [[column.text(row).replace("|", r"\|") for column in columns] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def heading(evidence: Evidence) -> str:
    """Say what the runs of a group were scored on, and what their backbones know."""
    first = evidence.rows[0].run.record
    assert first.data is not None
    counts = first.data.counts
    weights = sorted({str(row.run.record.weights) for row in evidence.rows})
    return (
        f"dataset: {first.dataset}; {counts['val']} validation and {counts['test']} test images; "
        f"weights: {', '.join(weights)}"
    )


def findings(evidence: Evidence) -> list[str]:
    """Say in sentences what the table of a group means."""
    said = headline(evidence, labels_of(evidence))
    lines = [f"{said.best} {said.advice}"]
    if evidence.cheapest is not None and len(evidence.rows) > 1:
        lines.append(f"{evidence.cheapest.record.name}: {_cost(evidence.cheapest)}.")
    lines += [said.more] if said.more else []
    effects = [
        f"{line.change}: {line.number}"
        + (", not distinguishable" if line.reading == "not distinguishable" else "")
        for line in effect_lines(evidence.effects)
    ]
    if effects:
        lines.append("On validation loss, over the rest of the grid: " + "; ".join(effects) + ".")
    return lines + ([curve_sentence(evidence.curve)] if evidence.curve else [])


def _cost(run: Run) -> str:
    model = run.record.model
    assert model is not None
    said = f"{model.parameters:,} parameters"
    if model.milliseconds is None:
        return said
    return f"{said}, {model.milliseconds:.1f} ms an image on one core of a CPU"


def _that_fit(
    rows: Sequence[Row], columns: Sequence[Column], sort: str, width: int
) -> list[Column]:
    """Leave out what a terminal has no room for.

    First the model, the data and the epochs where all runs have the same, then by `spare`; what
    the table is sorted by stays.
    """
    alike = [
        column
        for column in columns
        if column.key in ALWAYS and len(rows) > 1 and len({column.text(row) for row in rows}) == 1
    ]
    by_worth = sorted((c for c in columns if c.spare), key=lambda column: -column.spare)
    kept = list(columns)
    for column in (c for c in [*alike, *by_worth] if c.key != sort):
        if _natural_width(rows, kept) <= width:
            break
        kept.remove(column)
    return kept


def _natural_width(rows: Sequence[Row], columns: Sequence[Column]) -> int:
    widths = [max(len(c.title), *(len(c.text(row)) for row in rows)) for c in columns]
    return sum(widths) + 3 * len(columns) + 1


def _drawn(rows: Sequence[Row], columns: Sequence[Column], title: str) -> Table:
    table = Table(title=escape(title), title_justify="left", title_style="bold")
    for column in columns:
        right = not isinstance(column.value(rows[0]), str)
        table.add_column(column.title, justify="right" if right else "left", overflow="fold")
    for row in rows:
        style = "" if row.mark != "behind" else "dim"
        table.add_row(*(escape(column.text(row)) for column in columns), style=style)
    return table


def show(
    folders: Sequence[Path],
    found: Found,
    groups: Sequence[Evidence],
    *,
    sort: str = "val_loss",
    top: int | None = None,
    markdown: bool = False,
    console: Console | None = None,
) -> None:
    """Print the leaderboard.

    Args:
        folders: where the runs were looked for.
        found: all that was found there.
        groups: what the completed runs prove, `groups_of(found.runs)`.
        sort: key of the column to sort by.
        top: how many of the first to show, or None for all, but not more than `MOST`.
        markdown: whether to print Markdown instead of drawn tables.
        console: where to print.
    """
    console = console or wide_console()
    for evidence in groups:
        columns = table_columns(evidence.rows)
        rows = ordered(evidence.rows, sort)[: top or MOST]
        left_out = [] if top else _left_out(len(rows), len(evidence.rows))
        reading = [READING] if len(rows) > 1 else []
        said = [*left_out, *reading, *findings(evidence)]
        if markdown:
            print(f"{heading(evidence)}\n\n{as_markdown(rows, columns)}\n")
            print("\n\n".join(said) + "\n")
        else:
            shown = _that_fit(rows, columns, sort, console.width)
            console.print(_drawn(rows, shown, heading(evidence)))
            said = [*_no_room(columns, shown), *said]
            for line in said:
                console.print(escape(line), style="dim" if line is READING else "")
            console.print()
    for line in _in_parts(found.runs):
        console.print(escape(line))
    for run in found.unfinished:
        style = "bold yellow" if run.record.status == "running" else "bold red"
        console.print(
            f"[{style}]{run.record.status}[/] {escape(run.record.name)}"
            f"{escape(_place(run, folders))}: {escape(_reason(run))}"
        )
    for run, original in found.counted_already:
        console.print(
            f"[dim]counted once[/] {escape(str(run.directory))}: the same numbers as "
            f"{escape(str(original.directory))}"
        )
    for line in found.passed_over:
        console.print(f"[yellow]passed over[/] {escape(line)}")
    if not found.runs:
        console.print(f"No runs under {', '.join(map(str, folders))}.")
    elif not markdown:
        where = " ".join(map(str, folders))
        console.print(f"Everything lies in {escape(where)}. Look at it in TensorBoard:")
        console.print(f"  tensorboard --logdir {escape(quote(str(folders[0])))}", style="cyan")


def _place(run: Run, folders: Sequence[Path]) -> str:
    """Say where a run lies, unless its name in the folder that was asked for says so."""
    plain = run.directory.parent in folders and run.directory.name == run.record.name
    return "" if plain else f" in {run.directory}"


def _reason(run: Run) -> str:
    failure = run.record.failure
    if failure is None:
        return "no reason given"
    if run.record.status == "failed":
        return f"{failure.type}: {failure.message}"
    said, epochs = failure.message or failure.type, len(run.history)
    said += f" after {counted(epochs, 'epoch')}" if epochs else ""
    if run.record.status == "running":
        return said
    next_time = "goes on after its checkpoint" if half_done(run.directory) else "begins anew"
    return f"{said}; {next_time}"


def _in_parts(runs: Iterable[Run]) -> list[str]:
    """Name the runs whose batches device memory did not hold."""
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
    """Name the columns that a terminal had no room for."""
    missing = [column.title for column in columns if column not in shown]
    if not missing:
        return []
    return [f"No room for {', '.join(missing)}: a wider terminal, --markdown or --csv shows all."]


def _left_out(shown: int, runs: int) -> list[str]:
    """Say that a table goes on, if it does."""
    if shown == runs:
        return []
    return [
        f"The first {shown:,} of {runs:,} runs; all are compared. With --top {runs} the table "
        "shows them all, and --csv prints them all for a file."
    ]


def wide_console() -> Console:
    """Return a console as wide as the terminal, or wide enough where there is none."""
    console = Console(highlight=False)
    if console.is_terminal or "COLUMNS" in os.environ:
        return console
    return Console(highlight=False, width=200)
