"""Files of runs with many classes: small, and read back with the same scores."""

import msgspec
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from visionsweep.analysis.calibration import calibrated, deployed_predictions
from visionsweep.analysis.predictions import Predictions
from visionsweep.data.images import digest_of
from visionsweep.models.heads import Heads
from visionsweep.models.seeds import replicate_seeds
from visionsweep.runs import logits, predictions_csv, weights_file
from visionsweep.runs.discovery import Run
from visionsweep.runs.record_file import read_record, write_record
from visionsweep.training.results import write_weights
from visionsweep.training.train_state import TrainState

CLASSES, TEMPERATURE = [f"class {number}" for number in range(150)], 0.6


@pytest.fixture
def predictions() -> Predictions:
    source = np.random.default_rng(0)
    table = 2 * source.normal(size=(3, 30, 150)).astype(np.float32)
    digests = tuple(digest_of(bytes([number])) for number in range(30))
    return Predictions(table, source.integers(0, 150, 30), digests)


@pytest.fixture
def run(tmp_path, make_record, keep_outcomes, predictions) -> Run:
    """Return a run of 150 classes with its logits on disk."""
    made = make_record("many", 0.5)
    made.data = msgspec.structs.replace(made.data, classes=CLASSES)
    made.temperature = TEMPERATURE
    write_record(made, tmp_path)
    keep_outcomes(tmp_path, {"val": predictions})
    logits.write(tmp_path, {"val": predictions}, TEMPERATURE)
    return Run(tmp_path, read_record(tmp_path / "result.json"))


def test_stored_logits_give_the_losses_of_the_run(run, predictions):
    stored = logits.read(run.directory, run.record)["val"]
    before, after = (deployed_predictions(p, TEMPERATURE) for p in (predictions, stored))
    np.testing.assert_allclose(after.losses, before.losses, atol=1e-5)
    single = logits.read(run.directory, run.record, deployed=False)["val"]
    np.testing.assert_allclose(single.losses, predictions.losses, atol=1e-5)
    size = (run.directory / logits.FILE_NAME).stat().st_size
    assert size < 0.6 * predictions.logits.nbytes


def test_logits_of_all_classes_of_an_earlier_version_are_read(run, predictions):
    path = run.directory / logits.FILE_NAME
    with_names = safe_open(path, framework="numpy")
    tensors = {"val.logits": predictions.logits, "val.labels": predictions.labels}
    save_file(tensors, path, with_names.metadata())
    stored = logits.read(run.directory, run.record)["val"]
    np.testing.assert_array_equal(stored.logits, predictions.logits)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("val.classes", lambda array: array + 149),
        ("val.classes", lambda array: -array - 1),
        ("val.classes", lambda array: array.astype(np.int64)),
        ("val.classes", lambda array: array[1:]),
        ("val.others", lambda array: array[:1]),
        ("val.others", lambda array: array.astype(np.float64)),
        ("val.logits", lambda array: array[0]),
    ],
)
def test_logits_that_fit_no_classes_are_refused(run, name, change):
    path = run.directory / logits.FILE_NAME
    metadata = safe_open(path, framework="numpy").metadata()
    tensors = load_file(path)
    save_file(tensors | {name: np.ascontiguousarray(change(tensors[name]))}, path, metadata)
    with pytest.raises(ValueError, match=r"val\.logits"):
        logits.read(run.directory, run.record)


def test_table_lists_the_most_probable_classes(run, predictions):
    table = calibrated(predictions.logits, TEMPERATURE)
    paths = [run.directory / f"{number}.jpg" for number in range(30)]
    predictions_csv.write(run.directory, CLASSES, {"val": (paths, predictions.labels, table)})
    header, first, *_ = (run.directory / predictions_csv.FILE_NAME).read_text().splitlines()
    assert header.startswith("image,split,true,true probability,class 1,probability 1,class 2")
    assert len(first.split(",")) == 14
    read = predictions_csv.read(run, "val")
    assert read.classes == CLASSES
    np.testing.assert_array_equal(read.labels, predictions.labels)
    np.testing.assert_array_equal(read.predicted, table.argmax(1))
    np.testing.assert_allclose(read.confidence, table.max(1), rtol=1e-6)


def test_weights_are_stored_as_they_were_scored(run):
    heads = Heads(1280, 150, 0.0, replicate_seeds(0, 3))
    heads.round_weights()
    state = TrainState(heads, torch.optim.SGD(heads.parameters()), [])
    path = run.directory / "head.safetensors"
    write_weights(path, state, TEMPERATURE)
    assert path.stat().st_size < 2.1 * heads.weight.numel()
    stored = weights_file.read(path, run.record).tensors
    assert torch.equal(stored["head.weight"], heads.weight)
    assert torch.equal(stored["head.bias"], heads.bias)


def test_weights_too_large_for_float16_are_not_rounded():
    heads = Heads(3, 150, 0.0, replicate_seeds(0, 2))
    heads.weight.data[1, 2, 0] = 1e30
    before = heads.weight.clone()
    heads.round_weights()
    assert torch.equal(heads.weight, before)
