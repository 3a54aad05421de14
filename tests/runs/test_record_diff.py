"""Two runs have the same numbers, nearly the same, or not; and where they first differ is found."""

import dataclasses
import math

import numpy as np
import pytest
from msgspec.structs import replace

from visionsweep.runs.measures import estimate_metrics
from visionsweep.runs.record_diff import compare
from visionsweep.runs.scores import Scores, SplitScores


@pytest.fixture
def replicated(make_record, make_outcomes):
    """Make a record of three epochs and two replicates, with its predictions."""

    def make(losses=(0.9, 0.7, 0.6), **facts):
        made = make_record("a-run", *losses, **facts)
        made.history = [
            replace(epoch, replicates=(SplitScores(epoch.train, epoch.val, epoch.test),) * 2)
            for epoch in made.history
        ]
        predictions = {
            split: make_outcomes([[[0.7, 0.3], [0.4, 0.6]], [[0.6, 0.4], [0.2, 0.8]]], [0, 1])
            for split in ("val", "test")
        }
        made.evaluation = {split: estimate_metrics(each) for split, each in predictions.items()}
        return made, predictions

    return make


def changed(made, epoch, replicate, split, **values):
    """Change scores of one replicate in one epoch, both counted from 1."""
    of = made.history[epoch - 1]
    replicates = list(of.replicates)
    scores = replace(getattr(replicates[replicate - 1], split), **values)
    replicates[replicate - 1] = replace(replicates[replicate - 1], **{split: scores})
    made.history[epoch - 1] = replace(of, replicates=tuple(replicates))
    return made


def test_equal_numbers_are_identical_despite_other_times_and_commands(replicated):
    (before, logits), (after, again) = replicated(), replicated(seconds=99.0)
    after.started, after.command = "2027-01-01T00:00:00+00:00", ["other.py"]
    after.history = [replace(epoch, seconds=7.0) for epoch in after.history]
    agreement = compare(before, after, logits, again)
    assert (agreement.verdict, agreement.unequal, agreement.first, agreement.logits) == (
        "identical",
        0,
        None,
        0.0,
    )
    # 3 epochs of 20 numbers, 2 x 7 of metrics, the evaluation, and 2 splits of 2 x 2 x 2 logits
    evaluated = sum(3 + 2 for split in before.evaluation.values() for _ in split)
    assert agreement.compared == 3 * 20 + 14 + evaluated + 16


def test_two_equal_diverged_runs_are_identical(replicated):
    (before, logits), (after, again) = (replicated((0.9, math.nan)) for _ in range(2))
    for each in (logits, again):
        each["val"].logits[0, 0, 0] = math.nan
    assert compare(before, after, logits, again).verdict == "identical"
    after, again = replicated((0.9, 0.8))
    agreement = compare(before, after, logits, again)
    assert agreement.verdict == "different" and agreement.largest.size == math.inf


def test_single_different_number_is_named(replicated):
    (before, logits), (after, again) = replicated(), replicated()
    changed(before, 2, 2, "val", loss=0.71)
    changed(before, 3, 1, "train", accuracy=0.2)
    agreement = compare(before, after, logits, again)
    assert (agreement.verdict, agreement.unequal) == ("different", 2)
    assert str(agreement.first) == "history[1].replicates[1].val.loss: 0.71 was recorded, now 0.7"
    assert agreement.largest.where == "history[2].replicates[0].train.accuracy"
    assert agreement.largest.size == pytest.approx(0.5)


@pytest.mark.parametrize(("by", "verdict"), [(9e-7, "within tolerance"), (1.1e-6, "different")])
def test_scores_may_differ_by_the_tolerance(replicated, by, verdict):
    (before, logits), (after, again) = replicated(), replicated()
    changed(after, 1, 1, "test", loss=before.history[0].test.loss + by)
    agreement = compare(before, after, logits, again)
    assert agreement.verdict == verdict and agreement.largest.size == pytest.approx(by)


def test_first_difference_named_exceeds_the_tolerance(replicated):
    (before, logits), (after, again) = replicated(), replicated()
    changed(after, 1, 1, "val", loss=before.history[0].val.loss + 1e-9)
    changed(after, 3, 2, "val", loss=0.5)
    agreement = compare(before, after, logits, again)
    assert agreement.first.where == "history[2].replicates[1].val.loss"


def test_runs_with_different_logits_are_not_identical(replicated):
    (before, logits), (after, again) = replicated(), replicated()
    again["test"].logits[1, 0, 1] += 0.25
    agreement = compare(before, after, logits, again)
    assert (agreement.verdict, agreement.unequal, agreement.largest) == (
        "within tolerance",
        1,
        None,
    )
    assert agreement.logits == pytest.approx(0.25)
    assert agreement.first.where == "test.logits[1, 0, 1]"


def test_heads_on_bootstrap_samples_are_compared_if_the_earlier_run_has_them(replicated):
    (before, logits), (after, again) = replicated(), replicated()
    images = len(logits["val"].labels)
    sampled = dataclasses.replace(logits["val"], bootstrap=np.ones((8, images), np.float32))
    assert compare(before, after, logits, again | {"val": sampled}).verdict == "identical"
    assert compare(before, after, logits | {"val": sampled}, again).verdict == "different"
    other = dataclasses.replace(sampled, bootstrap=sampled.bootstrap.copy())
    other.bootstrap[3, 1] = 1.5
    agreement = compare(before, after, logits | {"val": sampled}, again | {"val": other})
    assert agreement.first.where == "val.bootstrap[3, 1]" and agreement.unequal == 1


def test_logits_of_other_images_are_different(replicated, make_outcomes):
    (before, logits), (after, again) = replicated(), replicated()
    again["val"] = dataclasses.replace(again["val"], images=("another", "image-1"))
    agreement = compare(before, after, logits, again)
    assert agreement.verdict == "different" and agreement.first.where == "val.images"
    del again["val"]
    assert compare(before, after, logits, again).verdict == "different"


def test_missing_epoch_is_different(replicated):
    (before, logits), (after, again) = replicated(), replicated()
    del before.history[1]
    agreement = compare(before, after, logits, again)
    assert agreement.verdict == "different" and agreement.first.where == "history[1].epoch"


def test_numbers_missing_in_earlier_versions_are_not_compared(replicated):
    (before, _), (after, again) = replicated(), replicated()
    before.history = [replace(epoch, replicates=()) for epoch in before.history]
    before.evaluation = {}
    agreement = compare(before, after, None, again)
    assert (agreement.verdict, agreement.compared, agreement.logits) == (
        "identical",
        3 * 8 + 14,
        None,
    )


def test_metrics_and_evaluation_are_compared_too(replicated):
    (before, logits), (after, again) = replicated(), replicated()
    best = replace(before.metrics.best, test=Scores(0.1, 0.8))
    before.metrics = replace(before.metrics, best=best)
    agreement = compare(before, after, logits, again)
    assert agreement.first.where == "metrics.best.test.loss"
    before, logits = replicated()
    measure = before.evaluation["val"]["macro_f1"]
    before.evaluation["val"]["macro_f1"] = replace(measure, low=measure.low - 0.01)
    agreement = compare(before, after, logits, again)
    assert agreement.first.where == "evaluation.val.macro_f1.low"
    assert np.isclose(agreement.largest.size, 0.01)


def test_bounds_of_another_method_are_not_compared_and_all_else_is(replicated):
    (before, logits), (after, again) = replicated(), replicated()
    before.intervals_version, after.intervals_version = 1, 2
    loss = after.evaluation["val"]["loss"]
    after.evaluation["val"]["loss"] = replace(loss, high=loss.high + 1)
    agreement = compare(before, after, logits, again)
    assert agreement.verdict == "identical"
    after.evaluation["val"]["loss"] = replace(loss, low=loss.low - 1)
    assert compare(before, after, logits, again).first.where == "evaluation.val.loss.low"
    before.intervals_version = 2
    assert compare(before, after, logits, again).verdict == "different"
