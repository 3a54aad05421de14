"""Logits of the most probable classes: exact where the deployed predictor and replicates are."""

import numpy as np
import pytest

from visionsweep.analysis.calibration import deployed_predictions
from visionsweep.analysis.predictions import Predictions
from visionsweep.analysis.top_logits import KEPT, TopLogits, shortened

CLASSES, TEMPERATURE = 130, 1.7


def predictions(classes: int = CLASSES, *, images: int = 40) -> Predictions:
    """Return predictions of three uncertain replicates, whose labels are often improbable."""
    source = np.random.default_rng(classes)
    logits = source.normal(size=(3, images, classes)) + source.normal(size=(images, classes))
    labels = source.integers(0, classes, images)
    return Predictions(logits.astype(np.float32), labels, tuple(map(str, range(images))))


@pytest.mark.parametrize("deployed", [True, False])
def test_losses_and_predictions_are_those_of_all_logits(deployed: bool):
    whole = predictions()
    top = TopLogits.of(whole, TEMPERATURE)
    assert top.logits.shape == (3, 40, KEPT) and top.classes.shape == (40, KEPT)
    logits = top.all_classes(CLASSES, deployed=deployed)
    some = Predictions(logits, whole.labels, whole.images)
    assert not np.array_equal(some.logits, whole.logits)
    if deployed:
        whole, some = (deployed_predictions(p, TEMPERATURE) for p in (whole, some))
    np.testing.assert_allclose(some.losses, whole.losses, atol=1e-5)
    np.testing.assert_allclose(some.confidence, whole.confidence, atol=1e-6)
    np.testing.assert_array_equal(some.predicted, whole.predicted)


def test_predictions_of_few_classes_are_unchanged():
    few = predictions(99)
    assert shortened(few, TEMPERATURE) is few


def test_what_was_stored_is_stored_again_unchanged():
    once = shortened(predictions(), TEMPERATURE)
    again = shortened(once, TEMPERATURE)
    np.testing.assert_allclose(again.logits, once.logits, atol=1e-5)
    np.testing.assert_array_equal(again.predicted, once.predicted)


def test_logits_that_are_no_numbers_stay_so():
    diverged = predictions()
    diverged.logits[1, 3, 7] = np.nan
    assert shortened(diverged, TEMPERATURE).finite.tolist() == [True, False, True]
