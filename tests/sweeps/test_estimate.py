"""What a sweep says of the time it needs comes from the runs that it has finished."""

import pytest

from visionsweep.sweeps.endings import Ending
from visionsweep.sweeps.estimate import Estimate, in_words

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


def test_no_estimate_before_the_first_run():
    estimate = Estimate(GRID)
    assert estimate.seconds_left() is None
    estimate.ended(GRID[0], ended(GRID[0], note="finished earlier"))
    assert estimate.seconds_left() is None


def test_estimate_weighs_epochs_and_missing_features():
    estimate = Estimate(GRID)
    estimate.ended(GRID[0], ended(GRID[0], features=30))
    # Seven runs, one second each, 5 + 2 * 10 + 2 * 5 + 2 * 10 epochs, and another extraction.
    assert estimate.seconds_left() == pytest.approx(7 + 55 + 30)


def test_estimate_of_a_model_uses_runs_of_the_same_model():
    estimate = Estimate(GRID)
    for run in GRID[:4]:
        estimate.ended(run, ended(run))
    estimate.ended(GRID[4], ended(GRID[4], per_epoch=3))
    assert estimate.seconds_left() == pytest.approx(3 + 3 * 25)


def test_estimate_of_extraction_counts_views():
    six = {"epochs": "5", "augmentation.views": "6", "augmentation.test_views": "6"}
    settings = [six | {"model": m, "augmentation": a} for m in "ab" for a in ("none", "flip")]
    estimate = Estimate(settings)
    estimate.ended(settings[0], ended(settings[0], features=10))
    assert estimate.seconds_left() == pytest.approx(3 * (1 + 5) + 10 * (6 + 1 + 6))


def test_no_time_is_left_when_all_runs_have_ended():
    estimate = Estimate(GRID)
    for run in GRID:
        estimate.ended(run, ended(run))
    assert estimate.seconds_left() == 0


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(3, "a few seconds"), (22, "about 20 s"), (57, "about 1 min"), (130, "about 2 min"),
     (9_000, "about 2.5 h")],
)  # fmt: skip
def test_durations_are_rounded(seconds, said):
    assert in_words(seconds) == said
