"""The leaderboard's columns: one list for the terminal, Markdown, CSV, and the report."""

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from visionsweep.data.split_names import CROSS_FIT
from visionsweep.report import numbers
from visionsweep.report.column_values import (
    MARKS,
    NAN,
    Column,
    Value,
    accuracy_text,
    compared,
    config_value,
    difference,
    difference_text,
    epochs_of,
    epochs_text,
    estimate_of,
    in_billions,
    is_cross_fitted,
    loss_text,
    measured,
    milliseconds,
    model_facts,
    multiply_adds,
    replicates_of,
    saved_epoch,
    score,
    share_text,
    split_digests,
)
from visionsweep.report.evidence import Row
from visionsweep.report.licenses import license_of
from visionsweep.report.settings import ALWAYS, settings_of
from visionsweep.text.escaping import class_columns, csv_cell

_TABLE: tuple[str, ...] = ("table",)
_PAGE: tuple[str, ...] = ("page",)
_FILE: tuple[str, ...] = ()

# In this order everywhere; settings that were swept follow the epochs.
COLUMNS = (
    Column("mark", "", lambda r: r.mark, lambda r: MARKS[r.mark], views=_TABLE),
    Column("model", "model", config_value("model", "label")),
    Column("data", "data", config_value("data", "label")),
    Column("epochs", "epochs", epochs_of, epochs_text),
    Column(
        "val_loss", "val loss", score("val", "loss"), loss_text("val"),
        heading="validation loss", hint="of the deployed predictor; lower is better",
        estimate=estimate_of("val", "loss"),
        scale="loss",
    ),
    Column(
        "difference", "diff. to best", difference("value"), difference_text, drop_priority=2,
        heading="difference to best", scale="difference",
        hint="in validation loss, on the same images; above zero is worse; 95% for all together",
        estimate=lambda r: None if r.comparison is None else r.comparison.difference,
    ),
    Column(
        "val_accuracy", "val acc", score("val", "accuracy"), accuracy_text("val"),
        descending=True, drop_priority=1, heading="validation accuracy",
        hint="share of images predicted correctly",
        estimate=estimate_of("val", "accuracy"), percent=True,
    ),
    Column(
        "test_loss", "test loss", score("test", "loss"), loss_text("test"), drop_priority=6,
        views=_TABLE,
    ),
    Column(
        "test_accuracy", "test acc", score("test", "accuracy"), accuracy_text("test"),
        descending=True, drop_priority=3, heading="test accuracy",
        hint="share of test images predicted correctly", estimate=estimate_of("test", "accuracy"),
        percent=True,
    ),
    Column(
        "parameters", "parameters", lambda r: model_facts(r).parameters,
        lambda r: f"{model_facts(r).parameters:,}", hint="of the whole model", views=_PAGE,
    ),
    Column(
        "multiply_adds", "GMACs", multiply_adds, in_billions, drop_priority=8, sparse=True,
        heading="multiply-adds", hint="billions per image, in convolutions and matrix products",
    ),
    Column(
        "milliseconds", "ms/image", milliseconds,
        lambda r: "" if math.isnan(milliseconds(r)) else f"{milliseconds(r):.1f}",
        drop_priority=5, heading="ms per image", hint="forward pass on one core of a CPU",
    ),
    Column(
        "test_macro_f1", "test F1", measured("test", "macro_f1"), descending=True,
        heading="test macro F1", hint="mean over classes of the F1 score; 1 is best",
        estimate=estimate_of("test", "macro_f1"), views=_PAGE,
    ),
    Column(
        "test_ece", "test ECE", measured("test", "ece"), heading="test ECE",
        hint="expected calibration error, |confidence - accuracy|; biased upward with few images",
        estimate=estimate_of("test", "ece"), views=_PAGE,
    ),
    Column(
        "trainable", "trainable", lambda r: model_facts(r).trainable,
        lambda r: f"{model_facts(r).trainable:,}", drop_priority=9, views=_TABLE,
    ),
    Column("license", "license", license_of, hint="of the weights", views=_PAGE, sparse=True),
    Column(
        "seconds", "seconds", lambda r: r.run.record.seconds["total"],
        lambda r: f"{r.run.record.seconds['total']:.1f}", drop_priority=7, views=_TABLE,
    ),
    Column(
        "replicates", "replicates", lambda r: replicates_of(r.run.record),
        hint="heads trained from different seeds, whose mean prediction is scored", views=_PAGE,
    ),
    Column(
        "name", "run", lambda r: r.run.record.name, drop_priority=4, hint="name of its directory"
    ),
    Column("saved_epoch", "", saved_epoch, views=_FILE),
    Column("repeats", "", lambda r: max(1, len(r.runs)), views=_FILE),
    Column("val_loss_low", "", measured("val", "loss", "low"), views=_FILE),
    Column("val_loss_high", "", measured("val", "loss", "high"), views=_FILE),
    Column("difference_low", "", difference("low"), views=_FILE),
    Column("difference_high", "", difference("high"), views=_FILE),
    Column("difference_error", "", compared("error"), views=_FILE),
    Column("training_error", "", compared("training_error"), views=_FILE),
    Column("p_holm", "", compared("p"), views=_FILE),
    Column("test_accuracy_low", "", measured("test", "accuracy", "low"), views=_FILE),
    Column("test_accuracy_high", "", measured("test", "accuracy", "high"), views=_FILE),
    Column(
        "val_macro_f1", "val F1", measured("val", "macro_f1"), share_text("val", "macro_f1"),
        descending=True, views=_FILE,
    ),
    Column("val_ece", "val ECE", measured("val", "ece"), views=_FILE),
    *(
        Column(
            f"{split}_{metric}", f"{split} {title}", measured(split, metric),
            share_text(split, metric), descending=True, views=_FILE, sparse=True,
        )
        for metric, title in (
            ("balanced_accuracy", "balanced acc"), ("auroc", "AUROC"),
            ("average_precision", "AP"), ("top5_accuracy", "top-5 acc"),
        )
        for split in ("val", "test")
    ),
    Column("dataset", "", lambda r: str(r.run.record.dataset), views=_FILE),
    Column("weights", "", lambda r: str(r.run.record.weights), views=_FILE),
    Column("evidence", "", lambda r: CROSS_FIT if is_cross_fitted(r) else "holdout", views=_FILE),
    Column("validation_images", "", lambda r: split_digests(r)["val"], views=_FILE),
    Column("directory", "", lambda r: str(r.run.directory), views=_FILE),
)  # fmt: skip
BY_KEY = {column.key: column for column in COLUMNS}


def column_key(name: str) -> str:
    """Return the key of the column to sort by: `balanced_accuracy` is that of validation."""
    return f"val_{name}" if name not in BY_KEY and f"val_{name}" in BY_KEY else name


def swept_columns(rows: Sequence[Row]) -> list[Column]:
    """Return a column for each swept setting other than model, data, and epochs.

    Args:
        rows: rows of all runs of a group, at least one.
    """
    settings = settings_of([row.run for row in rows])
    given = {row.run.directory: each for row, each in zip(rows, settings, strict=True)}
    swept = dict.fromkeys(key for each in settings for key in each if key not in ALWAYS)
    return [_swept(key, given) for key in swept]


def _swept(key: str, given: Mapping[Path, Mapping[str, Any]]) -> Column:
    def value(row: Row) -> Value:
        found = given[row.run.directory].get(key, NAN)  # without effect on this run
        return found if isinstance(found, int | float) else numbers.setting(found)

    def text(row: Row) -> str:
        return numbers.setting(value(row)) if key in given[row.run.directory] else ""

    return Column(key, key, value, text)


def columns_of(
    rows: Sequence[Row], view: str, *, sort: str = "", more: Sequence[Column] = ()
) -> list[Column]:
    """Return the columns that a view shows of some rows, swept settings included.

    Args:
        rows: rows of all runs of a group, at least one.
        view: `table` or `page`.
        sort: key of a column to show in any case.
        more: columns to show after that one.
    """
    place = 1 + max(COLUMNS.index(BY_KEY[key]) for key in ALWAYS)
    columns = [*COLUMNS[:place], *swept_columns(rows), *COLUMNS[place:]]
    shown = [column for column in columns if view in column.views and column.is_shown(rows)]
    if sort in BY_KEY and BY_KEY[sort] not in shown:
        shown.insert(shown.index(BY_KEY["val_accuracy"]) + 1, BY_KEY[sort])
    after = 1 + max((k for k, column in enumerate(shown) if column.key == sort), default=len(shown))
    shown = [*shown[:after], *(c for c in more if view in c.views), *shown[after:]]
    return [_cross_fitted(c) for c in shown] if is_cross_fitted(rows[0]) else shown


def _cross_fitted(column: Column) -> Column:
    """Return a column under the name that it has where scores are cross-fitted."""
    return replace(
        column,
        title=re.sub("^val ", "cross-fit ", column.title),
        heading=column.heading.replace("validation", "cross-fitted"),
        hint=column.hint.replace("validation", "cross-fitted"),
    )


def ordered(rows: Sequence[Row], sort: str = "val_loss") -> list[Row]:
    """Return rows sorted by a column, ties by validation loss; rows without a number come last.

    Args:
        rows: rows of all runs of a group, lowest validation loss first.
        sort: key of a column; rows stay in order if these runs do not have it.
    """
    columns = BY_KEY if sort in BY_KEY else {c.key: c for c in swept_columns(rows)}
    if (column := columns.get(sort)) is None:
        return list(rows)
    without = [row for row in rows if column.value(row) != column.value(row)]
    numbered = [row for row in rows if column.value(row) == column.value(row)]
    return sorted(numbered, key=column.order, reverse=column.descending) + without


def csv_columns(rows: Sequence[Row], more: Sequence[Column] = ()) -> dict[str, Column]:
    """Return the columns of a file by key, those of `more` last; arguments as of `as_csv`."""
    columns = {key: column for key, column in BY_KEY.items() if column.is_shown(rows)}
    return columns | {column.key: column for column in more if column.key not in BY_KEY}


def as_csv(rows: Sequence[Row], more: Sequence[Column] = ()) -> str:
    """Return rows as CSV, unrounded.

    Args:
        rows: rows of the leaderboard.
        more: further columns, of swept settings for example.
    """
    columns = csv_columns(rows, more)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(class_columns(list(columns), ()))
    table.writerows([csv_cell(column.value(row)) for column in columns.values()] for row in rows)
    return text.getvalue()
