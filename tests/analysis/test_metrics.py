"""Metrics against values worked out by hand."""

import numpy as np
import pytest

from visionsweep.analysis.metrics import (
    METRICS,
    confusion,
    most_confused,
    per_replicate,
    reliability,
)
from visionsweep.analysis.predictions import Predictions


def predictions(probabilities, labels) -> Predictions:
    logits = np.log(np.asarray(probabilities, np.float64)).astype(np.float32)
    return Predictions(logits, np.asarray(labels), tuple(map(str, range(len(labels)))))


def predicting(classes, labels, *, of: int = 3) -> Predictions:
    """One row of predicted classes for each replicate, all with the same confidence."""
    return predictions(np.full(of, 0.1) + (1 - 0.1 * of) * np.eye(of)[np.asarray(classes)], labels)


def test_loss_is_the_mean_of_minus_the_logarithm_of_the_true_class_probability():
    one = [[0.5, 0.25, 0.25], [0.25, 0.25, 0.5]]
    two = [[0.25, 0.5, 0.25], [0.125, 0.125, 0.75]]
    losses = per_replicate(predictions([one, two], [0, 2]))["loss"]
    assert losses == pytest.approx([np.log(2), (np.log(4) - np.log(0.75)) / 2], rel=1e-6)


def test_macro_f1_equals_a_worked_example():
    scores = per_replicate(predicting([[0, 0, 1, 1, 1, 2]], [0, 0, 0, 1, 0, 2]))
    # class 0: 4 true, 2 predicted, 2 right; class 1: 1 true, 3 predicted, 1 right; class 2: 1, 1, 1
    assert scores["macro_f1"] == pytest.approx([(4 / 6 + 2 / 4 + 1) / 3])
    assert scores["accuracy"] == pytest.approx([4 / 6])


def test_absent_class_that_is_never_predicted_is_left_out_of_macro_f1():
    labels = [0, 0, 1, 1]
    with_two = per_replicate(predicting([[0, 1, 1, 1]], labels, of=2))["macro_f1"]
    with_five = per_replicate(predicting([[0, 1, 1, 1]], labels, of=5))["macro_f1"]
    assert with_two == pytest.approx([(2 / 3 + 4 / 5) / 2])
    assert with_five == pytest.approx([(2 / 3 + 4 / 5) / 2])
    taken_for_a_third = per_replicate(predicting([[0, 2, 1, 1]], labels, of=5))["macro_f1"]
    assert taken_for_a_third == pytest.approx([(2 / 3 + 1 + 0) / 3])


def test_calibration_error_equals_a_worked_example():
    surely, barely = [0.7, 0.3], [0.6, 0.4]
    errors = per_replicate(predictions([[surely, surely, surely, barely]], [0, 0, 1, 0]))["ece"]
    # |0.7 - 2/3| x 3/4 + |0.6 - 1| x 1/4
    assert errors == pytest.approx([0.1 / 3 * 3 / 4 + 0.4 / 4], rel=1e-5)


def test_gaps_of_opposite_sign_cancel_within_a_bin_only():
    within = per_replicate(predictions([[[0.7, 0.3], [0.7, 0.3]]], [0, 1]))["ece"]
    assert within == pytest.approx([0.2], rel=1e-5)  # |0.7 - 1/2|
    across = per_replicate(predictions([[[0.7, 0.3], [0.9, 0.1]]], [0, 1]))["ece"]
    assert across == pytest.approx([(0.3 + 0.9) / 2], rel=1e-5)


def test_confusion_counts_true_classes_in_rows_and_predicted_ones_in_columns():
    counts = confusion(np.array([0, 0, 1, 2]), np.array([0, 1, 2, 2]), 4)
    assert counts.tolist() == [[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert most_confused(counts, 5) == [(0, 1, 1), (1, 2, 1)]
    assert most_confused(counts, 1) == [(0, 1, 1)]


def test_reliability_gives_accuracy_beside_confidence_and_nan_for_empty_bins():
    confidence = np.array([0.69, 0.67, 0.92, 0.95])
    bins = reliability(confidence, np.array([True, False, True, True]))
    assert bins.images.tolist() == [0, 0, 0, 0, 0, 0, 2, 0, 0, 2]
    assert bins.accuracy[[6, 9]].tolist() == [0.5, 1]
    assert bins.confidence[[6, 9]] == pytest.approx([0.68, 0.935])
    assert np.isnan(bins.accuracy[:6]).all() and np.isnan(bins.confidence[7])
    assert bins.edges == pytest.approx(np.arange(11) / 10)
    assert bins.ece == pytest.approx((abs(1.36 - 1) + abs(1.87 - 2)) / 4)


def test_diverged_replicate_has_no_metrics_and_does_not_affect_others():
    whole = predicting([[0, 1, 2], [0, 1, 1]], [0, 1, 2])
    logits = np.concatenate([whole.logits, np.full((1, 3, 3), np.nan, np.float32)])
    scores = per_replicate(Predictions(logits, whole.labels, whole.images))
    for name in METRICS:
        assert scores[name][:2] == pytest.approx(per_replicate(whole)[name])
        assert np.isnan(scores[name][2])
