"""What cross-fitting gains on few validation images, and whether its intervals hold the truth.

    python benchmarks/cross_fit.py data.base_url=file:///PHOTOGRAPHS
    python benchmarks/cross_fit.py data=folder data.root=PATH

Ten minutes on two cores (`pip install -e '.[lite]'`). Each draw takes training and validation
images; two backbones are trained on the former, ten epochs, five replicates, once with a holdout
and once cross-fitted. All other images are the truth, for two questions: the difference of the two
predictors that are deployed, and the difference in expectation over training images (its mean over
draws). Columns: the spread over draws of the measured difference around the latter, which
cross-fitting should lower; by how much the printed standard error is too small for that spread,
without and with the wider errors of `analysis.cross_fit`; and how often the 95% interval holds each
truth. `data sizes` is the difference between all and half of the training images of one backbone.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from drawn_runs import MODELS, REPLICATES, features_of, predictions
from numpy.typing import NDArray
from rich.progress import track

from visionsweep.analysis.calibration import fit_temperature
from visionsweep.analysis.comparison import Comparison, compare
from visionsweep.analysis.cross_fit import widened
from visionsweep.analysis.predictions import Predictions
from visionsweep.analysis.run_losses import RunLosses
from visionsweep.config.schema import OptimizerConfig
from visionsweep.data.images import ImageFile, digest_of
from visionsweep.data.splits import Splits
from visionsweep.models.heads import Heads
from visionsweep.models.seeds import fold_seeds, replicate_seeds
from visionsweep.runtime.threads import one_thread
from visionsweep.training import loop
from visionsweep.training.batches import SplitBatches, TensorBatches
from visionsweep.training.cross_fit import make_folds, out_of_fold
from visionsweep.training.optimizers import make_optimizer

SIZES = ((225, 50), (225, 136), (100, 136))  # training and validation images
EPOCHS, DRAWS = 10, 60
KINDS = ("holdout", "cross_fit, not widened", "cross_fit")
PAIRS = {"two backbones": ((0, 1), (1, 1)), "data sizes": ((0, 2), (0, 1))}
Key = tuple[int, int]  # backbone, divisor of the number of training images


@dataclass(frozen=True)
class DrawnRun:
    """Predictions of a run, and the true loss of the predictor that is deployed.

    `crossed` are out of fold; `true_otherwise` is the true loss at their temperature.
    """

    validation: Predictions
    crossed: Predictions
    temperature: float
    true: float
    true_otherwise: float

    def losses(self, of: Predictions) -> RunLosses:
        """Return the losses of some predictions of this run."""
        seeds = tuple((0, place) for place in range(REPLICATES))
        return RunLosses.of(of, temperature=self.temperature, seeds=seeds)


def fit(table: torch.Tensor, splits: Splits, classes: int) -> tuple[Heads, Predictions]:
    """Train heads as a cross-fitted run does; return them and the out-of-fold predictions."""
    folds = make_folds(splits, 0)
    seeds, further = replicate_seeds(0, REPLICATES), fold_seeds(0, REPLICATES, len(folds.samples))
    heads = Heads(table.shape[1], classes, 0.2, seeds, further)
    orders = [torch.Generator().manual_seed(one.shuffle) for one in (*seeds, *further)]
    images = (*splits.train, *splits.val)
    features = table[[int(image.path.name) for image in images]]
    labels = torch.tensor([image.label for image in images])
    own = torch.arange(len(splits.train)).expand(REPLICATES, -1)
    rows = torch.cat([own, folds.samples.repeat_interleave(REPLICATES, 0)])
    train = TensorBatches(features, labels, 32, orders, samples=rows)
    one = TensorBatches(features[:1], labels[:1], 32)
    optimizer = make_optimizer(OptimizerConfig(name="Adam", lr=1e-3), heads)
    batches = SplitBatches(train, one, one)
    loop.fit(heads, batches, optimizer, EPOCHS, torch.device("cpu"), lambda _: None)
    return heads.eval(), out_of_fold(heads, features, folds, splits.pool)


def draw_run(
    table: torch.Tensor, labels: torch.Tensor, classes: int, parts: Sequence[NDArray[np.int64]]
) -> DrawnRun:
    """Train a run.

    Args:
        table: features of all images.
        labels: their labels.
        classes: number of classes.
        parts: places of training, validation, and all other images.
    """
    train, val = (
        tuple(ImageFile(Path(str(i)), int(labels[i]), digest_of(b"%d" % i)) for i in part)
        for part in parts[:2]
    )
    splits = Splits("drawn", tuple(map(str, range(classes))), train, val, ())
    heads, crossed = fit(table, splits, classes)
    validation = predictions(heads, table, labels, parts[1])
    temperature = fit_temperature(validation)
    rest = predictions(heads, table, labels, parts[2])
    true, otherwise = (
        float(RunLosses.of(rest, temperature=each).means.mean())
        for each in (temperature, fit_temperature(crossed))
    )
    return DrawnRun(validation, crossed, temperature, true, otherwise)


def draw(
    tables: Sequence[torch.Tensor],
    labels: torch.Tensor,
    classes: int,
    sizes: tuple[int, int],
    seed: int,
) -> dict[Key, DrawnRun]:
    """Return the runs of a draw of training and validation images."""
    order = np.random.default_rng(seed).permutation(len(labels))
    training, count = sizes
    validation, rest = order[:count], order[count + training :]
    return {
        (place, divisor): draw_run(
            tables[place],
            labels,
            classes,
            (order[count : count + training // divisor], validation, rest),
        )
        for place, divisor in sorted({key for pair in PAIRS.values() for key in pair})
    }


def comparisons(first: DrawnRun, second: DrawnRun) -> dict[str, Comparison]:
    """Compare two runs by each kind of evidence."""
    both = set(first.crossed.images) & set(second.crossed.images)
    crossed = []
    for run in (first, second):
        chosen = np.array([image in both for image in run.crossed.images])
        crossed.append(run.losses(run.crossed.select_images(chosen).sorted_by_image()))
    pairs = (
        [run.losses(run.validation) for run in (first, second)],
        crossed,
        [*map(widened, crossed)],
    )
    return {kind: compare(pair)[0] for kind, pair in zip(KINDS, pairs, strict=True)}


def report(sizes: tuple[int, int], draws: Sequence[dict[Key, DrawnRun]]) -> None:
    """Print the rows of the table for some draws."""
    for name, (one, two) in PAIRS.items():
        found = [comparisons(runs[one], runs[two]) for runs in draws]
        true = np.array([runs[two].true - runs[one].true for runs in draws])
        losses = [np.mean([runs[two].true for runs in draws])] * 2
        losses.append(np.mean([runs[two].true_otherwise for runs in draws]))
        for kind, loss in zip(KINDS, losses, strict=True):
            each = [comparison[kind] for comparison in found]
            low, high, value = (
                np.array([getattr(one.difference, end) for one in each])
                for end in ("low", "high", "value")
            )
            spread = np.sqrt(np.mean((value - true.mean()) ** 2))
            error = np.sqrt(np.mean([one.error**2 for one in each]))
            holds = [np.mean((low <= t) & (t <= high)) for t in (true.mean(), true)]
            print(
                f"| {sizes[0]}, {sizes[1]} | {name} | {kind} | {spread:.4f} "
                f"| {error / spread:.2f} | {holds[0]:.0%} | {holds[1]:.0%} | {loss:.4f} |",
                flush=True,
            )


def main(overrides: Sequence[str]) -> None:
    """Print the table as Markdown."""
    features, labels, classes = features_of(overrides, MODELS[:2])
    tables = list(features.values())
    print("| training, validation | difference | evidence | spread | error / spread |", end="")
    print(" holds expectation | holds deployed | true loss, at its temperature |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for sizes in SIZES:
        with one_thread():
            draws = [
                draw(tables, labels, classes, sizes, seed)
                for seed in track(range(DRAWS), f"{sizes}", transient=True)
            ]
        report(sizes, draws)


if __name__ == "__main__":
    main(sys.argv[1:])
