"""Scores of each class: worked by hand."""

import numpy as np
import pytest

from visionsweep.analysis.intervals import wilson
from visionsweep.analysis.per_class import balanced_accuracy, class_scores

COUNTS = np.array([[8, 2, 0], [1, 3, 0], [0, 5, 0]])


def test_precision_recall_and_f1_follow_from_the_counts():
    first, second, third = class_scores(COUNTS)
    assert (first.images, first.predicted) == (10, 9)
    assert first.recall == wilson(8, 10) and first.precision == wilson(8, 9)
    assert first.f1.value == pytest.approx(2 * 8 / 19)
    assert (second.images, second.predicted) == (4, 10)
    assert second.f1.value == pytest.approx(6 / 14)
    assert third.predicted == 0 and np.isnan(third.precision.value)
    assert third.recall.value == 0 and third.f1.value == 0


def test_interval_of_f1_covers_the_truth_as_often_as_it_says():
    source = np.random.default_rng(0)
    truth = np.array([[0.25, 0.05], [0.15, 0.55]])  # share of each (true, predicted) pair
    f1 = 2 * 0.25 / (2 * 0.25 + 0.05 + 0.15)
    draws = source.multinomial(100, truth.ravel(), size=2000).reshape(-1, 2, 2)
    intervals = [class_scores(counts)[0].f1 for counts in draws]
    held = np.mean([each.low <= f1 <= each.high for each in intervals])
    assert held == pytest.approx(0.95, abs=0.015)
    perfect = class_scores(np.array([[20, 0], [0, 20]]))[0].f1
    assert perfect.value == 1 and 0.85 < perfect.low < 0.95 and perfect.high == 1


def test_absent_class_has_no_scores():
    (_, nowhere) = class_scores(np.array([[3, 0], [0, 0]]))
    assert np.isnan([nowhere.precision.value, nowhere.recall.value, nowhere.f1.value]).all()


def test_balanced_accuracy_is_the_mean_recall_of_the_classes_that_occur():
    assert balanced_accuracy(COUNTS) == pytest.approx((0.8 + 0.75 + 0) / 3)
    assert balanced_accuracy(np.array([[3, 1], [0, 0]])) == 0.75
    assert np.isnan(balanced_accuracy(np.zeros((2, 2), int)))
