"""Sorting by a metric shows it with its paired differences to the best run by that metric."""

import csv
import io

import numpy as np
import pytest
from scipy.special import stdtrit

from visionsweep.analysis.predictions import Predictions
from visionsweep.cli.compare import main
from visionsweep.data.images import digest_of

LABELS = np.arange(120) % 3


def predictions(wrong: int, confidence: float) -> Predictions:
    """Return predictions of two replicates, in which the first images of class 0 are wrong."""
    predicted = LABELS.copy()
    predicted[np.flatnonzero(LABELS == 0)[:wrong]] = 1
    logits = confidence * np.eye(3, dtype=np.float32)[predicted]
    images = tuple(digest_of(str(k).encode()) for k in range(len(LABELS)))
    return Predictions(np.stack([logits, logits]), LABELS, images)


@pytest.fixture
def outputs(write_run, keep_outcomes, tmp_path) -> str:
    """Three runs: the one with the lowest loss is the least accurate."""
    for lr, (name, wrong, confidence) in enumerate(
        (("bold", 30, 1.5), ("right", 0, 0.4), ("middle", 10, 0.5)), 1
    ):
        keep_outcomes(write_run(name, 0.4, lr=lr), {"val": predictions(wrong, confidence)})
    return str(tmp_path / "outputs")


def rows(text: str) -> dict[str, dict[str, str]]:
    return {row["name"]: row for row in csv.DictReader(io.StringIO(text))}


@pytest.mark.parametrize("name", ["balanced_accuracy", "val_balanced_accuracy"])
def test_csv_has_the_paired_difference_with_its_interval(outputs, capsys, name):
    assert main([outputs, "--csv", "--sort", name]) == 0
    found = rows(capsys.readouterr().out)
    assert found["right"]["val_balanced_accuracy_difference"] == "nan"
    middle = found["middle"]
    value, low, high = (
        float(middle[f"val_balanced_accuracy_difference{end}"]) for end in ("", "_low", "_high")
    )
    assert value == pytest.approx(-10 / 40 / 3)
    # of the 40 images of class 0, ten contribute -0.75 and thirty 0.25; the others nothing
    error = np.sqrt((10 * 0.75**2 + 30 * 0.25**2) / 119 / 120)
    # 95% for both differences together: Student's quantile at 1 - 0.025 / 2
    assert (high - low) / 2 == pytest.approx(stdtrit(119, 1 - 0.025 / 2) * error, rel=0.02)


def test_the_table_shows_the_metric_and_its_difference_in_every_form(outputs, capsys):
    for form in ([], ["--markdown"]):
        assert main([outputs, "--sort", "macro_f1", *form]) == 0
        printed = " ".join(capsys.readouterr().out.split())
        assert "diff. in F1" in printed


def test_the_page_shows_the_metric_and_its_difference(outputs, tmp_path):
    assert (
        main([outputs, "--sort", "balanced_accuracy", "--html", str(tmp_path / "page.html")]) == 0
    )
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "diff. in balanced acc" in page
    assert main([outputs, "--html", str(tmp_path / "page.html")]) == 0
    assert "diff. in balanced acc" not in (tmp_path / "page.html").read_text("utf-8")


def test_an_accuracy_that_contradicts_the_ranking_significantly_is_named(outputs, capsys):
    assert main([outputs]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "By accuracy, right is significantly better than bold: +25.0 points [+16.0," in printed
    # the interval of the sentence is that of the table
    assert main([outputs, "--csv", "--sort", "accuracy"]) == 0
    bold = rows(capsys.readouterr().out)["bold"]
    assert 100 * float(bold["val_accuracy_difference_high"]) == pytest.approx(-16.0, abs=0.05)


def test_an_unknown_metric_is_refused_with_the_nearest_one(outputs, capsys):
    assert main([outputs, "--sort", "balanced_acuracy"]) == 2
    assert "'val_balanced_accuracy'" in capsys.readouterr().err
