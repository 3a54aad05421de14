"""The linear probe in a sweep beside heads that train in epochs, and what follows it."""

import json

from visionsweep.runs.discovery import find_runs

GRID = (
    "-m", "model=mobilenet_v3_small", "model.weights=null", "data=sample", "data.fraction=0.1",
    "training=feature_extraction,linear_probe", "epochs=1,2",
)  # fmt: skip


def test_a_sweep_over_epochs_solves_each_probe_once(commands):
    done = commands.train(*GRID)
    assert done.returncode == 0, done.stderr
    (sweep,) = commands.directory.glob("outputs/*/*")
    runs = find_runs([sweep]).runs
    assert sorted("-epochs" in run.record.name for run in runs) == [False, True, True]
    (probe,) = (run for run in runs if run.record.is_solved)
    assert probe.record.config["epochs"] == 1 and "1 run was finished earlier" in done.stderr
    assert "solved" in done.stdout

    again = commands.run("reproduce.py", probe.directory, *commands.own, "--json")
    assert json.loads(again.stdout)["agreement"]["verdict"] == "identical"
    scored = commands.run("evaluate.py", probe.directory, *commands.own)
    assert scored.returncode == 0, scored.stderr
