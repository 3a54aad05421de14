"""Entering a run directory again: finished runs stay, changes are refused, the rest resumes."""

import errno
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from safetensors.torch import save_file

from visionsweep import experiment
from visionsweep.errors import UserError
from visionsweep.experiment import run_experiment
from visionsweep.runs import claims, names
from visionsweep.runs.discovery import find_runs
from visionsweep.runs.record_file import read_record
from visionsweep.training import loop


@pytest.fixture
def trainings(monkeypatch) -> list[int]:
    """Record the number of epochs of each training."""
    trained: list[int] = []
    fit = loop.fit

    def counting(*arguments, **keywords):
        before = len(keywords["done"])
        history = fit(*arguments, **keywords)
        trained.append(len(history) - before)
        return history

    monkeypatch.setattr(loop, "fit", counting)
    return trained


def test_finished_run_is_returned_and_not_trained_again(config, run_dir, trainings, caplog):
    caplog.set_level("INFO")
    first = run_experiment(config, run_dir, "a-run")
    content = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    again = run_experiment(replace(config, num_workers=3, fail_fast=True), run_dir, "a-run")
    assert trainings == [2]
    assert again.metrics == first.metrics and again.fingerprint == first.fingerprint
    assert "Finished earlier" in caplog.text
    assert content == {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    assert not (run_dir / "claim").exists()


def test_changed_setting_is_refused_with_the_difference(config, run_dir, trainings):
    run_experiment(config, run_dir, "a-run")
    with pytest.raises(UserError) as refused:
        run_experiment(replace(config, epochs=3, seed=7), run_dir, "a-run")
    assert "epochs: 2 there, 3 now" in str(refused.value)
    assert "seed: 42 there, 7 now" in str(refused.value) and "force=true" in str(refused.value)
    assert json.loads((run_dir / "result.json").read_text())["status"] == "completed"
    assert trainings == [2]


def test_changed_images_are_refused_with_the_difference(config, run_dir, tmp_path):
    run_experiment(config, run_dir, "a-run")
    (tmp_path / "pictures" / "val" / "cat" / "0.png").unlink()
    with pytest.raises(UserError, match=r"val images: 6 there .*, 5 now"):
        run_experiment(config, run_dir, "a-run")


def test_images_in_another_order_are_refused(config, run_dir, tmp_path):
    run_experiment(config, run_dir, "a-run")
    folder = tmp_path / "pictures" / "train" / "cat"
    (folder / "0.png").rename(folder / "9.png")
    with pytest.raises(UserError, match="the order of the images"):
        run_experiment(config, run_dir, "a-run")


def test_failed_run_starts_anew_and_its_failure_is_removed(config, run_dir, monkeypatch):
    def fail(*arguments, **keywords):
        raise ZeroDivisionError("on purpose")

    with monkeypatch.context() as broken, pytest.raises(ZeroDivisionError):
        broken.setattr(loop, "fit", fail)
        run_experiment(config, run_dir, "a-run")
    failed = json.loads((run_dir / "result.json").read_text())
    assert failed["status"] == "failed" and failed["failure"]["type"] == "ZeroDivisionError"
    assert run_experiment(config, run_dir, "a-run").status == "completed"
    assert json.loads((run_dir / "result.json").read_text())["failure"] is None
    assert len(list(run_dir.glob("events.*"))) == 1


@pytest.mark.parametrize(
    "training",
    [{}, {"class_weights": "balanced", "sampling": "balanced", "focal_gamma": 1.0}],
    ids=["plain", "balanced"],
)
def test_interrupted_run_is_resumed_from_its_checkpoint(
    config, run_dir, trainings, interrupted, training
):
    config = replace(config, training=replace(config.training, **training))
    slow = replace(config, epochs=5, checkpoint_seconds=0.0)
    whole = run_experiment(slow, run_dir.with_name("whole"), "a-run")
    with interrupted(3):
        run_experiment(slow, run_dir, "a-run")
    cut_off = json.loads((run_dir / "result.json").read_text())
    assert cut_off["status"] == "interrupted" and len(cut_off["history"]) == 3
    resumed = run_experiment(slow, run_dir, "a-run")
    assert trainings == [5, 2] and resumed.continued_after == [3]
    assert resumed.metrics == whole.metrics and resumed.evaluation == whole.evaluation
    for name in ("head.safetensors", "predictions.csv"):
        assert (run_dir / name).read_bytes() == (run_dir.with_name("whole") / name).read_bytes()
    folders = (run_dir.with_name("whole"), run_dir)
    once, twice = (load_file(folder / "logits.safetensors") for folder in folders)
    assert once["val.bootstrap"].shape == (8, 6)
    assert all(np.array_equal(once[name], twice[name]) for name in once.keys() | twice.keys())
    assert not (run_dir / "checkpoint.safetensors").exists()
    assert resumed.seconds["total"] > resumed.seconds["earlier"] > 0


def test_early_stopping_deploys_the_best_epoch_also_of_a_resumed_run(config, run_dir, interrupted):
    training = replace(config.training, patience=3)
    optimizer = replace(config.optimizer, lr=1.0)  # overshoots
    slow = replace(
        config, training=training, optimizer=optimizer, epochs=40, checkpoint_seconds=0.0
    )
    whole = run_experiment(slow, run_dir.with_name("whole"), "a-run")
    final, stopped = whole.metrics.final.epoch, len(whole.history)
    assert final == min(whole.history, key=lambda epoch: epoch.val.loss).epoch
    assert final + 3 == stopped < 40
    assert whole.evaluation["val"]["loss"].value == pytest.approx(whole.metrics.final.val.loss)
    assert whole.metrics.final.val.loss < whole.history[-1].val.loss
    with interrupted(stopped - 1):  # the best epoch is in the checkpoint alone
        run_experiment(slow, run_dir, "a-run")
    resumed = run_experiment(slow, run_dir, "a-run")
    assert resumed.continued_after == [stopped - 1] and resumed.metrics == whole.metrics
    assert read_record(run_dir / "result.json").metrics == whole.metrics
    for name in ("head.safetensors", "predictions.csv"):
        assert (run_dir / name).read_bytes() == (run_dir.with_name("whole") / name).read_bytes()


def test_checkpoint_of_another_run_is_refused_with_the_difference(config, run_dir, monkeypatch):
    def fail(*arguments, **keywords):
        raise ZeroDivisionError("on purpose")

    with monkeypatch.context() as broken, pytest.raises(ZeroDivisionError):
        broken.setattr(experiment.results, "predict_splits", fail)
        run_experiment(replace(config, checkpoint_seconds=0.0), run_dir, "a-run")
    assert (run_dir / "checkpoint.safetensors").is_file()
    (run_dir / "result.json").unlink()  # as after kill -9: a checkpoint, no record
    with pytest.raises(UserError, match="seed: 42 there, 1 now"):
        run_experiment(replace(config, seed=1), run_dir, "a-run")


def test_crashed_run_is_trained_with_a_warning(config, run_dir, caplog):
    with claims.held(run_dir, "a-run"):
        pass
    assert run_experiment(config, run_dir, "a-run").status == "completed"
    assert "its claim is broken" in caplog.text


def test_reuse_copies_a_run_of_another_sweep_and_records_its_directory(
    config, run_dir, trainings, caplog, tmp_path
):
    caplog.set_level("INFO")
    first = run_experiment(config, run_dir, "a-run")
    other = tmp_path / "outputs" / "other" / "a-run"
    reused = run_experiment(replace(config, reuse=True, sweep_dir="x"), other, "a-run")
    assert trainings == [2]
    assert reused.reused_from == str(run_dir) and str(run_dir) in caplog.text
    assert reused.metrics == first.metrics and reused.status == "completed"
    for name in ("head.safetensors", "logits.safetensors", "predictions.csv", "model.txt"):
        assert (other / name).read_bytes() == (run_dir / name).read_bytes()
    assert len(list(other.glob("events.*"))) == 1
    trained = run_experiment(
        replace(config, reuse=True, seed=3), other.with_name("another"), "another"
    )
    assert trainings == [2, 2] and trained.reused_from is None


def test_reuse_copies_the_files_of_a_run_and_no_others(config, run_dir, tmp_path):
    run_experiment(config, run_dir, "a-run")
    for name in ("id_rsa", "events.out.tfevents", "notes.txt"):
        (run_dir / name).write_text("private")
    other = tmp_path / "outputs" / "other" / "a-run"
    reused = run_experiment(replace(config, reuse=True), other, "a-run")
    assert reused.reused_from == str(run_dir)
    names = {path.name.partition(".tfevents.")[0] for path in other.iterdir()}
    assert names == {
        "events.out", "head.safetensors", "logits.safetensors", "model.txt", "predictions.csv",
        "result.json",
    }  # fmt: skip
    for name in names - {"events.out", "result.json"}:
        assert (other / name).read_bytes() == (run_dir / name).read_bytes()


def _linked(run_dir: Path, secret: Path, name: str) -> None:
    (run_dir / name).unlink()
    (run_dir / name).symlink_to(secret)


def _rewritten(run_dir: Path, change) -> None:
    record = json.loads((run_dir / "result.json").read_bytes())
    change(record)
    (run_dir / "result.json").write_text(json.dumps(record))


HARM = {
    "predictions that are a link": lambda d, s: _linked(d, s, "predictions.csv"),
    "weights that are a link": lambda d, s: _linked(d, s, "head.safetensors"),
    "a file outside as weights": lambda d, s: _rewritten(
        d, lambda record: record["model"].update(checkpoint=f"../../{s.name}")
    ),
    "weights of other classes": lambda d, s: save_file(
        {"head.weight": torch.zeros(2, 3, 1024), "head.bias": torch.zeros(2, 3)},
        d / "head.safetensors",
    ),
    "other images": lambda d, s: _rewritten(
        d, lambda record: record["data"]["digests"].update(train="0" * 32)
    ),
    "other settings": lambda d, s: _rewritten(d, lambda record: record["config"].update(seed=7)),
}


@pytest.mark.parametrize("harm", HARM.values(), ids=HARM)
def test_run_that_contradicts_its_record_is_not_reused(
    config, run_dir, trainings, tmp_path, harm, caplog
):
    run_experiment(config, run_dir, "a-run")
    secret = tmp_path / "secret"
    secret.write_text("private")
    harm(run_dir, secret)
    other = tmp_path / "outputs" / "other" / "a-run"
    reused = run_experiment(replace(config, reuse=True), other, "a-run")
    assert reused.reused_from is None and trainings == [2, 2]
    assert not any(path.is_file() and path.read_bytes() == b"private" for path in other.iterdir())
    assert not any(path.is_symlink() for path in other.iterdir())


def test_run_without_its_weights_is_not_reused(config, run_dir, trainings, tmp_path):
    run_experiment(config, run_dir, "a-run")
    (run_dir / "head.safetensors").unlink()
    again = run_experiment(replace(config, reuse=True), tmp_path / "outputs" / "b", "a-run")
    assert again.reused_from is None and trainings == [2, 2]


def test_force_uses_a_directory_without_a_run(tmp_path):
    directory = tmp_path / "a-run"
    assert names.unused(directory) == directory
    directory.mkdir()
    (directory / "result.json").touch()
    assert names.unused(directory) == tmp_path / "a-run_again-2"
    (tmp_path / "a-run_again-2").mkdir()
    (tmp_path / "a-run_again-2" / "claim").touch()
    assert names.unused(directory) == tmp_path / "a-run_again-3"


def test_full_disk_at_any_write_leaves_no_partial_file(config, tmp_path, monkeypatch):
    """Fail the first write, then the second, and so on, until a run completes."""
    usual_open = Path.open
    for failing in range(1, 30):
        run_dir, writes = tmp_path / "outputs" / str(failing), 0

        def refusing(path, mode="r", *rest, failing=failing, run_dir=run_dir, **keywords):
            nonlocal writes
            if path.name.endswith(".part") and mode == "xb" and run_dir in path.parents:
                writes += 1
                if writes >= failing:
                    raise OSError(errno.ENOSPC, "No space left on device")
            return usual_open(path, mode, *rest, **keywords)

        with monkeypatch.context() as full:
            full.setattr(Path, "open", refusing)
            try:
                run_experiment(config, run_dir, "a-run")
            except UserError as error:
                assert "No space left on device" in str(error) and "resume=last" in str(error)
            else:
                break
        listing = find_runs([run_dir])
        assert listing.skipped == [] and listing.runs[0].record.status in ("failed", "crashed")
        assert run_experiment(config, run_dir, "a-run").status == "completed"
    assert failing > 5
