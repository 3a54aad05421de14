"""Coverage of intervals of differences, with and without heads on bootstrap samples.

    python benchmarks/training_sample.py data=folder data.root=PATH

Nine minutes on two cores (`pip install -e '.[lite]'`). Each draw takes validation images and, of
the others, 100 training images and 200 with these among them, as many of each class, as
`data=10pct` does; two backbones are trained on each, ten epochs, five replicates and eight heads
on bootstrap samples. The truth is the difference in expectation: its mean over all draws, on all
images that took no part in a draw. An interval that counts the training sample must hold it in 95%
of the draws.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from drawn_runs import MODELS, REPLICATES, features_of, predictions, printed_difference, train
from rich.progress import track

from visionsweep.analysis.calibration import fit_temperature
from visionsweep.analysis.run_losses import RunLosses
from visionsweep.runtime.threads import one_thread
from visionsweep.training.batches import TensorBatches
from visionsweep.training.bootstrap import bootstrap_losses

VALIDATION, SIZES, EPOCHS, SAMPLES = (136, 500, 2000), (100, 200), 10, 8
DRAWS = 60
PAIRS = {
    "100 and 200 images": ((0, 100), (0, 200)),
    "two backbones, 200 images": ((0, 200), (1, 200)),
}


def draw(
    tables: Sequence[torch.Tensor], labels: torch.Tensor, classes: int, count: int, seed: int
) -> tuple[dict[tuple[int, int], RunLosses], dict[tuple[int, int], float]]:
    """Draw a sweep; losses on the validation images and true losses, by backbone and size."""
    order = np.random.default_rng(seed).permutation(len(labels))
    validation, others = order[:count], order[count:]
    of_class = labels.numpy()[others]
    turn = np.empty(len(others), np.int64)  # classes take turns
    for label in range(classes):
        places = np.flatnonzero(of_class == label)
        turn[places] = np.arange(len(places)) * classes + label
    others = others[np.argsort(turn)]
    training, rest = others[: max(SIZES)], others[max(SIZES) :]
    seeds = tuple((42, place) for place in range(REPLICATES))
    seen, true = {}, {}
    for place, table in enumerate(tables):
        for size in SIZES:
            heads = train(table, labels, classes, training[:size].tolist(), EPOCHS, SAMPLES)
            found = predictions(heads, table, labels, validation)
            temperature = fit_temperature(found)
            rows = torch.as_tensor(validation)
            batches = TensorBatches(table[rows], labels[rows], 512)
            found = replace(found, bootstrap=bootstrap_losses(heads, batches, temperature, SAMPLES))
            key = place, size
            seen[key] = RunLosses.of(
                found, temperature=temperature, seeds=seeds, training=str(size)
            )
            everything = predictions(heads, table, labels, rest)
            losses = RunLosses.of(everything, temperature=temperature)
            true[key] = float(losses.means.mean())
    return seen, true


def without_samples(run: RunLosses) -> RunLosses:
    """Return the losses of a run that trained no heads on bootstrap samples."""
    return replace(run, by_sample=run.by_sample[:0], samples=())


def main(overrides: Sequence[str]) -> None:
    """Print the coverage and the mean width of the intervals as a Markdown table."""
    features, labels, classes = features_of(overrides, MODELS[:2])
    tables = list(features.values())
    print("| validation images | difference | covered without | covered | wider |")
    print("|---|---|---|---|---|", flush=True)
    for count in VALIDATION:
        with one_thread():
            draws = [
                draw(tables, labels, classes, count, seed)
                for seed in track(range(DRAWS), f"{count} images", transient=True)
            ]
        for name, (one, two) in PAIRS.items():
            truth = np.mean([true[two] - true[one] for _, true in draws])
            pairs = [(seen[one], seen[two]) for seen, _ in draws]
            alone = [printed_difference(*map(without_samples, pair))[0] for pair in pairs]
            found = [printed_difference(*pair)[0] for pair in pairs]
            covered = [
                np.mean([each.low <= truth <= each.high for each in kind])
                for kind in (alone, found)
            ]
            widths = [np.mean([each.high - each.low for each in kind]) for kind in (alone, found)]
            print(
                f"| {count} | {name} | {covered[0]:.0%} | {covered[1]:.0%} "
                f"| {widths[1] / widths[0] - 1:.0%} |",
                flush=True,
            )


if __name__ == "__main__":
    main(sys.argv[1:])
