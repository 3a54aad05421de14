"""No printed interval contradicts the mark or the word beside it, whatever a sweep's runs are."""

import csv
import io
import re

import numpy as np
import pytest

from visionsweep.analysis.predictions import Predictions
from visionsweep.cli.compare import main
from visionsweep.data.images import digest_of
from visionsweep.report.effects import effect_lines
from visionsweep.report.leaderboard import groups_of
from visionsweep.report.numbers import with_interval
from visionsweep.report.page.difference_plot import difference_plot
from visionsweep.runs.discovery import find_runs

IMAGES = 60
NUMBER = r"[+\N{MINUS SIGN}]?\d+\.\d+"


def random_sweep(source, write_run, keep_outcomes) -> None:
    """Write a grid of two epochs and up to four rates, whose runs differ by chance and in truth."""
    labels = np.arange(IMAGES) % 3
    images = tuple(digest_of(str(k).encode()) for k in range(IMAGES))
    common = 2 * np.eye(3)[labels] + source.normal(size=(IMAGES, 3))
    spread, ahead = source.choice([0.02, 0.1, 0.4]), source.choice([0.0, 0.3, 1.0])
    for epochs in (1, 2):
        for lr in range(1, source.integers(2, 5)):
            logits = common + spread * source.normal(size=(2, IMAGES, 3))
            logits += ahead * source.random() * np.eye(3)[labels]
            predictions = Predictions(logits.astype(np.float32), labels, images)
            losses = [float(predictions.losses.mean())] * epochs
            run = write_run(f"run-{epochs}-{lr}", *losses, lr=lr)
            keep_outcomes(run, {"val": predictions})


@pytest.mark.parametrize("seed", range(6))
def test_marks_and_intervals_agree_in_every_form(seed, write_run, keep_outcomes, tmp_path, capsys):
    random_sweep(np.random.default_rng(seed), write_run, keep_outcomes)
    outputs = str(tmp_path / "outputs")
    (evidence,) = groups_of(find_runs([tmp_path / "outputs"]).runs)
    for row in evidence.rows[1:]:
        difference = row.comparison.difference
        assert (row.mark == "worse") == (difference.low > 0)
        ends = re.findall(NUMBER, with_interval(difference, signed=True))[1:]
        assert ends[0].startswith("+") == (row.mark == "worse")
    assert difference_plot(evidence, [row.run.record.name for row in evidence.rows]) is not None
    assert main([outputs, "--csv"]) == 0
    for row in list(csv.DictReader(io.StringIO(capsys.readouterr().out)))[1:]:
        assert (row["mark"] == "worse") == (float(row["difference_low"]) > 0)
    for line in effect_lines(evidence.effects):
        excludes_zero = line.effect.effect.low > 0 or line.effect.effect.high < 0
        assert (line.reading == "not significant") != excludes_zero


@pytest.mark.parametrize("seed", range(6))
def test_sentence_on_accuracy_agrees_with_the_column_of_differences(
    seed, write_run, keep_outcomes, tmp_path, capsys
):
    random_sweep(np.random.default_rng(seed), write_run, keep_outcomes)
    outputs = str(tmp_path / "outputs")
    (evidence,) = groups_of(find_runs([tmp_path / "outputs"]).runs)
    assert main([outputs, "--csv", "--sort", "accuracy"]) == 0
    rows = {row["name"]: row for row in csv.DictReader(io.StringIO(capsys.readouterr().out))}
    high = float(rows[evidence.chosen.record.name]["val_accuracy_difference_high"])
    assert (evidence.more_accurate is not None) == (high < 0)
