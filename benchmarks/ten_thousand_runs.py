"""Estimate of a sweep too large to run here: 10,000 runs, 100,000 images, 50 backbones.

    python benchmarks/ten_thousand_runs.py

Two minutes on two cores. Measures the time per image of a backbone, the time per epoch of five
heads, and the disk space of a run, and multiplies. The assumptions are the constants below.
"""

import os
import tempfile
import time
from pathlib import Path

import torch
from commands import SOURCE, run

from visionsweep.command_memory import forget
from visionsweep.config.schema import DataConfig, FeaturesConfig, ModelConfig, OptimizerConfig
from visionsweep.data.split_loading import load_splits
from visionsweep.data.transforms import resized
from visionsweep.features import extraction
from visionsweep.features.cached import cached_features
from visionsweep.models.backbone_spec import resolve_backbone
from visionsweep.models.heads import Heads
from visionsweep.models.lazy_model import LazyModel
from visionsweep.models.seeds import replicate_seeds
from visionsweep.runtime.threads import one_thread
from visionsweep.training import loop
from visionsweep.training.batches import SplitBatches, TensorBatches
from visionsweep.training.optimizers import make_optimizer

RUNS, IMAGES, BACKBONES = 10_000, 100_000, 50
BACKBONE = "efficientnet_b2"  # medium size; 1,408 features
WIDTH, CLASSES, EPOCHS = 1408, 10, 10
SPLITS = {"train": 0.70, "val": 0.15, "test": 0.15}
COMPOSE = 0.19  # seconds per run for Hydra's configuration: sweep_of_two_hundred.py
TIMED_SHARE = 0.1  # share of the images on which heads are timed


def images_per_second(folder: Path) -> float:
    """Return the rate at which a backbone extracts features, decoding included."""
    splits = load_splits(DataConfig(label="s", source="sample", root=str(folder), fraction=0.2))
    files = [*splits.train, *splits.val, *splits.test]
    config = ModelConfig(label=BACKBONE, name=BACKBONE, weights=None)
    spec = resolve_backbone(config, random_if_unavailable=True)
    network = LazyModel(spec, 224, 3, True, folder / "networks")
    _ = network.backbone
    rates = []
    for turn in range(3):  # the best turn: other work only slows the others
        forget(extraction.pixel_memory)
        start = time.perf_counter()
        cache = FeaturesConfig(cache_dir=str(folder / f"features-{turn}"))
        cached_features(files, network, resized(224), torch.device("cpu"), cache)
        rates.append(len(files) / (time.perf_counter() - start))
    return max(rates)


def seconds_per_epoch() -> float:
    """Return the seconds of an epoch of five heads in one thread, scoring included."""
    seeds = replicate_seeds(42, 5)
    heads = Heads(WIDTH, CLASSES, 0.2, seeds)
    batches = {}
    for split, part in SPLITS.items():
        count = round(IMAGES * TIMED_SHARE * part)
        orders = [torch.Generator().manual_seed(each.shuffle) for each in seeds]
        batches[split] = TensorBatches(
            torch.randn(count, WIDTH), torch.randint(0, CLASSES, (count,)), 32,
            orders if split == "train" else (),
        )  # fmt: skip
    optimizer = make_optimizer(OptimizerConfig(name="Adam", lr=1e-3), heads)
    with one_thread():
        history = loop.fit(
            heads, SplitBatches(**batches), optimizer, 2, torch.device("cpu"), lambda _: None
        )
    return min(epoch.seconds for epoch in history) / TIMED_SHARE


def bytes_per_run(folder: Path) -> tuple[int, float]:
    """Train two runs; return the fixed bytes of the second and its bytes per scored image.

    Only the first holds the data of TensorBoard's Projector.
    """
    tiny = ["model=resnet18", "model.weights=null", "data=sample", "transform.size=64"]
    sweep = ["sweep_dir=sweep", "seed=1,2", f"epochs={EPOCHS}"]
    run(SOURCE / "train.py", "-m", *tiny, *sweep, folder=folder)
    directory = next((folder / "sweep").glob("*_seed-2_*"))
    files = [path for path in directory.rglob("*") if path.is_file()]
    scored, classes = 135 + 75, 3
    logits = 4 * 5 * CLASSES
    table = (directory / "predictions.csv").stat().st_size
    grows = (directory / "logits.safetensors").stat().st_size + table
    return sum(p.stat().st_size for p in files) - grows, logits + table / scored * CLASSES / classes


def main() -> None:
    """Print the measurements and the totals."""
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as place:
        rate, epoch = images_per_second(Path(place)), seconds_per_epoch()
        fixed, per_image = bytes_per_run(Path(place))
    scored = round(IMAGES * (SPLITS["val"] + SPLITS["test"]))
    features = IMAGES * BACKBONES * 4 * WIDTH
    print(
        f"measured: {rate:.0f} images/s on {cores} cores, {epoch:.1f} s per epoch of five heads in "
        f"one thread, {fixed / 1e3:.0f} kB per run and {per_image:.0f} bytes per scored image"
    )
    extracting = IMAGES * BACKBONES / rate * cores / 3600
    print(f"features: {extracting:.0f} core-hours, {features / 1e9:.1f} GB")
    print(f"heads: {RUNS * EPOCHS * epoch / 3600:.0f} core-hours in {RUNS:,} runs")
    print(f"composing: {RUNS * COMPOSE / 3600:.1f} hours, half before the first run starts")
    print(f"run directories: {RUNS * (fixed + scored * per_image) / 1e9:.0f} GB")
    print(f"memory per run: {IMAGES * 4 * WIDTH / 1e9:.2f} GB of features, plus 0.5 GB")


if __name__ == "__main__":
    main()
