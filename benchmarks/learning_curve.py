"""Coverage of the learning curve's forecast, on real features with many drawn training sets.

    python benchmarks/learning_curve.py data.base_url=file:///PHOTOGRAPHS
    python benchmarks/learning_curve.py data=folder data.root=PATH

Six minutes on two cores (`pip install -e '.[lite]'`). For each draw and each of three backbones,
heads train on 50, 100, and 200 images, ten epochs, five replicates; the curve through the losses
on 136 validation images forecasts the loss with 400 images. The truth is the loss of heads trained
on 400 images, the 200 among them, on all images that took no part. A forecast of the change covers
the truth if its interval holds the true loss at 400 minus the true loss at 200.
"""

import sys
from collections.abc import Sequence

import numpy as np
import torch
from drawn_runs import REPLICATES, features_of, predictions, train
from rich.progress import track

from visionsweep.analysis.calibration import fit_temperature
from visionsweep.analysis.intervals import Estimate
from visionsweep.analysis.learning_curve import learning_curve
from visionsweep.analysis.run_losses import RunLosses
from visionsweep.runtime.threads import one_thread

VALIDATION, SIZES, DOUBLED, EPOCHS = 136, (50, 100, 200), 400, 10
DRAWS = 40


def draw(
    table: torch.Tensor, labels: torch.Tensor, classes: int, seed: int
) -> tuple[list[RunLosses], float, float]:
    """Draw images and train on each size.

    Returns:
        Losses on the validation images for each of `SIZES`, the true loss at the largest of them,
        and the true loss at `DOUBLED`.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    validation, training = order[:VALIDATION], order[VALIDATION : VALIDATION + DOUBLED]
    rest = order[VALIDATION + DOUBLED :]
    seeds = tuple((42, place) for place in range(REPLICATES))
    seen, true = [], []
    for size in (*SIZES, DOUBLED):
        heads = train(table, labels, classes, training[:size].tolist(), EPOCHS)
        scored = predictions(heads, table, labels, validation)
        temperature = fit_temperature(scored)
        seen.append(RunLosses.of(scored, temperature=temperature, seeds=seeds))
        everything = predictions(heads, table, labels, rest)
        true.append(float(RunLosses.of(everything, temperature=temperature).means.mean()))
    return seen[:-1], true[-2], true[-1]


def holds(estimate: Estimate, truth: float) -> bool:
    """Return whether an interval holds the truth."""
    return estimate.low <= truth <= estimate.high


def main(overrides: Sequence[str]) -> None:
    """Print how often the intervals of the doubled loss and of the change hold the truth."""
    features, labels, classes = features_of(overrides)
    print(
        f"{len(labels)} images, {classes} classes, {DRAWS} draws for each of {len(features)} models"
    )
    loss_held: dict[int, list[bool]] = {2: [], 3: []}
    change_held: dict[int, list[bool]] = {2: [], 3: []}
    ratios: dict[int, list[float]] = {2: [], 3: []}
    with one_thread():
        for seed in track(range(DRAWS), "draws"):
            for table in features.values():
                seen, largest, doubled = draw(table, labels, classes, seed)
                for count in ratios:
                    curve = learning_curve(SIZES[-count:], [[run] for run in seen[-count:]])
                    assert curve is not None
                    loss_held[count].append(holds(curve.doubled, doubled))
                    change_held[count].append(holds(curve.change, doubled - largest))
                    ratios[count].append((doubled - largest) / curve.change.value)
    print("\n| sizes | loss at 400 images within its interval | change within its interval |"
          " true change / forecast, median and middle 95% |\n|---|---|---|---|")  # fmt: skip
    for count, held in change_held.items():
        low, middle, high = np.quantile(ratios[count], [0.025, 0.5, 0.975])
        print(
            f"| {', '.join(map(str, SIZES[-count:]))} | {100 * np.mean(loss_held[count]):.0f}% | "
            f"{100 * np.mean(held):.0f}% | {middle:.2f} [{low:.2f}, {high:.2f}] |"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
