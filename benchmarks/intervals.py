"""Coverage of every printed interval, on real features and on simulated runs with known truth.

    python benchmarks/intervals.py data.base_url=file:///PHOTOGRAPHS
    python benchmarks/intervals.py data=folder data.root=PATH

Five minutes on two cores. All images of a data set go through three backbones with pretrained
weights once (`pip install -e '.[lite]'`). Heads train on 100 or 250 of them; all others are taken
as the population. Samples of these are drawn with replacement, and an interval covers if it holds
the value on the population. Simulated populations have accuracies of 50, 90, 97, and 99%. A cell is
the share of intervals that cover, and their median width relative to the value. `resampled loss`
is the studentized bootstrap without what may be missing from the sample; differences are all those
of a sweep to the best run, and one covers if it holds how far the run is above the best of others.
"""

import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from drawn_runs import features_of, predictions, train
from rich.progress import track

from visionsweep.analysis.bounds import studentized_ci
from visionsweep.analysis.calibration import deployed_predictions, fit_temperature
from visionsweep.analysis.comparison import compare
from visionsweep.analysis.intervals import Estimate
from visionsweep.analysis.predictions import Predictions
from visionsweep.analysis.resampling import SeedErrors
from visionsweep.runs.measures import estimate_deployed
from visionsweep.runtime.threads import one_thread

SAMPLES, TRAINING, EPOCHS = (20, 60, 136), (100, 250), 10
DRAWS = 50
METRICS = ("loss", "accuracy", "macro_f1", "balanced_accuracy", "ece", "auroc")
EASE = {"50%": 0.4, "90%": 2.4, "97%": 3.4, "99%": 4.0}  # margin of the true class
_NO_SEEDS = SeedErrors(np.zeros(1), np.ones(1))

Cells = dict[str, list[tuple[bool, float]]]  # whether an interval covers, and its width


def real(overrides: Sequence[str]) -> Iterator[tuple[str, list[Predictions]]]:
    """Yield the name of a sweep, and the deployed predictions of its runs on a population."""
    features, labels, classes = features_of(overrides)
    for size in TRAINING:
        order = np.random.default_rng(size).permutation(len(labels))
        calibration, rest = order[size : size + 136], order[size + 136 :]
        runs = []
        for table in features.values():
            heads = train(table, labels, classes, order[:size].tolist(), EPOCHS)
            temperature = fit_temperature(predictions(heads, table, labels, calibration))
            of_all = predictions(heads, table, labels, rest)
            runs.append(deployed_predictions(of_all, temperature))
        yield f"{size} training images", runs


def simulated() -> Iterator[tuple[str, list[Predictions]]]:
    """Yield three runs of nearly the same ease on a simulated population."""
    source = np.random.default_rng(1)
    images = tuple(map(str, range(20_000)))
    for accuracy, ease in EASE.items():
        labels = source.integers(3, size=len(images))
        common = 0.7 * source.normal(size=(len(images), 3))
        common += np.eye(3)[labels] * (ease + 1.2 * source.normal(size=(len(images), 1)))
        runs = []
        for ahead in (0.2, 0.1, 0.0):
            logits = common + 0.3 * source.normal(size=common.shape) + ahead * np.eye(3)[labels]
            runs.append(Predictions(logits[None].astype(np.float32), labels, images))
        yield f"simulated, {accuracy}", runs


def sample(population: Predictions, chosen: np.ndarray) -> Predictions:
    """Return the predictions of drawn images, named by their place in the sample."""
    images = tuple(map(str, range(len(chosen))))
    return Predictions(population.logits[:, chosen], population.labels[chosen], images)


def truths(runs: Sequence[Predictions]) -> tuple[list[dict[str, float]], np.ndarray]:
    """Return each metric of each run on the population, and the losses of the runs."""
    values = [
        {name: m.value for name, m in estimate_deployed(run).items() if name in METRICS}
        for run in runs
    ]
    return values, np.array([value["loss"] for value in values])


def covered(interval: Estimate, truth: float) -> tuple[bool, float]:
    """Return whether an interval holds the truth, and its width relative to it."""
    width = (interval.high - interval.low) / max(abs(truth), 1e-9)
    return interval.low <= truth <= interval.high, width


def measure(runs: Sequence[Predictions], count: int, draws: int) -> Cells:
    """Draw samples of a population and check the intervals of its runs."""
    source, cells = np.random.default_rng(count), defaultdict[str, list[tuple[bool, float]]](list)
    true, losses = truths(runs)
    for _ in range(draws):
        chosen = source.integers(len(runs[0].labels), size=count)
        drawn = [sample(run, chosen) for run in runs]
        for run, value in zip(drawn, true, strict=True):
            low, high = studentized_ci(run.losses, _NO_SEEDS, seed=0)
            resampled = Estimate(value["loss"], float(low[0]), float(high[0]))
            cells["resampled loss"].append(covered(resampled, value["loss"]))
            found = estimate_deployed(run)
            for name in set(METRICS) & found.keys():
                measured = found[name]
                interval = Estimate(measured.value, measured.low, measured.high)
                cells[name].append(covered(interval, value[name]))
        order = np.argsort([run.losses.mean() for run in drawn])
        comparisons = compare([drawn[place] for place in order])
        for place, comparison in zip(order[1:], comparisons, strict=True):
            above = losses[place] - np.delete(losses, place).min()
            cells["difference"].append(covered(comparison.difference, float(above)))
    return cells


def main(overrides: Sequence[str]) -> None:
    """Print a table of coverage and width."""
    names = ["resampled loss", *METRICS, "difference"]
    print("| population | accuracy | images | " + " | ".join(names) + " |")
    print("|---" * (3 + len(names)) + "|")
    with one_thread():
        for population, runs in [*real(overrides), *simulated()]:
            accuracy = 100 * np.mean([run.correct.mean() for run in runs])
            for count in track(SAMPLES, population):
                cells = measure(runs, count, DRAWS)
                shown = [
                    f"{100 * np.mean([c for c, _ in cells[name]]):.0f} "
                    f"({np.median([w for _, w in cells[name]]):.2f})"
                    if cells[name]
                    else "–"
                    for name in names
                ]
                print(f"| {population} | {accuracy:.1f}% | {count} | " + " | ".join(shown) + " |",
                      flush=True)  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:])
