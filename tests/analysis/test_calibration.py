"""Temperatures that are known, and those that would run away."""

import logging

import numpy as np
import pytest
from scipy.special import softmax

from visionsweep.analysis.calibration import calibrated, fit_temperature
from visionsweep.analysis.outcomes import Outcomes


def outcomes(logits, labels) -> Outcomes:
    return Outcomes(
        np.asarray(logits, np.float32), np.asarray(labels), tuple(map(str, range(len(labels))))
    )


def drawn(factor: float, *, replicates: int = 1, images: int = 20_000) -> Outcomes:
    """Labels drawn from softmax(logits), logits then multiplied."""
    source = np.random.default_rng(1)
    logits = 2 * source.normal(size=(images, 3))
    chances = softmax(logits, axis=1).cumsum(1)
    labels = (source.random((images, 1)) > chances).sum(1)
    return outcomes(np.repeat(factor * logits[None], replicates, axis=0), labels)


def test_calibrated_is_the_mean_over_replicates_of_softmax():
    logits = np.array([[[2.0, 0.0]], [[0.0, 4.0]]], np.float32)
    expected = (softmax([1.0, 0.0]) + softmax([0.0, 2.0])) / 2
    assert calibrated(logits, 2.0)[0] == pytest.approx(expected)
    assert calibrated(logits, 2.0).dtype == np.float64


@pytest.mark.parametrize("factor", [0.25, 1, 3])
def test_the_temperature_undoes_what_logits_were_multiplied_by(factor):
    assert fit_temperature(drawn(factor)) == pytest.approx(factor, rel=0.03)
    assert fit_temperature(drawn(factor, replicates=3)) == pytest.approx(factor, rel=0.03)


def test_no_other_temperature_gives_a_higher_likelihood():
    source = np.random.default_rng(2)
    run = outcomes(3 * source.normal(size=(4, 100, 3)), source.integers(3, size=100))
    run.logits[:, np.arange(100), run.labels] += 3

    def loss(temperature):
        chances = calibrated(run.logits, temperature)
        return -np.log(chances[np.arange(100), run.labels]).mean()

    best = fit_temperature(run)
    assert all(loss(best) <= loss(other) for other in np.geomspace(0.05, 20, 200))


def test_a_perfect_run_is_made_no_surer_than_its_images_allow():
    labels = np.arange(100) % 3
    run = outcomes(np.eye(3)[None, labels], labels)
    temperature = fit_temperature(run)
    # right 101 times in 103, by the rule of succession: 1 - 3/103 + 1/103
    assert calibrated(run.logits, temperature)[0].max() == pytest.approx(101 / 103, abs=1e-3)


def test_a_run_no_better_than_guessing_is_made_unsure_and_said_to_be(caplog):
    labels = np.arange(60) % 3
    run = outcomes(5 * np.eye(3)[None, (labels + 1) % 3], labels)
    with caplog.at_level(logging.WARNING):
        temperature = fit_temperature(run)
    assert 15 < temperature <= 20 and "guess" in caplog.text
    assert calibrated(run.logits, temperature)[0] == pytest.approx([1 / 3] * 3, abs=0.07)


def test_a_run_that_diverged_keeps_temperature_one():
    assert fit_temperature(outcomes(np.full((1, 5, 3), np.nan), np.zeros(5, int))) == 1
