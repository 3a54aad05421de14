"""Values of the leaderboard's columns: how each is read from a run and written."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from visionsweep.analysis.intervals import Estimate
from visionsweep.data.split_names import CROSS_FIT
from visionsweep.report import numbers, recommendation
from visionsweep.report.evidence import Row
from visionsweep.runs.record import ModelFacts, RecordSummary
from visionsweep.runs.scores import Measure

Value = float | str
NAN = math.nan


@dataclass(frozen=True)
class Column:
    """A column of the leaderboard, in the terminal, Markdown, CSV, and the report.

    Attributes:
        key: name on the command line and in CSV.
        title: heading in the terminal and in Markdown.
        value: value of a row, unrounded.
        shown: text of a row in the terminal and in Markdown; by default the value.
        descending: whether larger values are better, and sorted first.
        drop_priority: columns with the highest are left out first if a terminal is too narrow; 0 is
            never left out.
        heading: heading in the report; by default the title.
        hint: meaning of the column, for the report.
        estimate: value with its confidence interval; the report shows both.
        percent: whether the report shows the estimate in percent.
        scale: name of the scale on which the report draws the estimate; empty if it is not drawn.
        views: of `table` (terminal and Markdown) and `page`; CSV has every column.
        sparse: True to leave the column out if no row has a value in it.
    """

    key: str
    title: str
    value: Callable[[Row], Value]
    shown: Callable[[Row], str] | None = None
    descending: bool = False
    drop_priority: int = 0
    heading: str = ""
    hint: str = ""
    estimate: Callable[[Row], numbers.Between | None] | None = None
    percent: bool = False
    scale: str = ""
    views: tuple[str, ...] = ("table", "page")
    sparse: bool = False

    def is_shown(self, rows: Sequence[Row]) -> bool:
        """Return whether the column says something of some rows."""
        return not self.sparse or self.has_values(rows)

    def has_values(self, rows: Sequence[Row]) -> bool:
        """Return whether some row has a value."""
        return any(value == value and value != "" for value in map(self.value, rows))

    def text(self, row: Row) -> str:
        """Return the text of a row."""
        return str(self.value(row)) if self.shown is None else self.shown(row)

    def order(self, row: Row) -> tuple[bool, Value]:
        """Return the sort key of a row: numbers before texts."""
        value = self.value(row)
        return isinstance(value, str), value


def score(split: str, name: str) -> Callable[[Row], Value]:
    """Return a getter of a score of the deployed predictor; in older records of the last epoch."""

    def value(row: Row) -> float:
        measure = _measure(row, split, name)
        if measure is not None:
            return measure.value
        metrics = row.run.record.metrics
        assert metrics is not None
        return float(getattr(getattr(metrics.final, split), name))

    return value


def _measure(row: Row, split: str, name: str) -> Measure | None:
    return row.scores.get(split, {}).get(name)


def measured(split: str, name: str, end: str = "value") -> Callable[[Row], Value]:
    """Return a getter of a metric, or of an end of its interval; NaN in older records."""

    def value(row: Row) -> float:
        found = _measure(row, split, name)
        return NAN if found is None else float(getattr(found, end))

    return value


def loss_text(split: str) -> Callable[[Row], str]:
    """Return a function that formats a loss with its interval."""

    def shown(row: Row) -> str:
        found = _measure(row, split, "loss")
        text = numbers.decimal(float(score(split, "loss")(row)), 4)
        return text if found is None else f"{text} {numbers.interval(found, 2)}".rstrip()

    return shown


def accuracy_text(split: str) -> Callable[[Row], str]:
    """Return a function that formats an accuracy with its interval."""

    def shown(row: Row) -> str:
        found = _measure(row, split, "accuracy")
        text = f"{100 * float(score(split, 'accuracy')(row)):.1f}%"
        if found is None:
            return text
        return f"{text} [{100 * found.low:.0f}, {100 * found.high:.0f}]"

    return shown


def share_text(split: str, metric: str) -> Callable[[Row], str]:
    """Return a function that formats a share of 1 with its interval; empty in older records."""

    def shown(row: Row) -> str:
        measure = _measure(row, split, metric)
        return "" if measure is None else numbers.with_interval(measure)

    return shown


def difference(end: str) -> Callable[[Row], Value]:
    """Return a getter of the difference to the best run, or of an end of its interval."""

    def value(row: Row) -> float:
        return NAN if row.comparison is None else float(getattr(row.comparison.difference, end))

    return value


def compared(name: str) -> Callable[[Row], Value]:
    """Return a getter of a number of the comparison with the best run."""

    def value(row: Row) -> float:
        return NAN if row.comparison is None else float(getattr(row.comparison, name))

    return value


def difference_text(row: Row) -> str:
    """Format the difference to the best run with its interval."""
    if row.comparison is None:
        return "?" if row.mark == "unknown" else ""
    return numbers.with_interval(row.comparison.difference, signed=True)


def model_facts(row: Row) -> ModelFacts:
    """Return the model of a completed run."""
    assert row.run.record.model is not None
    return row.run.record.model


def multiply_adds(row: Row) -> Value:
    """Return the multiply-adds per image; NaN in older records."""
    return model_facts(row).multiply_adds or NAN


def in_billions(row: Row) -> str:
    """Format the multiply-adds per image in billions, with three digits."""
    count = model_facts(row).multiply_adds
    return "" if count is None else f"{count / 1e9:.2f}" if count >= 1e8 else f"{count / 1e9:.3f}"


def milliseconds(row: Row) -> float:
    """Return the time per image in ms; NaN if it was not measured."""
    measured_time = recommendation.milliseconds(row.run)
    return NAN if measured_time is None else measured_time


def config_value(*keys: str) -> Callable[[Row], Value]:
    """Return a getter of a setting by the parts of its key."""

    def value(row: Row) -> Value:
        found: Any = row.run.record.config
        for key in keys:
            found = found[key]
        return found  # type: ignore[no-any-return]

    return value


def is_cross_fitted(row: Row) -> bool:
    """Return whether a run is compared on cross-fitted scores."""
    return row.run.record.evidence == CROSS_FIT


def epochs_of(row: Row) -> Value:
    """Return the number of epochs; NaN if the head was solved."""
    return NAN if row.run.record.is_solved else config_value("epochs")(row)


def saved_epoch(row: Row) -> Value:
    """Return the epoch whose weights are saved; NaN if the head was solved."""
    metrics = row.run.record.metrics
    return NAN if row.run.record.is_solved or metrics is None else metrics.final.epoch


def epochs_text(row: Row) -> str:
    """Return the number of epochs, or `3 of 10` if another than the last one was saved."""
    saved, epochs = saved_epoch(row), epochs_of(row)
    if row.run.record.is_solved:
        return "solved"
    return f"{epochs}" if saved == epochs else f"{saved} of {epochs}"


def split_digests(row: Row) -> dict[str, str]:
    """Return the digest of the images of each split."""
    assert row.run.record.data is not None
    return row.run.record.data.digests


def estimate_of(split: str, metric: str) -> Callable[[Row], numbers.Between | None]:
    """Return a getter of a metric with its interval, which is NaN in older records."""

    def estimate(row: Row) -> numbers.Between:
        measure = _measure(row, split, metric)
        if measure is not None:
            return measure
        assert row.run.record.metrics is not None
        scores = getattr(row.run.record.metrics.final, split)
        return Estimate(getattr(scores, metric, NAN), NAN, NAN)

    return estimate


def replicates_of(record: RecordSummary) -> int:
    """Return how many replicates a completed run has."""
    return max([1, *(len(each.replicates) for each in record.evaluation.get("val", {}).values())])


MARKS = {"recommended": "★", "possible": "≈", "worse": "", "unknown": "?"}
