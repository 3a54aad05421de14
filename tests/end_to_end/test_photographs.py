"""Real transfer learning on the real photographs, where they are at hand."""

import json
import os
from pathlib import Path

import pytest

pytestmark = pytest.mark.exhaustive

PHOTOGRAPHS = os.environ.get("VISIONSWEEP_PHOTOGRAPHS")


@pytest.mark.photographs
@pytest.mark.skipif(not PHOTOGRAPHS, reason="VISIONSWEEP_PHOTOGRAPHS names no folder")
def test_effnetlite0_reaches_the_accuracy_of_real_transfer_learning(commands):
    done = commands.run(
        "train.py", "-m", "model=effnetlite0", "data=10pct,20pct", "epochs=5,10",
        f"data.base_url={Path(PHOTOGRAPHS).resolve().as_uri()}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    files = commands.directory.glob("outputs/*/*/*/result.json")
    found = {file.parent.name: json.loads(file.read_text()) for file in files}
    assert len(found) == 4
    for record in found.values():
        counts = record["data"]["counts"]
        assert (counts["val"], counts["test"]) == (136, 75) and counts["train"] in (225, 450)
        assert record["dataset"] == "pizza_steak_sushi" and "lite0" in record["weights"]
    accuracy = [r["metrics"]["final"]["test"]["accuracy"] for r in found.values()]
    assert min(accuracy) >= 0.84
    assert sum(accuracy) / 4 >= 0.88
    best = found["effnetlite0_20pct_10-epochs"]["metrics"]["final"]["test"]
    assert best["loss"] <= 0.32
