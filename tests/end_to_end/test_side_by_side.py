"""Sweeps begun at once share data, cache and outputs: nothing is lost, nothing done twice."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from visionsweep.features.shards import read_shard

# Runs src/train.py, and comes to the data at the same moment as the other processes.
AT_ONCE = """
import os, pathlib, runpy, sys, time
from visionsweep.training import resolve
place, count, script, *arguments = sys.argv[1:]
load = resolve.load_splits
def load_at_once(*arguments):
    (pathlib.Path(place) / f"{os.getpid()}.ready").touch()
    while len(list(pathlib.Path(place).glob("*.ready"))) < int(count):
        time.sleep(0.001)
    return load(*arguments)
resolve.load_splits = load_at_once
sys.argv = [script, *arguments]
runpy.run_path(script, run_name="__main__")
"""


def start(directory: Path, count: int, address: str) -> list[subprocess.Popen]:
    """Start sweeps of two runs each that begin at once."""
    script = Path(__file__).parents[2] / "src" / "train.py"
    settings = [
        "-m", "model=resnet18", "model.weights=null", "data=10pct,20pct", "epochs=2",
        "transform.size=32", "device=cpu", f"data.base_url={address}", "data.checksums=null",
    ]  # fmt: skip
    environment = os.environ | {
        "VISIONSWEEP_CACHE": str(directory / "cache"),
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "200",
    }
    return [
        subprocess.Popen(
            [sys.executable, "-c", AT_ONCE, directory, str(count), script, *settings],
            cwd=directory, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        for _ in range(count)
    ]  # fmt: skip


def results(directory: Path) -> dict[Path, dict]:
    """The records of all runs below `outputs`, by their directories."""
    files = directory.glob("outputs/*/*/*/result.json")
    return {file.parent: json.loads(file.read_text()) for file in files}


def numbers(run: Path, record: dict) -> tuple:
    """All that a run came to, to the last bit."""
    history = [{k: v for k, v in epoch.items() if k != "seconds"} for epoch in record["history"]]
    return json.dumps([history, record["metrics"], record["evaluation"]]), *(
        (run / name).read_bytes() for name in ("predictions.csv", "head.safetensors")
    )


@pytest.mark.exhaustive
def test_four_simultaneous_sweeps_complete_and_extract_each_image_once(tmp_path, publish):
    # Archives of 30 MB, which take a while to unpack.
    address = publish(tmp_path / "published", padding=30_000_000)
    processes = start(tmp_path, 4, address)
    said = [process.communicate(timeout=600)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, "\n".join(said)
    runs = results(tmp_path)
    assert Counter(record["status"] for record in runs.values()) == {"completed": 8}
    sweeps = Counter(run.parent for run in runs)
    assert sorted(sweeps.values()) == [2] * 4
    for sweep in sweeps:
        assert (sweep / "report.html").is_file()
    by_name: dict[str, set] = {}
    for run, record in runs.items():
        by_name.setdefault(run.name, set()).add(numbers(run, record))
    assert [len(found) for found in by_name.values()] == [1, 1]

    everything = "\n".join(said)
    unpacked = Counter(re.findall(r"Unpacking (\S+) into", everything))
    assert sorted(unpacked.values()) == [1, 1]
    images = 3 * (10 + 6)  # the larger archive holds what the smaller one does
    lacking = re.findall(r"Extracting the features of (\d+) images", everything)
    elsewhere = re.findall(r"Other processes extracted (\d+) of them", everything)
    assert sum(map(int, lacking)) - sum(map(int, elsewhere)) == images
    shards = [
        read_shard(path) for path in (tmp_path / "cache" / "features").glob("*/*.safetensors")
    ]
    assert len({shard.path.parent for shard in shards}) == 1
    rows = Counter(digest for shard in shards for digest in shard.digests)
    assert len(rows) == images and set(rows.values()) == {1}
    assert "died" not in everything and "not cached" not in everything
    assert not [
        left for kind in ("part", "holder", "lease") for left in tmp_path.rglob(f"*.{kind}")
    ]


@pytest.mark.exhaustive
def test_killed_extraction_is_reported_and_taken_over_by_the_other_process(tmp_path, publish):
    processes = start(tmp_path, 2, publish(tmp_path / "published"))
    notes = tmp_path / "cache" / "features"
    while not (signed := [note.read_bytes() for note in notes.glob("*.lease")]):
        assert all(process.poll() is None for process in processes)
        time.sleep(0.001)
    holder = json.loads(signed[0])["pid"]
    os.kill(holder, signal.SIGKILL)
    said = {process.pid: process.communicate(timeout=600)[0] for process in processes}
    (other,) = [process for process in processes if process.pid != holder]
    assert other.returncode == 0, said[other.pid]
    assert f"died while extracting features (process {holder} on" in said[other.pid]
    statuses = Counter(record["status"] for record in results(tmp_path).values())
    assert statuses == {"completed": 2}
