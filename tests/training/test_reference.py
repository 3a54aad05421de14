"""The linear probe as a reference beside the runs of a sweep."""

from dataclasses import replace
from pathlib import Path

import pytest

from visionsweep.command_memory import forget
from visionsweep.experiment import run_experiment
from visionsweep.report.leaderboard import groups_of
from visionsweep.report.reference import reference_lines
from visionsweep.runs import reference
from visionsweep.runs.discovery import find_runs


def lines(sweep: Path) -> list[str]:
    (evidence,) = groups_of(find_runs([sweep]).runs)
    return reference_lines(evidence)


def test_probe_beside_a_run_has_the_scores_of_the_probe_as_a_run_and_is_not_ranked(config, run_dir):
    sweep = run_dir.parent
    record = run_experiment(config, run_dir, "a-run")
    (file,) = (sweep / reference.FOLDER).iterdir()
    stored = reference.read(file)
    assert file == reference.path_of(sweep, record.model, record.data)
    assert file != reference.path_of(sweep, record.model, record.data, "bf16")
    (line,) = lines(sweep)
    assert f"{stored.val_loss.value:.2f}" in line and "shufflenet, folder" in line
    training = replace(config.training, name="linear_probe", linear_probe="only", replicates=1)
    own = run_experiment(
        replace(config, training=training, replicates=1, epochs=1), sweep / "own", "own"
    ).deployed
    for split in ("val", "test"):
        for metric in ("loss", "accuracy"):
            ours, theirs = getattr(stored, f"{split}_{metric}"), own[split][metric]
            assert ours.value == pytest.approx(theirs.value, rel=1e-4)
    assert lines(sweep) == []  # it is in the table


def test_probe_is_left_out_on_request_and_a_damaged_file_is_ignored(config, run_dir):
    sweep = run_dir.parent
    evidence = replace(config.evidence, linear_probe=False)
    run_experiment(replace(config, evidence=evidence), run_dir, "a-run")
    assert not (sweep / reference.FOLDER).exists() and lines(sweep) == []
    run_experiment(config, sweep / "b-run", "b-run")  # with the same fingerprint
    (file,) = (sweep / reference.FOLDER).iterdir()
    assert len(lines(sweep)) == 1
    file.write_text('{"val_loss": "low"}')
    forget()
    assert lines(sweep) == []


def test_a_later_sweep_copies_the_scores_and_solves_nothing(config, run_dir, monkeypatch):
    run_experiment(config, run_dir, "a-run")
    (file,) = (run_dir.parent / reference.FOLDER).iterdir()

    def refuse(*_):
        raise AssertionError("solved again")

    monkeypatch.setattr("visionsweep.training.reference.solve", refuse)
    later = run_dir.parent.with_name("later")
    run_experiment(replace(config, sweep_dir=str(later)), later / "a-run", "a-run")
    (copy,) = (later / reference.FOLDER).iterdir()
    assert copy.read_bytes() == file.read_bytes() and copy.name == file.name
