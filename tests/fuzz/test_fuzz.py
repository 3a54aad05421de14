"""Mutated images, archives and records: no traceback, no hang, no process above 1 GB.

`VISIONSWEEP_FUZZ=10` tries ten times as many; `VISIONSWEEP_FUZZ_FIRST=3000` begins elsewhere.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TARGET = Path(__file__).with_name("target.py")
MANY = float(os.environ.get("VISIONSWEEP_FUZZ", "1"))
FIRST = int(os.environ.get("VISIONSWEEP_FUZZ_FIRST", "0"))


def fuzz(kind: str, count: int, folder: Path, **variables: str) -> dict[str, int]:
    """Try some inputs in a process of its own; return how many came to what."""
    count = round(count * MANY)
    done = subprocess.run(
        [sys.executable, TARGET, kind, str(FIRST), str(count), folder],
        capture_output=True,
        text=True,
        env=os.environ | variables,
    )
    number = (folder / "number").read_text() if (folder / "number").is_file() else "none"
    assert done.returncode == 0, f"{kind} {number}: exit {done.returncode}\n{done.stderr}"
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["findings"] == [], f"{kind}: {report['findings'][0]['traceback']}"
    assert report["peak_bytes"] < 1_000_000_000
    assert report["children"] == 0, f"{kind}: an input started another program"
    outcomes: dict[str, int] = report["outcomes"]
    assert sum(outcomes.values()) == count
    return outcomes


@pytest.mark.exhaustive
def test_mutated_images_are_decoded_or_refused(tmp_path: Path) -> None:
    outcomes = fuzz("images", 3000, tmp_path)
    assert min(outcomes["decoded"], outcomes["refused"]) > 300 * MANY


@pytest.mark.exhaustive
def test_mutated_archives_are_unpacked_whole_or_leave_nothing(tmp_path: Path) -> None:
    outcomes = fuzz("archives", 1000, tmp_path)
    assert min(outcomes["unpacked"], outcomes["refused"]) > 50 * MANY


@pytest.mark.exhaustive
def test_mutated_record_never_affects_other_runs(tmp_path: Path, simulated_sweep) -> None:
    simulated_sweep(models=("effnetb0",), data=("10pct",))
    sweep = tmp_path / "outputs" / "sweep"
    outcomes = fuzz("records", 500, tmp_path / "fuzz", FUZZ_RUNS=str(sweep))
    assert min(outcomes["accepted"], outcomes["passed over"]) > 25 * MANY
