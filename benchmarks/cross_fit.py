"""What cross-fitting gains on few validation images, and whether its intervals hold the truth.

    python benchmarks/cross_fit.py data.base_url=file:///PHOTOGRAPHS
    python benchmarks/cross_fit.py data=folder data.root=PATH

Forty minutes on two cores (`pip install -e '.[lite]'`). Each draw takes training and validation
images; two backbones are trained on the former, ten epochs, five replicates, once with a holdout
and once cross-fitted. The truth is the difference of the two predictors that are deployed, on all m
other images. It has an error itself: a deviation is compared with half an interval times
sqrt(1 + n / m) if n images were compared. For `data sizes`, one backbone is trained on all and on
half of the training images.

Columns: the standard error that is printed (root mean square), that of the deviations, how often
the 95% interval holds the truth, how often it holds the mean of the truths over all draws (another
question: which recipe is better, whatever the training images), and the true loss of the second
run, at its temperature and at that of its out-of-fold predictions.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from drawn_runs import MODELS, REPLICATES, features_of, predictions, printed_difference
from numpy.typing import NDArray
from rich.progress import track

from visionsweep.analysis.calibration import fit_temperature
from visionsweep.analysis.cross_fit import cross_fitted
from visionsweep.analysis.intervals import Estimate
from visionsweep.analysis.predictions import Predictions
from visionsweep.analysis.run_losses import RunLosses
from visionsweep.config.schema import OptimizerConfig
from visionsweep.data.images import ImageFile, digest_of
from visionsweep.data.splits import Splits
from visionsweep.models.heads import Heads
from visionsweep.models.seeds import bootstrap_seeds, fold_seeds, replicate_seeds
from visionsweep.runtime.threads import one_thread
from visionsweep.training import loop
from visionsweep.training.batches import SplitBatches, TensorBatches
from visionsweep.training.bootstrap import bootstrap_losses, samples_of_heads
from visionsweep.training.cross_fit import make_folds, out_of_fold
from visionsweep.training.optimizers import make_optimizer

SIZES = ((225, 50), (225, 136), (100, 136))  # training and validation images
EPOCHS, DRAWS, SAMPLES = 10, 110, 8
KINDS = ("holdout", "cross_fit, over images alone", "cross_fit")
PAIRS = {"two backbones": ((0, 1), (1, 1)), "data sizes": ((0, 2), (0, 1))}
Key = tuple[int, int]  # backbone, divisor of the number of training images


@dataclass(frozen=True)
class DrawnRun:
    """Predictions of a run, and the true loss of the predictor that is deployed.

    `crossed` are out of fold; `true_otherwise` is the true loss at their temperature; `others` is
    the number of images of the truth.
    """

    validation: Predictions
    crossed: Predictions
    temperature: float
    true: float
    true_otherwise: float
    others: int

    def losses(self, of: Predictions) -> RunLosses:
        """Return the losses of some predictions of this run."""
        seeds = tuple((0, place) for place in range(REPLICATES))
        return RunLosses.of(of, temperature=self.temperature, seeds=seeds)


def fit(table: torch.Tensor, splits: Splits, classes: int) -> tuple[Heads, Predictions]:
    """Train heads as a cross-fitted run does; return them and the out-of-fold predictions."""
    folds = make_folds(splits, 0)
    seeds, further = replicate_seeds(0, REPLICATES), bootstrap_seeds(0, SAMPLES)
    further += fold_seeds(0, REPLICATES, len(folds.samples))
    heads = Heads(table.shape[1], classes, 0.2, seeds, further)
    orders = [torch.Generator().manual_seed(one.shuffle) for one in (*seeds, *further)]
    images = (*splits.train, *splits.val)
    features = table[[int(image.path.name) for image in images]]
    labels = torch.tensor([image.label for image in images])
    own = samples_of_heads(splits.train, 0, REPLICATES, SAMPLES)
    assert own is not None
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
    rows = torch.from_numpy(parts[1])
    batches = TensorBatches(table[rows], labels[rows], 512)
    resampled = bootstrap_losses(heads, batches, temperature, SAMPLES)
    validation = replace(validation, bootstrap=resampled)
    rest = predictions(heads, table, labels, parts[2])
    true, otherwise = (
        float(RunLosses.of(rest, temperature=each).means.mean())
        for each in (temperature, fit_temperature(crossed))
    )
    return DrawnRun(validation, crossed, temperature, true, otherwise, len(parts[2]))


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


def comparisons(first: DrawnRun, second: DrawnRun) -> list[tuple[Estimate, float, int]]:
    """Return difference, standard error, and number of images, by each kind of evidence."""
    both = set(first.crossed.images) & set(second.crossed.images)
    held_out, crossed = [], []
    for run in (first, second):
        training = str(len(run.crossed.images))
        chosen = np.array([image in both for image in run.crossed.images])
        held_out.append(replace(run.losses(run.validation), training=training))
        losses = run.losses(run.crossed.select_images(chosen).sorted_by_image())
        crossed.append(replace(losses, training=training))
    wider = [cross_fitted(one, other) for one, other in zip(crossed, held_out, strict=True)]
    pairs = (held_out, crossed, wider)
    return [(*printed_difference(*pair), len(pair[0].images)) for pair in pairs]


def report(sizes: tuple[int, int], draws: Sequence[dict[Key, DrawnRun]]) -> None:
    """Print the rows of the table for some draws."""
    for name, (one, two) in PAIRS.items():
        by_kind = zip(*(comparisons(runs[one], runs[two]) for runs in draws), strict=True)
        true = np.array([runs[two].true - runs[one].true for runs in draws])
        losses = [
            np.mean([getattr(runs[two], kind) for runs in draws])
            for kind in ("true", "true_otherwise")
        ]
        for kind, rows in zip(KINDS, by_kind, strict=True):
            value, low, high, error, more = (
                np.array(column)
                for column in zip(
                    *((found.value, found.low, found.high, error, n) for found, error, n in rows),
                    strict=True,
                )
            )
            more = np.sqrt(1 + more / draws[0][two].others)
            half, off = (high - low) / 2, value - true
            print(
                f"| {sizes[0]}, {sizes[1]} | {name} | {kind} | {np.sqrt((error**2).mean()):.4f} "
                f"| {np.sqrt(((off / more) ** 2).mean()):.4f} "
                f"| {(np.abs(off) <= half * more).mean():.0%} "
                f"| {(np.abs(value - true.mean()) <= half).mean():.0%} "
                f"| {losses[0]:.4f}, {losses[1]:.4f} |",
                flush=True,
            )


def main(overrides: Sequence[str]) -> None:
    """Print the table as Markdown."""
    features, labels, classes = features_of(overrides, MODELS[:2])
    tables = list(features.values())
    print("| training, validation | difference | evidence | error | deviation | holds", end="")
    print(" | holds expectation | true loss, out-of-fold temperature |")
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
