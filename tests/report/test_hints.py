"""Hints about seeds and about classes."""

from dataclasses import replace

import numpy as np
import pytest

from visionsweep.analysis.predictions import Predictions
from visionsweep.report.evidence import gather
from visionsweep.report.hints import hints
from visionsweep.runs.discovery import find_runs
from visionsweep.runs.measures import measure_classes
from visionsweep.runs.record_file import read_record, write_record

CLASSES = ("pizza", "steak", "sushi")


@pytest.fixture
def hints_of(write_run, tmp_path):
    """Return the hints of a run by its true and predicted classes on the validation images."""

    def make(labels, predicted) -> str:
        directory = write_run("a-run", 0.4)
        logits = 5 * np.eye(3, dtype=np.float32)[predicted][None]
        names = tuple(map(str, range(len(labels))))
        predictions = Predictions(logits, np.asarray(labels), names)
        record = read_record(directory / "result.json")
        record.classes = {"val": measure_classes(predictions, CLASSES)}
        write_record(record, directory)
        assert repr(read_record(directory / "result.json").classes) == repr(record.classes)
        return " ".join(hints(gather(find_runs([tmp_path / "outputs"]).runs)))

    return make


def test_a_class_that_is_never_predicted_is_named(hints_of):
    assert "a-run predicts no validation image as sushi." in hints_of([0, 1, 2], [0, 1, 1])


def test_imbalanced_classes_are_named_with_the_settings_that_help(hints_of):
    labels = [0] * 30 + [1] * 12 + [2] * 3
    text = hints_of(labels, labels)
    assert "10 times as many" in text and "training.class_weights=balanced" in text


@pytest.mark.parametrize(("images", "named"), [(9, True), (10, False)])
def test_class_with_fewer_than_ten_images_is_pointed_out(simulated_sweep, images, named):
    text = " ".join(hints(replace(simulated_sweep(), smallest_class=images)))
    assert (f"The smallest class has {images} validation images" in text) == named


def test_balanced_classes_that_are_all_predicted_give_no_hint(hints_of):
    assert hints_of([0, 1, 2] * 4, [0, 1, 2] * 4) == ""


@pytest.mark.parametrize(("replicates", "named"), [(1, True), (2, False)])
def test_runs_with_one_replicate_are_said_to_leave_out_the_variance_of_seeds(
    simulated_sweep, replicates, named
):
    text = " ".join(hints(simulated_sweep(replicates=replicates)))
    assert ("replicates=5" in text) == named
