"""Text from others: everything in it can be seen, and nothing in it is executed."""

import csv
import io
import json
import logging
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visionsweep.text.escaping import (
    class_columns,
    csv_cell,
    enumerated,
    json_text,
    markdown,
    one_line,
    visible,
)

ANYTHING = st.text(st.characters(codec=None))  # lone surrogates, too


@given(ANYTHING)
def test_printed_text_is_visible_and_controls_no_terminal(text):
    shown = visible(text)
    joiners = "\u200c\u200d"
    assert not any(
        unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or (unicodedata.bidirectional(c) in
        ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"))
        for c in shown
        if c not in joiners
    )  # fmt: skip
    assert visible(shown) == shown
    shown.encode()


@pytest.mark.parametrize(
    "text", ["Müller", "寿司", "🍕", "👨‍👩‍👧", "❤️", "1️⃣", "می‌خواهم", "क्‍ष", "a b_c-d.e/f\\g", "עברית"]
)
def test_ordinary_text_of_any_script_is_unchanged(text):
    assert visible(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31m", r"\x1b[31m"),
        ("\x9b2J\x85", r"\x9b2J\x85"),
        ("a\u202eb\u2066", r"a\u202eb\u2066"),
        ("a\u200bb\ufeff", r"a\u200bb\ufeff"),
        ("a\u200db", r"a\u200db"),
        ("cat\ufe0f", r"cat\ufe0f"),
        ("\udcff.jpg", r"\udcff.jpg"),
        ("a\nb\rc\td", r"a\nb\rc\td"),
        ("\u2028\u2029", r"\u2028\u2029"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_invisible_characters_are_escaped(text, shown):
    assert visible(text) == shown


def test_only_own_messages_keep_line_breaks():
    assert visible("a\n\tb\r\x1b", lines=True) == "a\n\tb\\r\\x1b"
    assert one_line("first\n second\n\n third") == "first (and 2 more lines)"


@pytest.mark.parametrize("text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "＝1"])
def test_formula_is_text_in_a_spreadsheet(text):
    assert csv_cell(text) == f"'{text}"


@pytest.mark.parametrize("value", ["-0.5", "+1e-3", "-inf", "5-epochs", "a=b", -0.5, 3, None])
def test_numbers_and_names_are_unchanged_in_csv(value):
    assert csv_cell(value) == value


@given(st.lists(st.sampled_from(
    ["image", "true", "image (class)", "cat", "cat (2)", "=a", "'=a", "\x1b", r"\x1b", "split"]
), unique=True))  # fmt: skip
def test_columns_are_unambiguous_for_any_class_names(classes):
    taken = ["image", "split", "true"]
    columns = class_columns(classes, taken)
    assert len({*columns, *taken}) == len(columns) + len(taken) == len(classes) + 3
    for name, column in zip(classes, columns, strict=True):
        if name.isprintable() and name not in taken and not name.startswith("="):
            clash = [n for n in classes if n != name and str(csv_cell(n)) == name]
            assert clash or column == name


def test_class_named_like_a_column_is_marked():
    assert class_columns(["cat", "image"], ["image"]) == ["cat", "image (class)"]


def test_markdown_shows_names_literally():
    assert markdown("a|b") == r"a\|b" and markdown("[x](y)") == r"\[x\](y)"
    assert markdown("<img src=x>`") == r"\<img src=x\>\`"
    assert markdown("effnetb0_10pct_5-epochs") == "effnetb0_10pct_5-epochs"
    assert "\n" not in markdown("a\n| b")


@given(st.dictionaries(ANYTHING, ANYTHING))
def test_json_reads_back_equal_and_holds_nothing_invisible(content):
    text = json_text(content)
    assert visible(text, lines=True) == text
    # Two lone surrogates in a row are one letter to JSON.
    assert json.loads(text) == json.loads(json.dumps(content))


def test_json_for_a_terminal_without_unicode_is_still_json():
    text = json_text({"ü": "寿司"}, encoding="ascii")
    assert text.isascii() and json.loads(text) == {"ü": "寿司"}


def test_csv_of_hostile_cells_has_one_line_per_row():
    text = io.StringIO()
    csv.writer(text).writerow([csv_cell("a\r\nb"), csv_cell("\x1b"), csv_cell('"=1')])
    assert len(list(csv.reader(io.StringIO(text.getvalue(), newline="")))) == 1


def test_logged_messages_are_visible():
    from visionsweep.text.escaping import make_logs_visible

    before = logging.getLogRecordFactory()
    try:
        make_logs_visible()
        record = logging.getLogger("x").makeRecord(
            "x", logging.INFO, "f", 1, "%s:\n  %s", ("\x1b[2J", "\u202e"), None
        )
    finally:
        logging.setLogRecordFactory(before)
    assert record.getMessage() == "\\x1b[2J:\n  \\u202e"


def test_long_lists_of_words_end_with_how_many_more_there_are():
    assert enumerated(["a"]) == "a"
    assert enumerated(["a", "b\n", "c"]) == r"a, b\n and c"
    assert enumerated([str(n) for n in range(1000)], most=3) == "0, 1, 2 and 997 more"
