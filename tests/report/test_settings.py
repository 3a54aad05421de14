"""What a group of runs swept, and what merely followed from it."""

from pathlib import Path

import pytest

from visionsweep.report.settings import settings_of
from visionsweep.runs.discovery import Run


@pytest.fixture
def runs(make_record):
    """Runs whose configurations differ from one another in the given dotted keys."""

    def make(*changes: dict) -> list[Run]:
        made = []
        for number, change in enumerate(changes):
            record = make_record(f"run-{number}", 0.5)
            for key, value in change.items():
                group, _, name = key.rpartition(".")
                (record.config[group] if group else record.config)[name] = value
            made.append(Run(Path(str(number)), record))
        return made

    return make


def test_model_data_and_epochs_are_always_named(runs):
    assert settings_of(runs({})) == [{"model": "effnetb0", "data": "10pct", "epochs": 1}]


def test_swept_settings_are_named_and_locations_are_not(runs):
    found = settings_of(runs({"seed": 1, "device": "cpu"}, {"seed": 2, "device": "cuda"}))
    assert [list(each) for each in found] == [["model", "data", "epochs", "seed"]] * 2
    assert [each["seed"] for each in found] == [1, 2]


def test_dropout_that_the_model_implies_is_not_a_swept_setting(runs):
    change = {"model.label": "b2", "model.name": "efficientnet_b2", "model.dropout": 0.3}
    assert [list(each) for each in settings_of(runs({}, change))] == [
        ["model", "data", "epochs"]
    ] * 2


def test_dropout_swept_over_one_model_is_a_swept_setting(runs):
    found = settings_of(runs({"model.dropout": 0.1}, {"model.dropout": 0.5}))
    assert [each["model.dropout"] for each in found] == [0.1, 0.5]


def test_learning_rate_is_a_swept_setting_unless_the_optimizer_implies_it(runs):
    sgd = {"optimizer.name": "SGD", "optimizer.lr": 0.1}
    assert list(settings_of(runs({}, sgd))[0])[3:] == ["optimizer"]
    slower = sgd | {"optimizer.lr": 0.01}
    assert list(settings_of(runs({}, sgd, slower))[0])[3:] == ["optimizer", "optimizer.lr"]


def test_settings_that_fine_tuning_implies_are_not_swept_settings(runs):
    tuning = {
        "training.name": "fine_tuning",
        "training.freeze_backbone": False,
        "optimizer.lr": 1e-4,
    }
    assert list(settings_of(runs({}, tuning))[0])[3:] == ["training"]


def test_settings_without_effect_on_a_solved_head_are_left_out(runs):
    solved = {"training.name": "linear_probe", "training.linear_probe": "only", "epochs": 1}
    trained = [{"optimizer.lr": 0.01}, {"optimizer.lr": 0.1}]
    *first, last = settings_of(runs(*trained, solved | {"optimizer.lr": 0.5}))
    assert [each["optimizer.lr"] for each in first] == [0.01, 0.1]
    assert set(last) == {"model", "data", "training"}
    # A learning rate that only the solved head has was not swept.
    assert "optimizer.lr" not in settings_of(runs({}, solved | {"optimizer.lr": 0.5}))[0]
