"""A sweep has the same numbers to the last bit cold, warm and half-warm; warm it opens nothing."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from visionsweep.features.shards import read_shard
from visionsweep.features.store import FeatureStore

# Runs src/train.py, and tells afterwards which images it opened and what it built.
OBSERVED = """
import json, os, runpy, sys
opened = []
sys.addaudithook(lambda event, args: event == "open" and opened.append(str(args[0])))
report, script, *arguments = sys.argv[1:]
sys.argv = [script, *arguments]
from visionsweep.models import backbones
built, build = [], backbones.build
backbones.build = lambda *arguments: built.append(arguments) or build(*arguments)
try:
    runpy.run_path(script, run_name="__main__")
except SystemExit as end:
    status = end.code
images = sorted({name for name in opened if name.endswith(".png")})
with open(report, "w") as file:
    json.dump({"images": images, "built": len(built)}, file)
sys.exit(status)
"""


@pytest.fixture
def picture_root(tmp_path):
    """Twenty-seven pictures of three classes, an hour old."""
    random = np.random.default_rng(0)
    for split, count in (("train", 5), ("val", 2), ("test", 2)):
        for red, label in enumerate(("pizza", "steak", "sushi")):
            for index in range(count):
                path = tmp_path / "pictures" / split / label / f"{index}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = random.integers(0, 120, (40, 40, 3), np.uint8)
                pixels[..., red] += 100
                Image.fromarray(pixels).save(path)
                os.utime(path, (time.time() - 3600,) * 2)
    return tmp_path / "pictures"


def sweep(directory, name):
    """Run two experiments in a process of their own; return their histories and what was done."""
    root = directory / "pictures"
    report = directory / f"{name}.json"
    script = Path(__file__).parents[2] / "src" / "train.py"
    done = subprocess.run(
        [sys.executable, "-c", OBSERVED, report, script, "-m", "model=resnet18",
         "model.weights=null", "data=folder", f"data.root={root}", "transform.size=32",
         "device=cpu", "epochs=2,3", "batch_size=4", f"sweep_dir={directory / name}"],
        cwd=directory, env=os.environ | {"VISIONSWEEP_CACHE": str(directory / "cache")},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    histories = {}
    for file in (directory / name).glob("*/result.json"):
        record = json.loads(file.read_text())
        for epoch in record["history"]:
            del epoch["seconds"]
        histories[file.parent.name] = (record["history"], record["metrics"])
    assert len(histories) == 2
    return histories, json.loads(report.read_text())


@pytest.mark.exhaustive
def test_sweep_is_bitwise_identical_cold_warm_and_half_warm(tmp_path, picture_root):
    cold, did = sweep(tmp_path, "cold")
    assert len(did["images"]) == 27 and did["built"] == 1

    warm, did = sweep(tmp_path, "warm")
    assert did == {"images": [], "built": 0}
    assert warm == cold

    (shard,) = (tmp_path / "cache" / "features").glob("*/*.safetensors")
    whole = read_shard(shard)
    assert len(whole.digests) == 27
    shard.unlink()
    about = json.loads((shard.parent / "about.json").read_text())
    store = FeatureStore(shard.parent, shard.parent.name, about, 10**9)
    store.get(whole.digests[::2], lambda missing: iter([([*missing], whole.features[::2])]))
    half, did = sweep(tmp_path, "half")
    assert len(did["images"]) == 13 and did["built"] == 1
    assert half == cold
