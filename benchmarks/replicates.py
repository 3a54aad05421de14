"""Training time of five replicates of a head, compared with one.

    python benchmarks/replicates.py

Ten seconds on two cores. Ten epochs on 450 training, 136 validation and 75 test images of 1,280
features (EfficientNet-B0), in batches of 32. Both are timed in turns; the ratio is the median
of the turns' ratios.
"""

import statistics
import time

import torch

from visionsweep.config.schema import OptimizerConfig
from visionsweep.models.heads import Heads
from visionsweep.models.seeds import replicate_seeds
from visionsweep.runtime.threads import one_thread
from visionsweep.training import loop
from visionsweep.training.batches import SplitBatches, TensorBatches
from visionsweep.training.optimizers import make_optimizer

WIDTH, CLASSES, TURNS = 1280, 3, 15
IMAGES = {"train": 450, "val": 136, "test": 75}


def seconds(replicates: int) -> float:
    """Train heads as a run does and return the seconds it took."""
    seeds = replicate_seeds(42, replicates)
    heads = Heads(WIDTH, CLASSES, 0.2, seeds)
    source = torch.Generator().manual_seed(0)
    batches = {}
    for split, count in IMAGES.items():
        features = torch.randn(count, WIDTH, generator=source)
        labels = torch.randint(0, CLASSES, (count,), generator=source)
        orders = [torch.Generator().manual_seed(each.shuffle) for each in seeds]
        batches[split] = TensorBatches(features, labels, 32, orders if split == "train" else ())
    optimizer = make_optimizer(OptimizerConfig(name="Adam", lr=1e-3), heads)
    start = time.perf_counter()
    with one_thread():
        loop.fit(heads, SplitBatches(**batches), optimizer, 10, torch.device("cpu"), lambda _: None)
    return time.perf_counter() - start


def main() -> None:
    """Print both times and their ratio."""
    seconds(1), seconds(5)
    turns = [(seconds(1), seconds(5)) for _ in range(TURNS)]
    one, five = (statistics.median(times) for times in zip(*turns, strict=True))
    ratio = statistics.median(five / one for one, five in turns)
    print(f"one head {one:.3f} s, five replicates {five:.3f} s, ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
