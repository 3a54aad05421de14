"""Two runs have the same numbers, nearly the same, or not; and where they first differ is found."""

import dataclasses
import math

import numpy as np
import pytest
from msgspec.structs import replace

from visionsweep.runs.record_diff import compare
from visionsweep.runs.scores import Scores, SplitScores, estimate_metrics


@pytest.fixture
def replicated(make_record, make_outcomes):
    """Make a record of three epochs and two replicates, with its predictions."""

    def make(losses=(0.9, 0.7, 0.6), **facts):
        made = make_record("a-run", *losses, **facts)
        made.history = [
            replace(epoch, replicates=(SplitScores(epoch.train, epoch.val, epoch.test),) * 2)
            for epoch in made.history
        ]
        found = {
            split: make_outcomes([[[0.7, 0.3], [0.4, 0.6]], [[0.6, 0.4], [0.2, 0.8]]], [0, 1])
            for split in ("val", "test")
        }
        made.evaluation = {split: estimate_metrics(each) for split, each in found.items()}
        return made, found

    return make


def changed(made, epoch, replicate, split, **values):
    """Change scores of one replicate in one epoch, both counted from 1."""
    of = made.history[epoch - 1]
    each = list(of.replicates)
    scores = replace(getattr(each[replicate - 1], split), **values)
    each[replicate - 1] = replace(each[replicate - 1], **{split: scores})
    made.history[epoch - 1] = replace(of, replicates=tuple(each))
    return made


def test_equal_numbers_are_identical_despite_other_times_and_commands(replicated):
    (before, logits), (after, again) = replicated(), replicated(seconds=99.0)
    after.started, after.command = "2027-01-01T00:00:00+00:00", ["other.py"]
    after.history = [replace(epoch, seconds=7.0) for epoch in after.history]
    found = compare(before, after, logits, again)
    assert (found.verdict, found.unequal, found.first, found.logits) == ("identical", 0, None, 0.0)
    # 3 epochs of 20 numbers, 2 x 7 of metrics, the evaluation, and 2 splits of 2 x 2 x 2 logits
    evaluated = sum(3 + 2 for split in before.evaluation.values() for _ in split)
    assert found.compared == 3 * 20 + 14 + evaluated + 16


def test_two_equal_diverged_runs_are_identical(replicated):
    (before, logits), (after, again) = (replicated((0.9, math.nan)) for _ in range(2))
    for each in (logits, again):
        each["val"].logits[0, 0, 0] = math.nan
    assert compare(before, after, logits, again).verdict == "identical"
    after, again = replicated((0.9, 0.8))
    found = compare(before, after, logits, again)
    assert found.verdict == "different" and found.largest.size == math.inf


def test_single_different_number_is_named(replicated):
    (before, logits), (after, again) = replicated(), replicated()
    changed(before, 2, 2, "val", loss=0.71)
    changed(before, 3, 1, "train", accuracy=0.2)
    found = compare(before, after, logits, again)
    assert (found.verdict, found.unequal) == ("different", 2)
    assert str(found.first) == "history[1].replicates[1].val.loss: 0.71 was recorded, now 0.7"
    assert found.largest.where == "history[2].replicates[0].train.accuracy"
    assert found.largest.size == pytest.approx(0.5)


@pytest.mark.parametrize(("by", "verdict"), [(9e-7, "within tolerance"), (1.1e-6, "different")])
def test_scores_may_differ_by_the_tolerance(replicated, by, verdict):
    (before, logits), (after, again) = replicated(), replicated()
    changed(after, 1, 1, "test", loss=before.history[0].test.loss + by)
    found = compare(before, after, logits, again)
    assert found.verdict == verdict and found.largest.size == pytest.approx(by)


def test_first_difference_named_exceeds_the_tolerance(replicated):
    (before, logits), (after, again) = replicated(), replicated()
    changed(after, 1, 1, "val", loss=before.history[0].val.loss + 1e-9)
    changed(after, 3, 2, "val", loss=0.5)
    found = compare(before, after, logits, again)
    assert found.first.where == "history[2].replicates[1].val.loss"


def test_runs_with_different_logits_are_not_identical(replicated):
    (before, logits), (after, again) = replicated(), replicated()
    again["test"].logits[1, 0, 1] += 0.25
    found = compare(before, after, logits, again)
    assert (found.verdict, found.unequal, found.largest) == ("within tolerance", 1, None)
    assert found.logits == pytest.approx(0.25)
    assert found.first.where == "test.logits[1, 0, 1]"


def test_logits_of_other_images_are_different(replicated, make_outcomes):
    (before, logits), (after, again) = replicated(), replicated()
    again["val"] = dataclasses.replace(again["val"], images=("another", "image-1"))
    found = compare(before, after, logits, again)
    assert found.verdict == "different" and found.first.where == "val.images"
    del again["val"]
    assert compare(before, after, logits, again).verdict == "different"


def test_missing_epoch_is_different(replicated):
    (before, logits), (after, again) = replicated(), replicated()
    del before.history[1]
    found = compare(before, after, logits, again)
    assert found.verdict == "different" and found.first.where == "history[1].epoch"


def test_numbers_missing_in_earlier_versions_are_not_compared(replicated):
    (before, _), (after, again) = replicated(), replicated()
    before.history = [replace(epoch, replicates=()) for epoch in before.history]
    before.evaluation = {}
    found = compare(before, after, None, again)
    assert (found.verdict, found.compared, found.logits) == ("identical", 3 * 8 + 14, None)


def test_metrics_and_evaluation_are_compared_too(replicated):
    (before, logits), (after, again) = replicated(), replicated()
    best = replace(before.metrics.best, test=Scores(0.1, 0.8))
    before.metrics = replace(before.metrics, best=best)
    found = compare(before, after, logits, again)
    assert found.first.where == "metrics.best.test.loss"
    before, logits = replicated()
    measure = before.evaluation["val"]["macro_f1"]
    before.evaluation["val"]["macro_f1"] = replace(measure, low=measure.low - 0.01)
    found = compare(before, after, logits, again)
    assert found.first.where == "evaluation.val.macro_f1.low"
    assert np.isclose(found.largest.size, 0.01)
