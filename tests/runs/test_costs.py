"""Times of a sweep's models: timed together, written once, and read with suspicion."""

import json

import msgspec
import pytest

from visionsweep.command_memory import forget
from visionsweep.report.recommendation import is_cheaper, milliseconds
from visionsweep.runs import costs
from visionsweep.runs.costs import time_models
from visionsweep.runs.discovery import Run, find_runs


@pytest.fixture
def runs(write_run, tmp_path):
    """Two runs of the smallest models, side by side in a sweep."""
    for name, parameters in (("squeezenet1_1", 723_000), ("mobilenet_v3_small", 1_500_000)):
        path = write_run(name, 0.3, model=name, parameters=parameters) / "result.json"
        record = json.loads(path.read_text())
        record["model"] |= {"name": name, "fingerprint": f"{parameters:032x}"}
        record["model"]["preprocessing"] |= {"resize": [32, 32], "crop": None}
        record["config"]["model"] |= {"name": name, "weights": None, "source": "torchvision"}
        path.write_text(json.dumps(record))
    return find_runs([tmp_path / "outputs"]).runs


def test_models_of_a_sweep_are_timed_together_and_once(runs, tmp_path):
    sweep = tmp_path / "outputs"
    time_models(sweep, runs[:1])
    assert not (sweep / costs.FILE_NAME).exists()  # nothing to compare
    time_models(sweep, runs)
    times = costs.read(sweep)
    assert set(times) == {costs.key_of(run.record.model) for run in runs}
    assert all(0 < value < 60_000 for value in times.values())
    assert [milliseconds(run) for run in runs] == [
        times[costs.key_of(r.record.model)] for r in runs
    ]
    costs.write(sweep, dict.fromkeys(times, 5.0))
    time_models(sweep, runs)
    assert set(costs.read(sweep).values()) == {5.0}


def test_cheaper_is_fewer_parameters_and_no_more_time(runs, tmp_path):
    large, small = sorted(runs, key=lambda run: -run.record.model.parameters)
    keys = [costs.key_of(run.record.model) for run in (large, small)]
    for times, cheaper in (((5.0, 4.0), True), ((5.0, 5.0), True), ((4.0, 5.0), False)):
        costs.write(tmp_path / "outputs", dict(zip(keys, times, strict=True)))
        assert is_cheaper(small, large) is cheaper
        assert not is_cheaper(large, small)


@pytest.mark.parametrize("content", ["", "[]", '{"a": -1}', '{"a": "x"}', '{"a": 1e400}'])
def test_invalid_times_are_ignored(runs, tmp_path, content):
    (tmp_path / "outputs" / costs.FILE_NAME).write_text(content)
    forget()
    assert costs.read(tmp_path / "outputs") == {}
    assert milliseconds(runs[0]) == runs[0].record.model.milliseconds


def test_record_without_a_size_has_a_key(runs):
    model = msgspec.structs.replace(runs[0].record.model, preprocessing={"resize": "x"})
    assert costs.size_of(model) == 0 and costs.key_of(model).endswith("-0")


def test_prediction_over_views_takes_the_time_of_all_of_them(make_record, tmp_path):
    record = make_record("a-run", 0.5)
    record.model = msgspec.structs.replace(record.model, milliseconds=5.0)
    for name, time in (("none", 5.0), ("trivial_augment", 30.0)):
        record.config["augmentation"] |= {"name": name, "views": 6, "test_views": 6}
        assert milliseconds(Run(tmp_path, record)) == time
