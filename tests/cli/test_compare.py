"""compare.py, as it is called, over records that were written."""

import csv
import io
import subprocess
import sys
from pathlib import Path

import pytest

from visionsweep.cli.compare import main
from visionsweep.runs.record import Failure

SCRIPT = Path(__file__).parents[2] / "src" / "compare.py"


@pytest.fixture
def outputs(tmp_path, write_run) -> str:
    """Three runs, one failed one, and two files that are no records."""
    write_run("worst", 0.9, test_accuracy=0.95)
    write_run("best", 0.2, test_accuracy=0.85)
    write_run("middle", 0.5, test_accuracy=0.75)
    write_run("failed-run", failure=Failure("OSError", "disk full"))
    (write_run("broken", 0.1) / "result.json").write_text('{"schema_')
    (tmp_path / "outputs" / "result.json").write_text('{"accuracy": 1.0}')
    return str(tmp_path / "outputs")


def places(text: str) -> list[str]:
    """The runs in the order in which lines of a table name them."""
    rows = [line for line in text.splitlines() if line.startswith(("│", "|")) or ",0." in line]
    rows = [line for line in rows if "diff. to best" not in line]
    return [name for line in rows for name in ("worst", "best", "middle") if name in line]


def test_the_best_run_comes_first(outputs, capsys):
    assert main([outputs]) == 0
    assert places(capsys.readouterr().out) == ["best", "middle", "worst"]


def test_failed_runs_and_files_passed_over_are_named(outputs, capsys):
    main([outputs])
    text = " ".join(capsys.readouterr().out.split())
    assert "failed failed-run: OSError: disk full" in text
    assert text.count("passed over") == 2
    unwrapped = text.replace(" ", "")
    assert f"{outputs}/broken/result.json:notarecord" in unwrapped
    assert f"{outputs}/result.json:notarecord" in unwrapped


@pytest.mark.parametrize("form", [[], ["--markdown"], ["--csv"]])
def test_sort_and_top_work_in_every_form(outputs, capsys, form):
    assert main([outputs, "--sort", "test_accuracy", "--top", "2", *form]) == 0
    assert places(capsys.readouterr().out) == ["worst", "best"]


def test_csv_goes_to_standard_output_and_nothing_else_does(outputs, capsys):
    assert main([outputs, "--csv"]) == 0
    out, err = capsys.readouterr()
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["name"] for row in rows] == ["best", "middle", "worst"]
    assert [float(row["test_accuracy"]) for row in rows] == [0.85, 0.75, 0.95]
    assert rows[0]["directory"] == f"{outputs}/best"
    assert err.count("passed over") == 2


def test_csv_tells_runs_on_other_validation_images_apart(outputs, write_run, capsys):
    write_run("pear", 0.1, val_images="other")
    main([outputs, "--csv"])
    rows = {row["name"]: row for row in csv.DictReader(io.StringIO(capsys.readouterr().out))}
    digests = {name: row["validation_images"] for name, row in rows.items()}
    assert digests["best"] == digests["worst"] != digests["pear"]


def test_markdown_is_a_table_that_renders(outputs, capsys):
    main([outputs, "--markdown"])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert lines[0].startswith("|  | model | data | epochs | val loss | diff. to best |")
    assert set(lines[1]) <= set("|-: ")
    assert len(lines) == 5


def test_top_counts_within_each_table(outputs, write_run, capsys):
    write_run("pear", 0.1, val_images="other")
    main([outputs, "--top", "1", "--markdown"])
    lines = [line for line in capsys.readouterr().out.splitlines() if "| effnetb0 |" in line]
    assert [line.split("|")[-2].strip() for line in lines] == ["pear", "best"]


def test_several_folders_make_one_leaderboard(outputs, capsys):
    assert main([f"{outputs}/worst", f"{outputs}/best"]) == 0
    assert places(capsys.readouterr().out) == ["best", "worst"]


def test_no_completed_run_is_exit_status_1(tmp_path, write_run, capsys):
    write_run("failed-run")
    assert main([str(tmp_path / "outputs")]) == 1
    assert main([str(tmp_path / "outputs"), "--csv"]) == 1
    assert "failed failed-run" in capsys.readouterr().out


@pytest.mark.parametrize("form", [[], ["--markdown"], ["--csv"]])
def test_swept_settings_are_columns_and_sort_keys(tmp_path, write_run, capsys, form):
    for name, loss, lr in (("worst", 0.3, 0.01), ("best", 0.1, 0.1), ("middle", 0.2, 1e-4)):
        write_run(name, loss, lr=lr)
    assert main([str(tmp_path / "outputs"), "--sort", "optimizer.lr", *form]) == 0
    printed = capsys.readouterr().out
    assert places(printed) == ["middle", "worst", "best"]
    assert "optimizer.lr" in printed
    assert main([str(tmp_path / "outputs"), "--sort", "seed"]) == 2
    assert "--sort seed: no such column, see --help; these runs swept optimizer.lr" in (
        capsys.readouterr().err
    )
    assert main([str(tmp_path / "outputs"), "--sort", "top5_accuracy"]) == 2
    assert "--sort top5_accuracy: none of these runs has it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sort", "beauty"], "--sort beauty: no such column, see --help"),
        (["--top", "0"], "0: should be at least 1"),
        (["--top", "many"], "invalid"),
        (["--csv", "--markdown"], "not allowed with"),
    ],
)
def test_invalid_options_are_refused(outputs, capsys, arguments, message):
    assert main([outputs, *arguments]) == 2
    assert message in capsys.readouterr().err


def test_missing_folder_is_refused(tmp_path, capsys):
    assert main([str(tmp_path / "nowhere")]) == 1
    assert "nowhere: no such folder" in capsys.readouterr().err


def test_script_compares_the_runs_in_outputs(outputs, tmp_path):
    done = subprocess.run([sys.executable, SCRIPT], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert places(done.stdout) == ["best", "middle", "worst"]
