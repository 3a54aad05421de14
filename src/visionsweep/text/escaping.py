r"""Escape untrusted text: nothing in it is invisible, moves a cursor, or is executed.

Class names, file names, run names, settings, and messages in records come from other people. Every
output (terminal, log, page, CSV, Markdown, JSON, figures, TensorBoard) passes them through
`visible`, which writes control characters, terminal escapes, bidirectional overrides, zero-width
characters, and bytes that are not UTF-8 as escapes such as `\x1b` and `\u202e`.
"""

import json
import logging
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from visionsweep.installation import localized

# Cc, Zl, Zp, and Cs of Unicode; Default_Ignorable_Code_Point except those below; interlinear
# annotations, the Braille blank, and noncharacters.
_UNSEEN = (
    r"\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    r"\u2028-\u202e\u2060-\u206f\u2800\u3164\ud800-\udfff\ufdd0-\ufdef\ufe00-\ufe0f\ufeff\uffa0"
    r"\ufff0-\ufffb\ufffe\uffff\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
# Joiners are part of the spelling in Arabic and Indic words, and join emoji; a variation selector
# after an emoji selects its picture.
_EMOJI = r"\u00a9\u00ae\u203c-\u3299\ufe0f\U0001f000-\U0001faff"
_JOINER = (
    r"(?<=[\u0600-\u08ff\u0900-\u0dff])[\u200c\u200d](?=[\u0600-\u08ff\u0900-\u0dff])"
    rf"|(?<=[{_EMOJI}])\u200d(?=[{_EMOJI}])|(?<=[{_EMOJI}0-9#*])[\ufe0e\ufe0f]"
)
_KEPT_OR_UNSEEN = re.compile(rf"({_JOINER})|[{_UNSEEN}]")

_STARTS_FORMULA = tuple("=+-@\t\r\N{FULLWIDTH EQUALS SIGN}\N{FULLWIDTH PLUS SIGN}")
_STARTS_FORMULA += ("\N{FULLWIDTH HYPHEN-MINUS}", "\N{FULLWIDTH COMMERCIAL AT}")
_MARKDOWN = re.compile(r"[\\`*\[\]<>|~#]|(?<!\w)_|_(?!\w)|(?<!\w)!(?=\[)")


def visible(text: object, *, lines: bool = False) -> str:
    r"""Return a text whose characters are all visible; idempotent.

    Args:
        text: text, or an object that `str` converts, such as a path.
        lines: True to keep line breaks and tabs, for own messages of several lines.

    Returns:
        The text with escapes such as `\x1b` and `\u202e` for invisible characters and terminal
        controls; letters of any script and emoji are unchanged.
    """
    text = str(text)
    if text.isascii() and text.isprintable():
        return text

    def escaped(match: re.Match[str]) -> str:
        kept = match[1] or (lines and match[0] in "\n\t")
        return match[0] if kept else match[0].encode("unicode_escape").decode()

    return _KEPT_OR_UNSEEN.sub(escaped, text)


def one_line(text: object, most: int = 500) -> str:
    """Return the first line of a text, visible, cut to `most` characters, and how many follow."""
    first, *others = str(text).strip().splitlines() or [""]
    more = sum(bool(line.strip()) for line in others)
    note = f" (and {more} more line{'s' if more > 1 else ''})" if more else ""
    line = visible(first.rstrip())
    return (line if len(line) <= most else f"{line[:most]}…") + note


def listed(items: Iterable[object], most: int = 20) -> str:
    """Return items on indented lines, visible; beyond `most` items, only how many there are."""
    lines = [visible(item) for item in items]
    if len(lines) > most:
        lines[most:] = [f"and {len(lines) - most} more"]
    return "".join(f"\n  {line}" for line in lines)


def enumerated(words: Sequence[str], most: int = 12) -> str:
    """Write `a`, `a and b`, `a, b and c`, visible; beyond `most` words, how many there are."""
    shown = [visible(word) for word in words]
    if len(shown) > most:
        shown[most:] = [f"{len(shown) - most} more"]
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def csv_cell(value: object) -> object:
    """Return a cell of a CSV file that is visible and not a formula in a spreadsheet.

    A text that starts with `=`, `+`, `-`, `@`, a tab, or a carriage return and is not a number gets
    an apostrophe in front. Numbers stay numbers.
    """
    if value is None or isinstance(value, bool | int | float):
        return value
    text = str(value)
    if text.startswith(_STARTS_FORMULA):
        try:
            float(text)
        except ValueError:
            text = f"'{text}"
    return visible(text)


def class_columns(classes: Sequence[str], taken: Iterable[str]) -> list[str]:
    """Return unambiguous column names of classes in a CSV file beside the columns of `taken`.

    A class has its name as `csv_cell` writes it. If another column has this name, ` (class)` is
    appended; of equal names, all but the first get ` (2)`, ` (3)`, and so on.
    """
    others = set(taken)
    names = [str(csv_cell(name)) for name in classes]
    reserved = others | set(names)
    columns: list[str] = []
    for name in names:
        base = column = f"{name} (class)" if name in others else name
        number = 2
        while column in columns or (column != name and column in reserved):
            column = f"{base} ({number})"
            number += 1
        columns.append(column)
    return columns


def markdown(text: object) -> str:
    """Return a text that Markdown shows literally, also in the cell of a table."""
    return _MARKDOWN.sub(lambda match: f"\\{match[0]}", visible(text))


def json_text(content: Any, *, encoding: str | None = None) -> str:
    r"""Return JSON with invisible characters as `\uXXXX`, which decodes to the same content.

    A number that is not finite becomes null. Characters that `encoding` lacks are escaped, too.
    """

    def escaped(match: re.Match[str]) -> str:
        # json.dumps has escaped the line breaks in strings; others are its indentation.
        return match[0] if match[0] == "\n" else json.dumps(match[0])[1:-1]

    content = _finite(content)
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    text = _KEPT_OR_UNSEEN.sub(escaped, text)
    try:
        text.encode(encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(content, indent=2, allow_nan=False)
    return text


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


class _VisibleRecord(logging.LogRecord):
    """A log record whose message is visible in every handler."""

    def getMessage(self) -> str:  # noqa: N802 - logging's name
        return visible(localized(super().getMessage()), lines=True)


def make_logs_visible() -> None:
    """Pass every further log message through `visible`, when a command starts."""
    logging.setLogRecordFactory(_VisibleRecord)
