"""The columns of the leaderboard: what each says of a run, and how it sorts."""

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visionsweep.report import numbers
from visionsweep.report.evidence import Row
from visionsweep.report.settings import ALWAYS, settings_of
from visionsweep.runs.record import ModelFacts
from visionsweep.runs.scores import Measure
from visionsweep.text.escaping import class_columns, csv_cell

Value = float | str
NAN = math.nan


@dataclass(frozen=True)
class Column:
    """A column of the leaderboard.

    Attributes:
        key: its name on the command line and in CSV.
        title: its heading.
        value: what a run has there, a number or a text.
        text: how it is written for people.
        descending: whether the largest comes first when it is sorted by.
        spare: the higher, the sooner it is left out of a terminal too narrow for all; 0 never is.
    """

    key: str
    title: str
    value: Callable[[Row], Value]
    shown: Callable[[Row], str] | None = None
    descending: bool = False
    spare: int = 0

    @property
    def ours(self) -> bool:
        """Whether its texts are made of numbers and marks alone, and hold no name."""
        return self.shown is not None and self.key in BY_KEY

    def text(self, row: Row) -> str:
        """Write what a run has there."""
        return str(self.value(row)) if self.shown is None else self.shown(row)

    def order(self, row: Row) -> tuple[bool, Value]:
        """Return what it sorts by: numbers before texts."""
        value = self.value(row)
        return isinstance(value, str), value


def _final(split: str, name: str) -> Callable[[Row], Value]:
    def value(row: Row) -> float:
        metrics = row.run.record.metrics
        assert metrics is not None
        return float(getattr(getattr(metrics.final, split), name))

    return value


def _measure(row: Row, split: str, name: str) -> Measure | None:
    return row.run.record.evaluation.get(split, {}).get(name)


def _measured(split: str, name: str, end: str = "value") -> Callable[[Row], Value]:
    def value(row: Row) -> float:
        found = _measure(row, split, name)
        return NAN if found is None else float(getattr(found, end))

    return value


def _loss(split: str) -> Callable[[Row], str]:
    def shown(row: Row) -> str:
        found = _measure(row, split, "loss")
        text = numbers.decimal(float(_final(split, "loss")(row)), 4)
        return text if found is None else f"{text} {numbers.interval(found, 2)}".rstrip()

    return shown


def _accuracy(split: str) -> Callable[[Row], str]:
    def shown(row: Row) -> str:
        found = _measure(row, split, "accuracy")
        text = f"{100 * float(_final(split, 'accuracy')(row)):.1f} %"
        if found is None:
            return text
        return f"{text} [{100 * found.low:.0f}, {100 * found.high:.0f}]"

    return shown


def _difference(end: str) -> Callable[[Row], Value]:
    def value(row: Row) -> float:
        return NAN if row.comparison is None else float(getattr(row.comparison.difference, end))

    return value


def _shown_difference(row: Row) -> str:
    if row.comparison is None:
        return "" if row.mark == "leader" else "?"
    return numbers.with_interval(row.comparison.difference, signed=True)


def _model(row: Row) -> ModelFacts:
    assert row.run.record.model is not None
    return row.run.record.model


def _milliseconds(row: Row) -> float:
    found = _model(row).milliseconds
    return NAN if found is None else found


def _config(*keys: str) -> Callable[[Row], Value]:
    def value(row: Row) -> Value:
        found: Any = row.run.record.config
        for key in keys:
            found = found[key]
        return found  # type: ignore[no-any-return]

    return value


_MARKS = {"leader": "★", "level": "≈", "behind": "", "unknown": "?"}

COLUMNS = (
    Column("mark", "", lambda r: r.mark, lambda r: _MARKS[r.mark]),
    Column("model", "model", _config("model", "label")),
    Column("data", "data", _config("data", "label")),
    Column("epochs", "epochs", _config("epochs")),
    Column("val_loss", "val loss", _final("val", "loss"), _loss("val")),
    Column("difference", "to the leader", _difference("value"), _shown_difference, spare=3),
    Column(
        "val_accuracy", "val acc", _final("val", "accuracy"), _accuracy("val"),
        descending=True, spare=2,
    ),
    Column("test_loss", "test loss", _final("test", "loss"), _loss("test"), spare=5),
    Column(
        "test_accuracy", "test acc", _final("test", "accuracy"), _accuracy("test"),
        descending=True, spare=1,
    ),
    Column(
        "milliseconds", "ms/image", _milliseconds,
        lambda r: "" if math.isnan(_milliseconds(r)) else f"{_milliseconds(r):.1f}", spare=4,
    ),
    Column(
        "trainable", "trainable", lambda r: _model(r).trainable,
        lambda r: f"{_model(r).trainable:,}", spare=7,
    ),
    Column(
        "seconds", "seconds", lambda r: r.run.record.seconds["total"],
        lambda r: f"{r.run.record.seconds['total']:.1f}", spare=6,
    ),
    Column("name", "run", lambda r: r.run.record.name),
)  # fmt: skip
# In files, where there is room.
MORE_COLUMNS = (
    Column("val_loss_low", "", _measured("val", "loss", "low")),
    Column("val_loss_high", "", _measured("val", "loss", "high")),
    Column("difference_low", "", _difference("low")),
    Column("difference_high", "", _difference("high")),
    Column("p_holm", "", lambda r: NAN if r.comparison is None else r.comparison.p),
    Column("test_accuracy_low", "", _measured("test", "accuracy", "low")),
    Column("test_accuracy_high", "", _measured("test", "accuracy", "high")),
    Column("val_macro_f1", "", _measured("val", "macro_f1"), descending=True),
    Column("test_macro_f1", "", _measured("test", "macro_f1"), descending=True),
    Column("val_ece", "", _measured("val", "ece")),
    Column("test_ece", "", _measured("test", "ece")),
    Column("parameters", "", lambda r: _model(r).parameters),
    Column("replicates", "", lambda r: r.run.record.config.get("replicates") or 1),
    Column("dataset", "", lambda r: str(r.run.record.dataset)),
    Column("weights", "", lambda r: str(r.run.record.weights)),
    # Equal for runs that can be compared.
    Column("validation_images", "", lambda r: r.run.record.data.digests["val"]),  # type: ignore[union-attr]
    Column("directory", "", lambda r: str(r.run.directory)),
)
BY_KEY = {column.key: column for column in (*COLUMNS, *MORE_COLUMNS)}


def swept_columns(rows: Sequence[Row]) -> list[Column]:
    """Return a column for each setting that differs between runs, beside model, data and epochs.

    Args:
        rows: of all the runs, at least one; the columns are for these.
    """
    settings = settings_of([row.run for row in rows])
    given = {row.run.directory: each for row, each in zip(rows, settings, strict=True)}
    return [_swept(key, given) for key in settings[0] if key not in ALWAYS]


def _swept(key: str, given: Mapping[Path, Mapping[str, Any]]) -> Column:
    def value(row: Row) -> Value:
        found = given[row.run.directory][key]
        return found if isinstance(found, int | float) else numbers.setting(found)

    return Column(key, key, value, lambda row: numbers.setting(value(row)))


def table_columns(rows: Sequence[Row]) -> list[Column]:
    """Return the columns of a table of runs: those of every table, and whatever else was swept."""
    place = 1 + max(COLUMNS.index(BY_KEY[key]) for key in ALWAYS)
    return [*COLUMNS[:place], *swept_columns(rows), *COLUMNS[place:]]


def ordered(rows: Sequence[Row], sort: str = "val_loss") -> list[Row]:
    """Return rows in the order of a column, ties by validation loss.

    Those that have no number there, as where training diverged, come last.

    Args:
        rows: of all runs of a group, lowest validation loss first.
        sort: key of a column; one that these runs do not have leaves them as they are.
    """
    columns = BY_KEY if sort in BY_KEY else {c.key: c for c in swept_columns(rows)}
    if (column := columns.get(sort)) is None:
        return list(rows)
    without = [row for row in rows if column.value(row) != column.value(row)]
    numbered = [row for row in rows if column.value(row) == column.value(row)]
    return sorted(numbered, key=column.order, reverse=column.descending) + without


def as_csv(rows: Sequence[Row], more: Sequence[Column] = ()) -> str:
    """Write rows as CSV, unrounded.

    Args:
        rows: the runs.
        more: columns beside those of every file.
    """
    columns = BY_KEY | {column.key: column for column in more if column.key not in BY_KEY}
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(class_columns(list(columns), ()))
    table.writerows([csv_cell(column.value(row)) for column in columns.values()] for row in rows)
    return text.getvalue()
