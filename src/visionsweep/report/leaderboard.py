"""The leaderboard: finished runs in a table, best first by validation loss."""

import csv
import io
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from visionsweep.tracking.runs import Run, completed, find_runs


@dataclass(frozen=True)
class Column:
    """A column of the leaderboard.

    Attributes:
        key: its name on the command line and in CSV.
        title: its heading.
        value: what a run has there, a number or a text.
        shown: how the value is written for people.
        descending: whether the largest comes first when it is sorted by.
    """

    key: str
    title: str
    value: Callable[[Run], float | str]
    shown: Callable[[float | str], str] = str
    descending: bool = False


def _final(split: str, name: str) -> Callable[[Run], float | str]:
    def value(run: Run) -> float:
        assert run.record.metrics is not None
        return float(getattr(getattr(run.record.metrics.final, split), name))

    return value


def _loss(value: float | str) -> str:
    return f"{value:.4f}"


def _percent(value: float | str) -> str:
    return f"{100 * float(value):.1f} %"


def _thousands(value: float | str) -> str:
    return f"{value:,}"


COLUMNS = (
    Column("model", "model", lambda r: r.record.config["model"]["label"]),
    Column("data", "data", lambda r: r.record.config["data"]["label"]),
    Column("epochs", "epochs", lambda r: r.record.config["epochs"]),
    Column("val_loss", "val loss", _final("val", "loss"), _loss),
    Column("val_accuracy", "val acc", _final("val", "accuracy"), _percent, descending=True),
    Column("test_loss", "test loss", _final("test", "loss"), _loss),
    Column("test_accuracy", "test acc", _final("test", "accuracy"), _percent, descending=True),
    Column("trainable", "trainable", lambda r: r.record.model.trainable, _thousands),  # type: ignore[union-attr]
    Column("seconds", "seconds", lambda r: r.record.seconds["total"], lambda v: f"{v:.1f}"),
    Column("name", "run", lambda r: r.record.name),
)
# In files, where there is room.
MORE_COLUMNS = (
    Column("dataset", "dataset", lambda r: str(r.record.dataset)),
    Column("weights", "weights", lambda r: str(r.record.weights)),
    # Equal for runs that can be compared.
    Column("validation_images", "validation images", lambda r: r.record.data.digests["val"]),  # type: ignore[union-attr]
    Column("directory", "directory", lambda r: str(r.directory)),
)
BY_KEY = {column.key: column for column in (*COLUMNS, *MORE_COLUMNS)}


def ranked(runs: Sequence[Run], sort: str = "val_loss") -> list[Run]:
    """Return the completed runs in the order of a column, ties by validation loss.

    Those that diverged have no number there and come last.
    """
    column = BY_KEY[sort]
    finished = completed(runs)
    diverged = [run for run in finished if column.value(run) != column.value(run)]
    numbered = [run for run in finished if column.value(run) == column.value(run)]
    return sorted(numbered, key=column.value, reverse=column.descending) + diverged


def comparable(runs: Sequence[Run]) -> list[list[Run]]:
    """Group runs that were scored on the same validation images; only those can be ranked."""
    groups: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        assert run.record.data is not None
        groups[run.record.data.digests["val"]].append(run)
    return list(groups.values())


def as_csv(runs: Sequence[Run]) -> str:
    """Write runs as CSV, unrounded."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(BY_KEY)
    table.writerows([column.value(run) for column in BY_KEY.values()] for run in runs)
    return text.getvalue()


def as_markdown(runs: Sequence[Run]) -> str:
    """Write runs as a Markdown table."""
    rows = [[column.title for column in COLUMNS], ["---"] * len(COLUMNS)]
    rows += [
        [column.shown(column.value(run)).replace("|", r"\|") for column in COLUMNS] for run in runs
    ]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _heading(runs: Sequence[Run]) -> str:
    first = runs[0].record
    assert first.data is not None
    counts = first.data.counts
    weights = sorted({str(run.record.weights) for run in runs})
    return (
        f"dataset: {first.dataset}; {counts['val']} validation and {counts['test']} test images; "
        f"weights: {', '.join(weights)}"
    )


def _table(runs: Sequence[Run]) -> Table:
    table = Table(title=escape(_heading(runs)), title_justify="left", title_style="bold")
    for column in COLUMNS:
        numeric = not isinstance(column.value(runs[0]), str)
        table.add_column(column.title, justify="right" if numeric else "left", overflow="fold")
    for run in runs:
        table.add_row(*(escape(column.shown(column.value(run))) for column in COLUMNS))
    return table


def show(
    folders: Sequence[Path],
    *,
    sort: str = "val_loss",
    top: int | None = None,
    markdown: bool = False,
    console: Console | None = None,
) -> int:
    """Print the leaderboard of the runs below some folders.

    Args:
        folders: where to look.
        sort: key of the column to sort by.
        top: how many of the first to show, or None for all.
        markdown: whether to print Markdown instead of drawn tables.
        console: where to print.

    Returns:
        How many completed runs there are.
    """
    console = console or wide_console()
    found = find_runs(folders)
    finished = ranked(found.runs, sort)
    for group in comparable(finished):
        if markdown:
            print(f"{_heading(group)}\n\n{as_markdown(group[:top])}\n")
        else:
            console.print(_table(group[:top]))
    for run in found.runs:
        if run.record.status != "completed":
            failure = run.record.failure
            reason = f"{failure.type}: {failure.message}" if failure else "no reason given"
            console.print(
                f"[bold red]{run.record.status}[/] {escape(run.record.name)}: {escape(reason)}"
            )
    for line in found.passed_over:
        console.print(f"[yellow]passed over[/] {escape(line)}")
    if not found.runs:
        console.print(f"No runs under {', '.join(map(str, folders))}.")
    elif not markdown:
        where = " ".join(map(str, folders))
        console.print(f"Everything lies in {escape(where)}. Look at it in TensorBoard:")
        console.print(f"  tensorboard --logdir {escape(str(folders[0]))}", style="cyan")
    return len(finished)


def wide_console() -> Console:
    """Return a console as wide as the terminal, or wide enough where there is none."""
    console = Console()
    return console if console.is_terminal else Console(width=200)
