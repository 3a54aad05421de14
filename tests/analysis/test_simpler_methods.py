"""What simpler intervals would miss, and what those in use miss: the limits in docs/evidence.md.

`pytest tests/analysis/test_simpler_methods.py -rP` prints the rates that the page states.
"""

import numpy as np
import pytest

from visionsweep.analysis.intervals import estimates
from visionsweep.analysis.metrics import per_replicate
from visionsweep.analysis.predictions import Predictions
from visionsweep.analysis.resampling import bootstrap_weights

pytestmark = pytest.mark.exhaustive

LEVELS = [0.025, 0.975]


def weights_of(images: int):
    return next(bootstrap_weights(images, seed=1, n_resamples=1000))


def redrawing_both(run: Predictions):
    """Percentiles of the loss with images and R - 1 of R replicates resampled."""
    replicates, images = run.losses.shape
    source = np.random.default_rng(1)
    chosen = source.multinomial(replicates - 1, np.full(replicates, 1 / replicates), size=1000)
    resampled = (chosen @ run.losses / (replicates - 1) * weights_of(images).T).sum(1)
    return np.quantile(resampled, LEVELS)


def percentiles_of_losses(run: Predictions):
    return np.quantile(run.losses.mean(0) @ weights_of(run.losses.shape[1]), LEVELS)


def percentiles_of_accuracies(run: Predictions):
    return np.quantile(run.correct.mean(0) @ weights_of(run.losses.shape[1]), LEVELS)


def percentiles_of_calibration_errors(run: Predictions):
    source = np.random.default_rng(1)
    resampled = []
    for _ in range(100):
        drawn = source.integers(run.losses.shape[1], size=run.losses.shape[1])
        part = Predictions(run.logits[:, drawn], run.labels[drawn], run.images)
        resampled.append(per_replicate(part)["ece"].mean())
    return np.quantile(resampled, LEVELS)


@pytest.fixture
def rates(population):
    """Return how often a simpler interval and the one in use hold the truth."""

    def measure(simpler, metric, *, cases, replicates=5, images=136, **changes):
        people, source = population(**changes), np.random.default_rng(13)
        truth, held = people.truth()[metric], []
        for _ in range(cases):
            run = people.draw(source, images, replicates)[0]
            interval = estimates(run)[metric]
            for low, high in (simpler(run) if simpler else (0, 1), (interval.low, interval.high)):
                held.append(low <= truth <= high)
        simple, used = np.mean(held[::2]), np.mean(held[1::2])
        name = f"{simpler.__name__} {simple:.1%}, " if simpler else ""
        print(f"{metric} {truth:.3f}, {changes}: {name}in use {used:.1%}")
        return simple, used

    return measure


def test_resampling_five_replicates_underestimates_the_variance_of_seeds(rates):
    simple, used = rates(redrawing_both, "loss", cases=300, seeds=0.8)
    assert simple < 0.91 < used


def test_resampled_replicates_count_the_variance_of_images_twice(rates):
    simple, used = rates(redrawing_both, "loss", cases=300, seeds=0.05, interaction=1.5)
    assert simple > 0.975 and used < simple - 0.01


def test_percentile_intervals_of_losses_miss_rare_images_of_high_loss(rates):
    simple, used = rates(
        percentiles_of_losses, "loss", cases=300, replicates=1, seeds=0, ease=3.5, sharpness=3
    )
    assert simple < 0.88 < used


def test_percentile_intervals_of_accuracies_near_one_undercover(rates):
    simple, used = rates(
        percentiles_of_accuracies, "accuracy", cases=400, replicates=1, seeds=0, ease=3.5
    )
    assert simple < 0.93 <= used


def test_percentile_intervals_of_calibration_errors_lie_above_the_truth(rates):
    simple, used = rates(percentiles_of_calibration_errors, "ece", cases=50)
    assert simple < 0.5 < 0.85 < used


def test_single_replicate_has_no_variance_of_seeds(rates):
    _, used = rates(None, "loss", cases=200, replicates=1, seeds=0.4)
    assert used < 0.8


def test_loss_of_thirty_images_counts_wrong_ones_that_the_sample_may_lack(rates):
    _, used = rates(None, "loss", cases=200, images=30, ease=3.5, sharpness=3)
    assert used > 0.93


def test_calibration_error_is_less_certain_if_nearly_all_images_are_correct(rates):
    _, used = rates(None, "ece", cases=400, ease=3.2)
    assert 0.85 < used < 0.93
