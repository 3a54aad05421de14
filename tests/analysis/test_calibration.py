"""Temperatures that are known, and those that would run away."""

import logging

import numpy as np
import pytest
from scipy.special import softmax

from visionsweep.analysis.calibration import HIGHEST, LOWEST, calibrated, fit_temperature
from visionsweep.analysis.predictions import Predictions


def predictions(logits, labels) -> Predictions:
    return Predictions(
        np.asarray(logits, np.float32), np.asarray(labels), tuple(map(str, range(len(labels))))
    )


def drawn(factor: float, *, replicates: int = 1, images: int = 20_000) -> Predictions:
    """Labels drawn from softmax(logits), logits then multiplied."""
    source = np.random.default_rng(1)
    logits = 2 * source.normal(size=(images, 3))
    chances = softmax(logits, axis=1).cumsum(1)
    labels = (source.random((images, 1)) > chances).sum(1)
    return predictions(np.repeat(factor * logits[None], replicates, axis=0), labels)


def test_calibrated_is_the_mean_over_replicates_of_softmax():
    logits = np.array([[[2.0, 0.0]], [[0.0, 4.0]]], np.float32)
    expected = (softmax([1.0, 0.0]) + softmax([0.0, 2.0])) / 2
    assert calibrated(logits, 2.0)[0] == pytest.approx(expected)
    assert calibrated(logits, 2.0).dtype == np.float64


@pytest.mark.parametrize("factor", [0.25, 1, 3])
def test_temperature_inverts_a_factor_of_the_logits(factor):
    assert fit_temperature(drawn(factor)) == pytest.approx(factor, rel=0.03)
    assert fit_temperature(drawn(factor, replicates=3)) == pytest.approx(factor, rel=0.03)


def test_no_other_temperature_gives_a_higher_likelihood():
    source = np.random.default_rng(2)
    run = predictions(3 * source.normal(size=(4, 100, 3)), source.integers(3, size=100))
    run.logits[:, np.arange(100), run.labels] += 3

    def loss(temperature):
        chances = calibrated(run.logits, temperature)
        return -np.log(chances[np.arange(100), run.labels]).mean()

    best = fit_temperature(run)
    assert all(loss(best) <= loss(other) for other in np.geomspace(0.05, 20, 200))


def all_right(gap: float, *, replicates: int, classes: int, images: int = 200) -> Predictions:
    """Every image right by the same gap between its label's logit and all others."""
    labels = np.arange(images) % classes
    return predictions(np.repeat(gap * np.eye(classes)[None, labels], replicates, axis=0), labels)


@pytest.mark.parametrize("gap", [0.1, 1, 3, 10, 1000])
@pytest.mark.parametrize("replicates", [1, 5])
@pytest.mark.parametrize("classes", [2, 3, 100])
def test_confidence_after_perfect_validation_is_bounded_by_the_number_of_images(
    gap, replicates, classes
):
    run = all_right(gap, replicates=replicates, classes=classes)
    temperature = fit_temperature(run)
    assert LOWEST <= temperature <= HIGHEST
    confidence = calibrated(run.logits, temperature)[0].max()
    if LOWEST * 1.01 < temperature < HIGHEST / 1.01:
        # right 201 times in 202, by the rule of succession
        assert confidence == pytest.approx(201 / 202, abs=1e-4)
    else:
        assert gap in (0.1, 1000)


@pytest.mark.parametrize("gap", [1, 3, 10])
@pytest.mark.parametrize("replicates", [1, 5])
@pytest.mark.parametrize("classes", [2, 100])
def test_wrong_image_after_perfect_validation_is_less_sure_than_the_right_ones(
    gap, replicates, classes
):
    """On the way to another class, logits pass a gap of half the usual one."""
    temperature = fit_temperature(all_right(gap, replicates=replicates, classes=classes))
    wrong = np.zeros((replicates, 1, classes))
    wrong[..., 1] = gap / 2
    assert calibrated(wrong, temperature).max() < 0.95


def test_perfect_validation_with_spread_gaps_warns_of_most_wrong_test_images():
    """Of a model that is right 199 times in 200, wrong test images are not sure at all."""
    source = np.random.default_rng(4)

    def sample(images: int) -> Predictions:
        labels = np.arange(images) % 3
        logits = source.normal(size=(images, 3))
        logits[np.arange(images), labels] += 4.2
        return predictions(4 * logits[None], labels)

    validation, test = sample(4000), sample(20_000)
    chosen = np.flatnonzero(validation.correct[0])[:136]
    temperature = fit_temperature(
        predictions(validation.logits[:, chosen], validation.labels[chosen])
    )
    wrong = ~test.correct[0]
    confidence = calibrated(test.logits, temperature).max(1)
    assert 0.002 < wrong.mean() < 0.01, "the premise"
    assert confidence[wrong].mean() < 0.75
    assert confidence[~wrong].mean() > 0.95


def test_disagreement_on_one_image_does_not_narrow_the_interval_of_others():
    """Four of five right on one image, all right by 10 on the rest: flat again."""
    run = all_right(10, replicates=5, classes=2)
    run.logits[0, 0] = run.logits[0, 0][::-1]
    assert fit_temperature(run) > 1


def test_run_no_better_than_chance_becomes_uncertain_with_a_warning(caplog):
    labels = np.arange(60) % 3
    run = predictions(5 * np.eye(3)[None, (labels + 1) % 3], labels)
    with caplog.at_level(logging.WARNING):
        temperature = fit_temperature(run)
    assert 15 < temperature <= 20 and "guess" in caplog.text
    assert calibrated(run.logits, temperature)[0] == pytest.approx([1 / 3] * 3, abs=0.07)


def test_diverged_run_keeps_temperature_one():
    assert fit_temperature(predictions(np.full((1, 5, 3), np.nan), np.zeros(5, int))) == 1
