"""The leaderboard: right order, right numbers, and apples apart from pears."""

import csv
import io
import json
import math
from itertools import pairwise
from pathlib import Path

import pytest
from rich.console import Console

from visionsweep.report import columns, leaderboard
from visionsweep.report.column_values import Column
from visionsweep.report.columns import (
    BY_KEY,
    COLUMNS,
    as_csv,
    columns_of,
    ordered,
    swept_columns,
)
from visionsweep.report.page.leaderboard_table import leaderboard_table
from visionsweep.runs.discovery import FoundRuns, find_runs
from visionsweep.runs.record import Failure


@pytest.fixture
def runs(tmp_path):
    return lambda: find_runs([tmp_path / "outputs"]).runs


@pytest.fixture
def ranked(runs):
    """The rows of all that was written, in the order of a column."""

    def ranked(sort: str = "val_loss"):
        rows = [row for group in leaderboard.groups_of(runs()) for row in group.rows]
        return ordered(rows, sort)

    return ranked


def names(rows) -> list[str]:
    return [row.run.record.name for row in rows]


@pytest.fixture
def shown(tmp_path):
    """What `show` prints over all that was written."""

    def shown(*, width: int = 200, **options) -> str:
        text = io.StringIO()
        console = Console(file=text, width=width)
        found = find_runs([tmp_path / "outputs"])
        groups = leaderboard.groups_of(found.runs)
        leaderboard.show([tmp_path / "outputs"], found, groups, console=console, **options)
        return text.getvalue()

    return shown


def test_runs_are_ranked_by_final_validation_loss(write_run, ranked):
    write_run("once-good", 0.1, 0.6)  # its best epoch is not what it ended with
    write_run("good", 0.9, 0.3)
    write_run("middling", 0.5, test_accuracy=0.99)  # nor does the test set choose
    assert names(ranked()) == ["good", "middling", "once-good"]


def test_failed_and_interrupted_runs_are_not_ranked(write_run, ranked):
    write_run("good", 0.3)
    write_run("failed")
    write_run("interrupted", 0.1, status="interrupted")
    assert names(ranked()) == ["good"]


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("val_loss", ["a", "b", "c"]),
        ("val_accuracy", ["a", "b", "c"]),
        ("test_accuracy", ["c", "a", "b"]),  # equal ones by validation loss
        ("test_loss", ["a", "b", "c"]),
        ("seconds", ["b", "c", "a"]),
        ("trainable", ["c", "b", "a"]),
        ("model", ["b", "a", "c"]),
        ("epochs", ["a", "c", "b"]),
        ("name", ["a", "b", "c"]),
    ],
)
def test_any_column_sorts_best_first(write_run, ranked, sort: str, order: list[str]):
    write_run("c", 0.3, seconds=2, trainable=1, model="vit", test_accuracy=0.9)
    write_run("a", 0.1, seconds=3, trainable=3, model="resnet", test_accuracy=0.8)
    write_run("b", 0.9, 0.2, seconds=1, trainable=2, model="convnext", test_accuracy=0.8)
    assert names(ranked(sort)) == order


@pytest.mark.parametrize("sort", ["val_loss", "test_loss", "val_accuracy"])
def test_diverged_runs_come_last(write_run, ranked, sort: str):
    for name, loss in (("a", math.nan), ("b", 0.5), ("c", 0.2), ("d", math.nan), ("e", 0.1)):
        write_run(name, loss)
    order = names(ranked(sort))
    assert order[:3] == ["e", "c", "b"]


def test_every_column_sorts(write_run, ranked):
    write_run("a", 0.1)
    write_run("b", 0.2)
    for key in BY_KEY:
        assert len(ranked(key)) == 2


def test_runs_scored_on_other_validation_images_stand_in_another_table(write_run, shown, runs):
    write_run("apple", 0.3)
    write_run("pear", 0.1, val_images="other", dataset="mine")
    write_run("apple-2", 0.2)
    groups = leaderboard.groups_of(runs())
    assert [names(group.rows) for group in groups] == [["pear"], ["apple-2", "apple"]]
    text = shown()
    assert text.count("val loss") == 2
    headings = [line for line in text.splitlines() if line.startswith("dataset:")]
    assert ["mine" in line for line in headings] == [True, False]


def test_a_table_says_what_was_scored_on_what_and_with_which_weights(write_run, shown):
    write_run("a", 0.3, weights="random")
    write_run("b", 0.2)
    heading = next(line for line in shown().splitlines() if "dataset:" in line)
    assert "dataset: sample; 135 validation and 75 test images" in heading
    assert "weights: IMAGENET1K_V1, random" in heading


def test_row_holds_settings_and_scores(write_run, shown):
    write_run("a-run", 0.9, 0.25, model="effnetb2", data="20pct", trainable=4_227, seconds=61.24)
    row = next(line for line in shown().splitlines() if "│ a-run" in line)
    cells = [cell.strip() for cell in row.strip("│┃| ").split("│")]
    assert cells == [
        *("?", "effnetb2", "20pct", "2", "0.2500", "?", "87.5%", "0.3000", "80.0%", ""),
        *("4,227", "61.2", "a-run"),
    ]


def test_table_of_very_many_runs_shows_the_first_and_counts_the_rest(write_run, shown, monkeypatch):
    monkeypatch.setattr(leaderboard, "MOST", 2)
    for name, loss in (("c", 0.3), ("a", 0.1), ("b", 0.2)):
        write_run(name, loss)
    text = shown()
    assert text.count("│ effnetb0") == 2 and "│ c " not in text
    assert "The first 2 of 3 runs; all are compared. --top 3 shows them all" in text
    assert shown(top=3).count("│ effnetb0") == 3
    assert all("The first" not in shown(top=top) for top in (1, 3))


def test_failed_runs_are_shown_with_their_reason(write_run, shown):
    write_run("good", 0.3)
    write_run("bad", failure=Failure("UserError", "model.weights=[b]: no such weights"))
    write_run("mute")
    write_run("stopped", 0.9, status="interrupted", failure=Failure("KeyboardInterrupt", ""))
    text = shown()
    assert "failed bad: UserError: model.weights=[b]: no such weights" in text
    assert "failed mute: no reason given" in text
    assert "interrupted stopped: KeyboardInterrupt" in text
    assert text.count("│ good") == 1


def test_names_with_brackets_are_printed_as_they_are(write_run, shown):
    write_run("size[bold]32[/]", 0.3)
    assert "size[bold]32[/]" in shown()


def test_long_names_are_folded_in_a_narrow_terminal(write_run, shown):
    name = "effnetb0_10pct_5-epochs_lr-0.0005"
    write_run(name, 0.3)
    folded = shown(width=80)
    last_cells = [line.rstrip("│ ").split("│")[-1].strip() for line in folded.splitlines()]
    assert name in "".join(last_cells)


def test_output_ends_with_the_folder_and_commands_to_view_and_predict(write_run, shown, tmp_path):
    write_run("good", 0.3)
    text = shown(width=500)
    assert str(tmp_path / "outputs") in text
    assert f"src/view.py {tmp_path / 'outputs'} --all" in text
    assert f"src/predict.py PHOTO.jpg --run {tmp_path / 'outputs' / 'good'}" in text


def test_folder_without_runs_is_named_with_the_command_to_start_one(tmp_path, shown):
    (tmp_path / "outputs").mkdir()
    assert shown(width=500).startswith(f"No runs under {tmp_path / 'outputs'}.")


def test_csv_is_unrounded_and_has_every_column(write_run, ranked):
    write_run('odd, "name"', 1 / 3)
    (row,) = csv.DictReader(io.StringIO(as_csv(ranked())))
    assert list(row) == [key for key, column in BY_KEY.items() if not column.sparse]
    assert float(row["val_loss"]) == 1 / 3
    assert row["trainable"] == "3843"
    assert row["name"] == 'odd, "name"'
    assert row["dataset"] == "sample"


def test_markdown_has_as_many_cells_in_every_line(write_run, ranked):
    write_run("a|b", 0.3)
    write_run("c", 0.2)
    lines = leaderboard.as_markdown(ranked(), COLUMNS).splitlines()
    assert len(lines) == 4
    cells = {line.replace(r"\|", "").count("|") for line in lines}
    assert cells == {len(COLUMNS) + 1}


@pytest.fixture
def rates(write_run) -> None:
    """Runs that differ by their learning rate alone."""
    for name, loss, lr in (("a", 0.3, 0.1), ("b", 0.2, 0.02), ("c", 0.4, 1e-4)):
        write_run(name, loss, lr=lr)


def test_any_swept_setting_has_a_column_and_can_be_sorted_by(rates, ranked, shown):
    line = next(line for line in shown().splitlines() if line.startswith("┃"))
    heads = [cell.strip() for cell in line.split("┃")]
    assert heads[heads.index("epochs") :][:3] == ["epochs", "optimizer.lr", "val loss"]
    assert [line.split("│")[5].strip() for line in shown().splitlines() if line[:1] == "│"] == [
        "0.02",
        "0.1",
        "0.0001",
    ]
    assert names(ranked("optimizer.lr")) == ["c", "b", "a"]
    assert names(ranked("seed")) == names(ranked())  # not swept: nothing to sort by


def test_setting_that_was_not_swept_has_no_column(write_run, shown):
    write_run("a", 0.3, lr=0.1)
    write_run("b", 0.2, lr=0.1)
    assert "optimizer" not in shown()


def test_settings_that_are_no_numbers_sort_after_those_that_are(write_run, ranked):
    for name, loss, momentum in (("a", 0.3, None), ("b", 0.2, 0.9), ("c", 0.1, 0.5)):
        path = write_run(name, loss) / "result.json"
        known = json.loads(path.read_text())
        known["config"]["optimizer"]["momentum"] = momentum
        path.write_text(json.dumps(known))
    assert names(ranked("optimizer.momentum")) == ["c", "b", "a"]


def test_csv_has_columns_of_swept_settings(rates, ranked):
    rows = ranked()
    table = list(csv.DictReader(io.StringIO(as_csv(rows, swept_columns(rows)))))
    columns = [key for key, column in BY_KEY.items() if not column.sparse]
    assert list(table[0]) == [*columns, "optimizer.lr"]
    assert [float(row["optimizer.lr"]) for row in table] == [0.02, 0.1, 1e-4]


def test_a_new_column_appears_in_terminal_markdown_csv_and_report(simulated_sweep, monkeypatch):
    new = Column("luck", "luck", lambda row: 7.5, lambda row: "seven and a half")
    monkeypatch.setattr(columns, "COLUMNS", (*columns.COLUMNS, new))
    monkeypatch.setitem(columns.BY_KEY, "luck", new)
    evidence = simulated_sweep(epochs=(5,))
    rows = evidence.rows
    table = columns_of(rows, "table")
    markdown = leaderboard.as_markdown(rows, table)
    assert "seven and a half" in markdown and "| luck |" in markdown
    assert next(csv.DictReader(io.StringIO(as_csv(rows))))["luck"] == "7.5"
    page = leaderboard_table(evidence)
    assert page["headings"][-1].title == "luck"
    assert page["lines"][0][-1][-1].text == "seven and a half"
    console = Console(width=300, file=io.StringIO())
    found = FoundRuns([row.run for row in rows], [], [])
    leaderboard.show([Path("outputs")], found, [evidence], console=console)
    assert "seven and a half" in console.file.getvalue()


def test_a_narrow_terminal_names_the_columns_left_out(rates, shown):
    text = " ".join(shown(width=75).split())
    said = text[text.index("Columns left out: ") :].partition(".")[0]
    heads = text[: text.index("Columns left out: ")]
    assert "model" in said and "model" not in heads.partition("┡")[0]  # all have the same
    assert "optimizer.lr" not in said and "val loss" not in said
    assert "left out" not in shown(width=250)


def test_validation_scores_outlast_the_name_and_the_test_scores(rates, shown):
    heads = [shown(width=width).partition("┡")[0] for width in range(60, 200, 4)]
    order = ["val loss", "val acc", "diff. to best", "test acc", "test loss"]
    for first, second in pairwise(order):
        assert all(first in text for text in heads if second in text), second
    assert any("val acc" in text and "test loss" not in text for text in heads)


def test_intervals_are_left_out_before_the_difference_and_the_accuracy(simulated_sweep, tmp_path):
    evidence = simulated_sweep()

    def table(width: int) -> str:
        console = Console(width=width, file=io.StringIO())
        found = FoundRuns([row.run for row in evidence.rows], [], [])
        leaderboard.show([tmp_path], found, [evidence], console=console)
        return console.file.getvalue().partition("└")[0].partition("┏")[2]

    heads, _, rows = table(80).partition("┡")
    assert all(title in heads for title in ("val loss", "diff. to best", "val acc"))
    last = rows.splitlines()[-2]
    assert last.count(" [") == 1 and "+" in last  # that of the difference
    assert table(200).splitlines()[-2].count(" [") > 3


def test_what_the_table_is_sorted_by_stays(rates, shown):
    assert "trainable" not in shown(width=110).partition("┡")[0]
    assert "trainable" in shown(width=110, sort="trainable").partition("┡")[0]


def test_a_table_of_one_run_is_not_explained(write_run, shown):
    write_run("a", 0.3)
    assert "★ is recommended: the" not in shown()


def test_an_unfinished_run_is_named_with_its_directory_where_that_is_not_plain(
    write_run, tmp_path, shown
):
    write_run("sweep/failed", failure=Failure("OSError", "disk full"))
    text = " ".join(shown(width=500).split())
    assert f"failed sweep/failed in {tmp_path}/outputs/sweep/failed: OSError: disk full" in text


def test_without_a_terminal_the_width_is_what_columns_says_or_else_wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "90")
    assert leaderboard.wide_console().width == 90
    monkeypatch.delenv("COLUMNS")
    assert leaderboard.wide_console().width == 200
