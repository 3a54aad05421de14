"""What a sweep says of the time it needs comes from the runs that it has finished."""

import pytest

from visionsweep.sweep.endings import Ending
from visionsweep.sweep.estimate import Estimate, in_words

GRID = [
    {"model": model, "epochs": epochs, "seed": seed}
    for model in ("small", "large")
    for epochs in ("5", "10")
    for seed in ("1", "2")
]


def ended(run, *, features=0.0, per_epoch=1.0, note=""):
    """A completed run that took a second beside its features and epochs."""
    epochs = int(run["epochs"])
    seconds = {"features": features, "training": per_epoch * epochs}
    seconds["total"] = sum(seconds.values()) + 1.0
    return Ending("run", "completed", note, val_loss=0.1, seconds=seconds, epochs=epochs)


def test_nothing_is_estimated_before_a_run_was_trained():
    estimate = Estimate(GRID)
    assert estimate.seconds_left() is None
    estimate.ended(GRID[0], ended(GRID[0], note="finished earlier"))
    assert estimate.seconds_left() is None


def test_epochs_and_a_backbone_whose_features_are_missing_are_weighed():
    estimate = Estimate(GRID)
    estimate.ended(GRID[0], ended(GRID[0], features=30))
    # Seven runs of a second each, 5 + 2 * 10 + 2 * 5 + 2 * 10 epochs, and another extraction.
    assert estimate.seconds_left() == pytest.approx(7 + 55 + 30)


def test_runs_of_a_model_are_judged_by_those_of_the_same_model():
    estimate = Estimate(GRID)
    for run in GRID[:4]:
        estimate.ended(run, ended(run))
    estimate.ended(GRID[4], ended(GRID[4], per_epoch=3))
    assert estimate.seconds_left() == pytest.approx(3 + 3 * 25)


def test_nothing_is_left_when_all_have_ended():
    estimate = Estimate(GRID)
    for run in GRID:
        estimate.ended(run, ended(run))
    assert estimate.seconds_left() == 0


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(3, "a few seconds"), (22, "about 20 s"), (57, "about 1 min"), (130, "about 2 min"),
     (9_000, "about 2.5 h")],
)  # fmt: skip
def test_a_duration_is_said_as_roughly_as_it_is_known(seconds, said):
    assert in_words(seconds) == said
