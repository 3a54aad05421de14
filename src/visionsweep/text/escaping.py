r"""Makes text from others safe to print: nothing in it is invisible, moves a cursor or is executed.

Class names, file names, run names, settings and messages in records come from other people. Every
way out (terminal, log, page, CSV, Markdown, JSON, figures, TensorBoard) passes them through
`visible`, which writes control characters, terminal escapes, bidirectional overrides, zero-width
characters and bytes that are no UTF-8 as escapes such as `\x1b` and `\u202e`.
"""

import json
import logging
import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

# Cc, Zl, Zp and Cs of Unicode; Default_Ignorable_Code_Point but for what is excepted below; the
# interlinear annotations, the Braille blank and noncharacters.
_UNSEEN = (
    r"\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    r"\u2028-\u202e\u2060-\u206f\u2800\u3164\ud800-\udfff\ufdd0-\ufdef\ufe00-\ufe0f\ufeff\uffa0"
    r"\ufff0-\ufffb\ufffe\uffff\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
# Joiners are spelling within Arabic and Indic words, and glue between two emoji, behind which a
# variation selector chooses the picture.
_EMOJI = r"\u00a9\u00ae\u203c-\u3299\ufe0f\U0001f000-\U0001faff"
_JOINER = (
    r"(?<=[\u0600-\u08ff\u0900-\u0dff])[\u200c\u200d](?=[\u0600-\u08ff\u0900-\u0dff])"
    rf"|(?<=[{_EMOJI}])\u200d(?=[{_EMOJI}])|(?<=[{_EMOJI}0-9#*])[\ufe0e\ufe0f]"
)
_KEPT_OR_UNSEEN = re.compile(rf"({_JOINER})|[{_UNSEEN}]")
_NAMED = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}

_STARTS_FORMULA = tuple("=+-@\t\r\N{FULLWIDTH EQUALS SIGN}\N{FULLWIDTH PLUS SIGN}")
_STARTS_FORMULA += ("\N{FULLWIDTH HYPHEN-MINUS}", "\N{FULLWIDTH COMMERCIAL AT}")
_MARKDOWN = re.compile(r"[\\`*\[\]<>|~#]|(?<!\w)_|_(?!\w)|(?<!\w)!(?=\[)")


def visible(text: object, *, lines: bool = False) -> str:
    r"""Return a text in which every character can be seen.

    Args:
        text: a text, or what `str` makes one of, such as a path.
        lines: whether ends of lines and tabs stay, for messages of our own that have several lines.

    Returns:
        The text with `\x1b`, `\u202e` and the like for what is invisible or controls a terminal;
        letters of any script and emoji stay. Applied twice it changes nothing more.
    """
    return _replaced(str(text), _escaped_but_lines if lines else _escaped)


def _replaced(text: str, escaped: Callable[[re.Match[str]], str]) -> str:
    if text.isascii() and text.isprintable():
        return text
    return _KEPT_OR_UNSEEN.sub(escaped, text)


def _escaped(match: re.Match[str]) -> str:
    letter = match[0]
    if match[1]:
        return letter
    code = ord(letter)
    if letter in _NAMED:
        return _NAMED[letter]
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _escaped_but_lines(match: re.Match[str]) -> str:
    return match[0] if match[0] in "\n\t" else _escaped(match)


def _escaped_for_json(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))


def one_line(text: object, most: int = 500) -> str:
    """Return the first line of a text, visible, with a note of how many more there are.

    Args:
        text: a message.
        most: characters; of a longer line the rest is left out.
    """
    first, *more = str(text).strip().splitlines() or [""]
    left = sum(bool(each.strip()) for each in more)
    note = f" (and {left} more line{'s' if left > 1 else ''})" if left else ""
    line = visible(first.rstrip())
    return (line if len(line) <= most else f"{line[:most]}…") + note


def listed(items: Iterable[object], most: int = 20) -> str:
    """Return items on indented lines, visible; beyond `most` items, only how many there are."""
    lines = [visible(item) for item in items]
    if len(lines) > most:
        lines[most:] = [f"and {len(lines) - most} more"]
    return "".join(f"\n  {line}" for line in lines)


def csv_cell(value: object) -> object:
    """Return a cell of a CSV file: visible, and no formula to a spreadsheet.

    A text that begins with `=`, `+`, `-`, `@`, a tab or a carriage return, and is not a number, has
    an apostrophe put before it. Numbers stay numbers.
    """
    if value is None or isinstance(value, bool | int | float):
        return value
    text = str(value)
    if text.startswith(_STARTS_FORMULA) and not _is_number(text):
        text = f"'{text}"
    return visible(text)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def class_columns(classes: Sequence[str], taken: Iterable[str]) -> list[str]:
    """Return how classes are called in a CSV file, by which its columns are unambiguous.

    A class is called by its name as `csv_cell` writes it. One that is written like another column
    of the file has ` (class)` behind it, and of classes that are written alike all but the first
    have ` (2)`, ` (3)` and so on.

    Args:
        classes: their names, in the order of their columns.
        taken: the headers of the other columns.
    """
    others = set(taken)
    plain = [str(csv_cell(name)) for name in classes]
    used = {name for name in plain if name not in others}
    first_come: set[str] = set()
    columns = []
    for name in plain:
        column = name
        if name in others:
            column = f"{name} (class)"
        elif name not in first_come:
            first_come.add(name)
            columns.append(name)
            continue
        base, number = column, 2
        while column in used or column in others:
            column = f"{base} ({number})"
            number += 1
        used.add(column)
        columns.append(column)
    return columns


def markdown(text: object) -> str:
    """Return a text that Markdown shows as it is, in a table's cell as well."""
    return _MARKDOWN.sub(lambda match: f"\\{match[0]}", visible(text))


def json_text(content: Any, *, encoding: str | None = None) -> str:
    r"""Return JSON for a terminal or a file, what cannot be seen as `\uXXXX`: it reads back equal.

    Args:
        content: of mappings, lists, texts and numbers; one that is not finite becomes null.
        encoding: of what it is written to; letters that it lacks are escaped, too.
    """
    content = _finite(content)
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    # Ends of lines are the layout: within texts json.dumps has escaped them.
    parts = (_KEPT_OR_UNSEEN.sub(_escaped_for_json, line) for line in text.split("\n"))
    text = "\n".join(parts)
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
    """A log record whose message is visible, whichever handler writes it."""

    def getMessage(self) -> str:  # noqa: N802 - logging's name
        return visible(super().getMessage(), lines=True)


def make_logs_visible() -> None:
    """Have every message logged from now on pass through `visible`; for where a command starts."""
    logging.setLogRecordFactory(_VisibleRecord)
