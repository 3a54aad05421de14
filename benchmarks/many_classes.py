"""Time of an epoch and size of a run with 1,000 classes, and a cold sweep over 20,000 images.

    python benchmarks/many_classes.py [--before WORKTREE]

Five minutes on two cores. An epoch is one on 6,000 images of 1,280 features, of the five replicates
alone and, as by default, with eight heads on bootstrap samples; scoring 2,000 validation and 2,000
test images included. Heads train in one thread, whose processor time is printed, since it hardly
depends on what else the machine does. With `--before`, the folder of another checkout, both train
in turns.

The images of the runs are colored patterns of 64 pixels, alike within a class. Of 1,000 classes
with 10 images each, the size of a run's directory is printed; of 10 classes with 2,000 images each,
the time of a cold sweep, `epochs=1,2`, with Python's start, decoding, extraction, and the report.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from commands import SOURCE, measured
from PIL import Image

from visionsweep.config.schema import OptimizerConfig
from visionsweep.models.heads import Heads
from visionsweep.models.seeds import bootstrap_seeds, replicate_seeds
from visionsweep.runtime.allocation import keep_freed_memory
from visionsweep.runtime.threads import one_thread
from visionsweep.training import loop
from visionsweep.training.batches import SplitBatches, TensorBatches
from visionsweep.training.optimizers import make_optimizer

CLASSES, WIDTH, PIXELS, TURNS = 1000, 1280, 64, 3
IMAGES = {"train": 6000, "val": 2000, "test": 2000}
SETTINGS = ("data=folder", "model=effnetlite0", "transform=resize", f"transform.size={PIXELS}")


def train_heads(bootstrap: int) -> float:
    """Train five replicates and further heads for an epoch, and return the processor seconds."""
    keep_freed_memory()
    replicates, resampled = replicate_seeds(42, 5), bootstrap_seeds(42, bootstrap)
    heads = Heads(WIDTH, CLASSES, 0.2, replicates, resampled)
    source = torch.Generator().manual_seed(0)
    batches = {}
    for split, count in IMAGES.items():
        features = torch.randn(count, WIDTH, generator=source)
        labels = torch.randint(0, CLASSES, (count,), generator=source)
        orders = [torch.Generator().manual_seed(s.shuffle) for s in (*replicates, *resampled)]
        training = split == "train"
        batches[split] = TensorBatches(
            features, labels, 32 if training else 256, orders if training else ()
        )
    optimizer = make_optimizer(OptimizerConfig(name="Adam", lr=1e-3), heads)
    start = time.thread_time()
    with one_thread():
        loop.fit(heads, SplitBatches(**batches), optimizer, 1, torch.device("cpu"), lambda _: None)
    return time.thread_time() - start


def epoch(source: Path, bootstrap: int) -> float:
    """Return the seconds of `train_heads` with a checkout's `src`."""
    command = [sys.executable, __file__, "--heads", str(bootstrap)]
    environment = os.environ | {"PYTHONPATH": str(source)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)


def draw(root: Path, classes: int, images: int) -> Path:
    """Draw images of each class: a pattern of 4 x 4 colors, changed for each image, enlarged."""
    for label in range(classes):
        pattern = np.random.default_rng(label).integers(0, 256, (4, 4, 3))
        folder = root / f"class_{label:04}"
        folder.mkdir(parents=True)
        for index in range(images):
            changes = np.random.default_rng((label, index)).integers(-90, 91, pattern.shape)
            colors = np.clip(pattern + changes, 0, 255).astype(np.uint8)
            image = Image.fromarray(colors).resize((PIXELS, PIXELS), Image.Resampling.BICUBIC)
            image.save(folder / f"{index:04}.jpg", quality=90)
    return root


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path)
    parser.add_argument("--heads", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.heads is not None:
        print(train_heads(options.heads))
        return
    sources = {"now": SOURCE} | ({"before": options.before / "src"} if options.before else {})
    for bootstrap in (0, 8):
        turns = [
            {name: epoch(source, bootstrap) for name, source in sources.items()}
            for _ in range(TURNS)
        ]
        for name in sources:
            seconds = statistics.median(turn[name] for turn in turns)
            print(f"{name}: an epoch of {5 + bootstrap} heads {seconds:.1f} s", flush=True)
        if options.before:
            ratio = statistics.median(turn["before"] / turn["now"] for turn in turns)
            print(f"before / now, median of the turns: {ratio:.2f}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        many = draw(here / "many", CLASSES, 10)
        for name, source in sources.items():
            outputs = f"outputs_dir={here / name}"
            measured(
                source / "train.py", *SETTINGS, f"data.root={many}", "epochs=1", outputs,
                folder=here,
            )  # fmt: skip
            [record] = (here / name).glob("**/result.json")
            files = [file for file in record.parent.glob("**/*") if file.is_file()]
            size = sum(file.stat().st_size for file in files)
            print(f"{name}: a run's directory {size / 1e6:.1f} MB", flush=True)
        cold = draw(here / "cold", 10, 2000)
        (here / "empty").mkdir()
        sweep = measured(
            SOURCE / "train.py", "-m", *SETTINGS, f"data.root={cold}", "epochs=1,2",
            folder=here / "empty",
        )  # fmt: skip
        print(
            f"cold sweep of two runs, 20,000 images of {PIXELS} pixels: {sweep.seconds:.1f} s, "
            f"{sweep.cpu_seconds:.1f} s of processor time on {os.cpu_count()} cores"
        )


if __name__ == "__main__":
    main()
