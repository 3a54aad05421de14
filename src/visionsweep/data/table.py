"""Read a table of images: CSV, TSV, JSON lines, or Parquet, with a row per image."""

import csv
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visionsweep.config.values import TABLE_COLUMNS
from visionsweep.data.layout import split_named
from visionsweep.data.listing import LeftOut
from visionsweep.errors import UserError, nearest
from visionsweep.storage.files import why
from visionsweep.text.paths import as_path, as_text

# Usual names, without case and punctuation. Label Studio exports `image` and `choice`, many of
# Kaggle's competitions have `id` or `image_id` without a suffix.
_NAMES = {
    "path": "path|id|(file|image|img)(path|name|id)?",
    "label": "label|labels|class|classname|category|target|choice|species|breed|diagnosis",
    "split": "split|subset|set|partition",
    "group": "group|groupid",
}
_SUFFIXES = ("", ".jpg", ".jpeg", ".png", ".webp", ".tif", ".JPG")


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        path: the image file.
        label: class name.
        split: `train`, `val`, or `test`; None if the table has no such column.
        group: patient, video, or the like that images have in common; empty without such a column.
    """

    path: Path
    label: str
    split: str | None
    group: str


@dataclass(frozen=True)
class Table:
    """The rows of a table whose images exist, and the others."""

    rows: list[Row]
    left_out: list[LeftOut]


def read_table(file: Path, root: Path, names: Mapping[str, str | None]) -> Table:
    """Read a table of images.

    Args:
        file: `.csv`, `.tsv`, `.jsonl` (or `.ndjson`), or `.parquet`.
        root: folder that paths are relative to; if an image is not there, that of the table.
        names: column of `path`, `label`, `split`, and `group`; None: found by its usual names.

    Raises:
        UserError: if the file cannot be read, a column is missing, or a row contradicts another
            one; it names the row.
    """
    records = list(_records(file))
    if not records:
        raise UserError("holds no rows", where=as_text(file))
    columns = _columns(file, list(records[0][1]), names)
    rows: dict[Path, tuple[str, Row]] = {}
    left_out = []
    for place, record in records:
        text = {key: _text(record.get(column)) for key, column in columns.items()}
        where = f"{as_text(file)}, {place}"
        path = _find(text["path"], (root, file.parent)) if text["path"] else None
        if path is None:
            reason = "no path" if not text["path"] else "no such image"
            left_out.append(LeftOut(root / as_path(text["path"]), f"{reason} ({where})"))
            continue
        if not text["label"]:
            left_out.append(LeftOut(path, f"no label ({where})"))
            continue
        split = _split(text["split"], where) if "split" in columns else None
        row = Row(path, text["label"], split, text.get("group", ""))
        first_place, first = rows.setdefault(path, (place, row))
        if first != row:
            raise UserError(
                f"contradicts {first_place}: {as_text(path)} is {first.label!r} there and "
                f"{row.label!r} here, or in another split or group",
                where=where,
                hint="Give each image one row.",
            )
    if not rows:
        raise UserError(
            f"none of its {len(records)} rows can be used: {left_out[0]}",
            where=as_text(file),
            hint="Name the folder of the images: data.root=FOLDER",
        )
    return Table([row for _, row in rows.values()], left_out)


def _records(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the place and the values of each row."""
    suffix = file.suffix.lower()
    try:
        if suffix == ".parquet":
            rows = _parquet(file).to_pylist()
            yield from ((f"row {number}", row) for number, row in enumerate(rows, 1))
        elif suffix in (".jsonl", ".ndjson"):
            yield from _json_lines(file)
        elif suffix in (".csv", ".tsv"):
            with file.open(encoding="utf-8-sig", newline="") as text:
                start = text.read(10_000)
                text.seek(0)
                first = start.partition("\n")[0]
                by_count = max(",;\t", key=first.count)
                reader = csv.DictReader(text, delimiter="\t" if suffix == ".tsv" else by_count)
                for row in reader:
                    if None in row or None in row.values():
                        what = "more" if None in row else "fewer"
                        raise UserError(
                            f"has {what} values than the header has columns",
                            where=f"{as_text(file)}, line {reader.line_num}",
                        )
                    yield f"line {reader.line_num}", row
        else:
            raise UserError(
                "no table that can be read", where=as_text(file),
                hint="Save it as .csv, .tsv, .jsonl, or .parquet.",
            )  # fmt: skip
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = why(error) if isinstance(error, OSError) else str(error)
        hint = "A text table should be encoded as UTF-8."
        raise UserError(f"cannot be read: {reason}", where=as_text(file), hint=hint) from error


def _json_lines(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    with file.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                what = f"is no JSON: {error}"
                raise UserError(what, where=f"{as_text(file)}, line {number}") from error
            if not isinstance(row, dict):
                raise UserError("is no JSON object", where=f"{as_text(file)}, line {number}")
            yield f"line {number}", row


def _parquet(file: Path) -> Any:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        hint = "Install it: pip install pyarrow. Or save the table as CSV."
        raise UserError("needs pyarrow to be read", where=as_text(file), hint=hint) from error
    try:
        return parquet.read_table(file)
    except ArrowException as error:
        raise UserError(f"cannot be read: {error}", where=as_text(file)) from error


def _columns(file: Path, header: list[str], names: Mapping[str, str | None]) -> dict[str, str]:
    """Return the column of the table for each of `TABLE_COLUMNS` that it has."""
    columns = {}
    for key in TABLE_COLUMNS:
        given = names.get(key)
        if given is not None and given not in header:
            listed = ", ".join(header)
            raise UserError(
                f"no column {given!r}{nearest(given, header)}; there are {listed}",
                where=as_text(file),
                hint=f"Name it: 'data.columns={{{key}: COLUMN}}'",
            )
        usual = [name for name in header if re.fullmatch(_NAMES[key], _letters(name))]
        if given is None and len(usual) > 1:
            raise UserError(
                f"{' and '.join(usual)} could each be the column of the {key}",
                where=as_text(file),
                hint=f"Name it: 'data.columns={{{key}: {usual[0]}}}'",
            )
        if column := given or next(iter(usual), None):
            columns[key] = column
        elif key in ("path", "label"):
            raise UserError(
                f"no column of the {key} among {', '.join(header)}",
                where=as_text(file),
                hint=f"Name it: 'data.columns={{{key}: COLUMN}}'",
            )
    return columns


def _letters(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.casefold())


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _split(text: str, where: str) -> str:
    if split := split_named(text):
        return split
    raise UserError(f"split {text!r} is none of train, val, test", where=where)


def _find(text: str, folders: tuple[Path, ...]) -> Path | None:
    """Return the file that a path, an address, or a name without suffix means, or None."""
    last = re.split(r"[/\\]", text)[-1]
    candidates = [folder / name for name in (text, last) for folder in folders]
    for candidate in candidates:
        for suffix in _SUFFIXES:
            path = as_path(f"{candidate}{suffix}")
            if path.is_file():
                return path
    return None
