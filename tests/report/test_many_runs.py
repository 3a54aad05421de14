"""Hundreds and thousands of runs: the numbers of all predictions at once, in bounded memory."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from visionsweep.analysis import bounds, resampling
from visionsweep.analysis.comparison import holm
from visionsweep.analysis.predictions import Predictions
from visionsweep.report import leaderboard
from visionsweep.report.evidence import Evidence
from visionsweep.runs import logits as kept
from visionsweep.runs.discovery import find_runs

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
COMPARE = BENCHMARKS.parent / "src" / "compare.py"


def benchmark(name: str):
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def outputs(tmp_path_factory) -> Path:
    """A sweep of 400 runs, and a part of a second one."""
    folder = tmp_path_factory.mktemp("many") / "outputs"
    benchmark("simulated_runs").simulate(folder, 500)
    return folder


@pytest.fixture(scope="module")
def evidence(outputs) -> Evidence:
    (found,) = leaderboard.groups_of(find_runs([outputs]).runs, expand_seeds=True)
    return found


@pytest.fixture(scope="module")
def predictions(evidence) -> list[Predictions]:
    """All logits at once, in the order of the rows."""
    return [
        kept.read(row.run.directory, row.run.record)["val"].sorted_by_image()
        for row in evidence.rows
    ]


def plain_error(losses) -> resampling.SeedErrors:
    return resampling.seed_errors_of_run(losses.mean(1), losses)


def test_all_runs_are_found_with_the_loss_that_their_logits_have(evidence, predictions):
    assert len(evidence.rows) == 500
    recorded = [row.run.record.metrics.final.val.loss for row in evidence.rows]
    assert recorded == sorted(recorded)
    assert recorded == pytest.approx([each.losses.mean() for each in predictions])


def test_comparisons_equal_those_of_all_predictions_in_memory(evidence, predictions):
    images = np.stack([each.losses.mean(0) for each in predictions])
    errors = [plain_error(each.losses) for each in predictions]
    size, freedom = (np.concatenate([getattr(e, n) for e in errors]) for n in ("size", "dof"))
    seeds = resampling.SeedErrors.of_sums(
        np.stack([size[1:], np.full(499, size[0])], axis=1),
        np.stack([freedom[1:], np.full(499, freedom[0])], axis=1),
    )
    difference = images[1:] - images[0]
    _, p = bounds.paired_bootstrap_ci(difference, seeds, seed=0)
    corrected = holm(p, tests=500 * 499 // 2)
    found = [row.comparison for row in evidence.rows[1:]]
    close = {"rel": 1e-5, "abs": 1e-7}
    values = difference.mean(1)
    assert [each.difference.value for each in found] == pytest.approx(values, **close)
    assert [each.p for each in found] == pytest.approx(corrected, **close)
    assert {row.mark for row in evidence.rows} == {"possible", "worse"}  # seeds, not recommended
    for row in evidence.rows[1:]:  # also of the runs beyond those that could be compared in pairs
        assert (row.comparison.difference.low > 0) == (row.mark == "worse")
        assert row.comparison.difference.high > row.comparison.difference.value


def test_effect_equals_that_of_all_replicates_in_memory(evidence, predictions):
    """Of ten epochs over five, where two seeds each make one run of ten replicates."""
    pooled = {}
    for row, each in zip(evidence.rows, predictions, strict=True):
        config = row.run.record.config
        rest = (config["model"]["label"], config["data"]["label"], str(config["optimizer"]))
        pooled.setdefault((rest, config["epochs"]), []).append(each.losses)
    pairs = [rest for rest, epochs in pooled if epochs == 10 and (rest, 5) in pooled]
    images, errors = 0.0, []
    for rest in pairs:
        for sign, epochs in ((1, 10), (-1, 5)):
            losses = np.concatenate(pooled[rest, epochs])
            images = images + sign * losses.mean(0) / len(pairs)
            errors.append(plain_error(losses))
    seeds = resampling.SeedErrors.of_sums(
        np.array([[each.size[0] / len(pairs) for each in errors]]),
        np.array([[each.dof[0] for each in errors]]),
    )
    half, _ = bounds.paired_bootstrap_ci(images[None], seeds, seed=0)
    found = next(each for each in evidence.effects if each.key == "epochs")
    assert found.pairs == len(pairs) and max(map(len, pooled.values())) == 2
    assert found.effect.value == pytest.approx(images.mean(), rel=1e-9)
    assert found.effect.high == pytest.approx(images.mean() + half[0], rel=1e-9)


@pytest.mark.exhaustive
def test_ten_thousand_runs_are_compared_within_500_megabytes(tmp_path):
    commands = benchmark("commands")
    benchmark("simulated_runs").simulate(tmp_path / "outputs", 10_000)
    for form in (["--top", "20"], ["--html", "report.html"]):
        took = commands.measured(COMPARE, "outputs", *form, folder=tmp_path)
        print(f"{' '.join(form)}: {took.seconds:.1f} s, {took.memory / 1e6:.0f} MB")
        assert took.memory < 500e6
        if form[0] == "--top":
            output = " ".join(took.output.split())  # wherever lines were broken
            assert "is recommended" in output
    assert (tmp_path / "report.html").stat().st_size < 10e6
