"""Mutated run directories: shown or passed over; none takes the others down."""

import io
import os
import random
import shutil
from functools import cache
from pathlib import Path

from mutations import mutated, mutated_json
from rich.console import Console

from visionsweep.errors import UserError
from visionsweep.report import leaderboard
from visionsweep.runs.discovery import find_runs
from visionsweep.runs.record_file import read_record

_FILES = ("result.json",) * 6 + ("logits.safetensors", "predictions.csv", "claim")


@cache
def seeds() -> dict[str, list[bytes]]:
    """Read the files of the runs in the folder that the environment names."""
    runs = sorted(Path(os.environ["FUZZ_RUNS"]).iterdir())
    return {name: [p.read_bytes() for r in runs if (p := r / name).is_file()] for name in _FILES}


def make(number: int) -> bytes:
    """Return a file's name, a null byte, and what it holds after mutation number so-and-so."""
    chance = random.Random(f"record {number}")
    name = chance.choice([name for name in _FILES if seeds()[name]])
    content = chance.choice(seeds()[name])
    if name.endswith(".json") and chance.random() < 0.7:
        changed = mutated_json(content, chance)
    else:
        changed = mutated(content, seeds()[name], chance)
    return name.encode() + b"\0" + changed


def target(content: bytes, folder: Path) -> str:
    """Find a mutated run beside a whole one and show both; return what came of it.

    Raises:
        AssertionError: if the whole run is not there any more.
    """
    name, _, changed = content.partition(b"\0")
    runs = sorted(Path(os.environ["FUZZ_RUNS"]).iterdir())[:2]
    outputs = folder / "outputs"
    for run, place in zip(runs, ("a", "b"), strict=True):
        shutil.copytree(run, outputs / place)
    (outputs / "b" / name.decode()).write_bytes(changed)
    try:
        found = find_runs([outputs])
        assert any(run.directory.name == "a" for run in found.runs)
        groups = leaderboard.groups_of(found.runs)
        console = Console(file=io.StringIO(), width=200)
        leaderboard.show([outputs], found, groups, console=console)
        read = len(found.runs)
        try:
            read_record(outputs / "b" / "result.json")
        except (ValueError, OSError, UserError) as error:
            assert str(error)
    finally:
        shutil.rmtree(outputs)
    return "accepted" if read == 2 else "passed over"
