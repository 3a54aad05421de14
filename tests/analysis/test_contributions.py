"""Metrics and the contribution of each image, against known values and numerical derivatives."""

import numpy as np
import pytest

from visionsweep.analysis.contributions import contributions
from visionsweep.analysis.metrics import confusion
from visionsweep.analysis.per_class import balanced_accuracy
from visionsweep.analysis.predictions import Predictions


def predictions(logits, labels) -> Predictions:
    table = np.asarray(logits, np.float32)[None]
    return Predictions(table, np.asarray(labels), tuple(map(str, range(len(labels)))))


def binary(scores, labels) -> Predictions:
    return predictions(np.stack([np.zeros(len(scores)), scores], axis=1), labels)


def random_predictions(classes: int, images: int = 60) -> Predictions:
    source = np.random.default_rng(classes)
    labels = np.sort(
        source.choice(classes, images, p=np.arange(1, classes + 1) / sum(range(classes + 1)))
    )
    logits = np.round(source.normal(size=(images, classes)), 1)  # with ties
    logits[np.arange(images), labels] += 1
    return predictions(logits, labels)


def test_known_values_of_two_classes():
    """Values of scikit-learn's roc_auc_score and average_precision_score."""
    found = contributions(binary([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]))
    assert found["auroc"].value == pytest.approx(0.75)
    assert found["average_precision"].value == pytest.approx(0.8333333)


def test_ties_count_half_in_the_area_under_the_curve():
    found = contributions(binary([1.0, 1.0, 1.0, 1.0], [0, 1, 0, 1]))
    assert found["auroc"].value == found["average_precision"].value == pytest.approx(0.5)


def test_balanced_accuracy_is_the_mean_recall_of_the_classes_with_images():
    one = random_predictions(4)
    matrix = confusion(one.labels, one.predicted[0], 4)
    assert contributions(one)["balanced_accuracy"].value == pytest.approx(balanced_accuracy(matrix))


def test_an_image_counts_as_a_top_5_hit_if_fewer_than_five_classes_are_more_probable():
    logits = np.tile(np.arange(20.0), (3, 1))
    found = contributions(predictions(logits, [19, 15, 14]))
    assert found["top5_accuracy"].value == pytest.approx(2 / 3)


def test_metrics_depend_on_the_number_of_classes():
    assert contributions(random_predictions(2)).keys() == {
        "accuracy", "balanced_accuracy", "macro_f1", "auroc", "average_precision"
    }  # fmt: skip
    assert contributions(random_predictions(3)).keys() == {
        "accuracy", "balanced_accuracy", "macro_f1"
    }  # fmt: skip


@pytest.mark.parametrize("classes", [2, 5, 20])
def test_influence_is_the_derivative_by_the_weight_of_an_image(classes):
    one = random_predictions(classes)
    images, copies = len(one.labels), 400
    exact = contributions(one)
    for image in range(0, images, 7):
        places = np.append(np.tile(np.arange(images), copies), image)
        more = contributions(predictions(one.logits[0][places], one.labels[places]))
        for name, metric in exact.items():
            slope = (more[name].value - metric.value) * images * copies
            assert slope == pytest.approx(metric.influence[image], abs=0.02), name


def test_the_paired_interval_of_equal_predictors_is_zero_and_covers_the_truth():
    one = random_predictions(3)
    same = contributions(one)["balanced_accuracy"]
    assert same.minus(same).value == same.minus(same).low == same.minus(same).high == 0


@pytest.mark.parametrize(
    "name",
    [
        "macro_f1",
        *(
            pytest.param(name, marks=pytest.mark.exhaustive)
            for name in ("balanced_accuracy", "auroc", "average_precision")
        ),
    ],
)
def test_paired_intervals_cover_the_true_difference(name):
    """Two scores of different quality, correlated as those of two models are."""

    def draw(source, images):
        labels = (source.random(images) < 0.3).astype(int)
        common = source.normal(size=images)
        pair = [
            1.2 * labels - 0.6 + 0.7 * common + e * source.normal(size=images) for e in (0.5, 0.9)
        ]
        return [contributions(binary(scores, labels))[name] for scores in pair]

    better, worse = draw(np.random.default_rng(0), 400_000)
    truth = better.value - worse.value
    held = 0
    for seed in range(400):
        first, second = draw(np.random.default_rng(seed + 1), 200)
        found = first.minus(second)
        held += found.low <= truth <= found.high
    assert held >= 0.92 * 400
