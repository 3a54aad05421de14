"""Runs trained on drawn images of a data set, from features that are extracted once."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from numpy.typing import NDArray
from omegaconf import open_dict

from visionsweep.analysis.comparison import compare
from visionsweep.analysis.intervals import Estimate
from visionsweep.analysis.predictions import Predictions
from visionsweep.analysis.run_losses import RunLosses
from visionsweep.config.schema import Config, OptimizerConfig, register_schema
from visionsweep.config.validation import validate_config
from visionsweep.data.images import ImageFile, digest_of
from visionsweep.data.transforms import build_augmentation
from visionsweep.features.cached import cached_features, cached_views
from visionsweep.models.heads import Heads
from visionsweep.models.seeds import bootstrap_seeds, replicate_seeds
from visionsweep.runs import names
from visionsweep.training import loop
from visionsweep.training.batches import SplitBatches, TensorBatches
from visionsweep.training.bootstrap import samples_of_heads
from visionsweep.training.optimizers import make_optimizer
from visionsweep.training.resolve import resolve
from visionsweep.training.trainer import network_of

CONF = Path(__file__).parent.parent / "conf"
MODELS = ("effnetlite0", "effnetlite1", "effnetlite2")  # from cheap to expensive
REPLICATES = 5


def configured(overrides: Sequence[str]) -> Config:
    """Return the configuration of a command with these settings."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        composed = compose("config", ["model=effnetlite0", "data=20pct", *overrides])
    with open_dict(composed):
        composed.sweep_dir = "outputs/unused"
    return validate_config(composed)


def features_of(
    overrides: Sequence[str], models: Sequence[str] = MODELS
) -> tuple[dict[str, torch.Tensor], torch.Tensor, int]:
    """Return the features of all images by model, their labels, and the number of classes.

    Features are `float32[N, width]`, with augmentation.views=V `float32[N, V, width]`.
    """
    register_schema()
    names.register_resolvers()
    features, labels, classes = {}, torch.empty(0), 0
    for model in models:
        config = configured([f"model={model}", *overrides])
        resolved = resolve(config)
        splits = resolved.splits
        files = {file.digest: file for split in ("train", "val", "test") for file in splits[split]}
        images = list(files.values())
        network = network_of(config, resolved)
        device = torch.device("cpu")
        given = network, resolved.preprocessing, device, config.features
        features[model] = cached_features(images, *given)
        if config.augmentation.views:
            augmentation = build_augmentation(config.augmentation)
            features[model] = cached_views(
                features[model], images, config.augmentation.views, augmentation, *given
            )
        labels, classes = torch.tensor([image.label for image in images]), len(splits.classes)
    return features, labels, classes


def train(
    features: torch.Tensor,
    labels: torch.Tensor,
    classes: int,
    images: Sequence[int],
    epochs: int,
    samples: int = 0,
) -> Heads:
    """Train heads on some images as a run does, and further ones on bootstrap samples of these."""
    seeds, resampled = replicate_seeds(42, REPLICATES), bootstrap_seeds(42, samples)
    heads = Heads(features.shape[-1], classes, 0.2, seeds, resampled)
    orders = [torch.Generator().manual_seed(seed.shuffle) for seed in (*seeds, *resampled)]
    chosen = torch.as_tensor(images)
    files = [ImageFile(Path(str(i)), int(labels[i]), digest_of(b"%d" % i)) for i in images]
    rows = samples_of_heads(files, 42, REPLICATES, samples)
    train_batches = TensorBatches(features[chosen], labels[chosen], 32, orders, samples=rows)
    one = TensorBatches(features[chosen[:1]].flatten(0, -2)[:1], labels[chosen[:1]], 32, ())
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


def printed_difference(first: RunLosses, second: RunLosses) -> tuple[Estimate, float]:
    """Return the loss of the second run minus that of the first, and its standard error.

    As a leaderboard of both prints them: with the better one first, as `compare` expects. If the
    first is significantly worse, the interval of the second has no upper end in it.
    """
    reverse = first.means.mean() > second.means.mean()
    (found,) = compare([second, first] if reverse else [first, second])
    shown = found.difference
    return (Estimate(-shown.value, -shown.high, -shown.low) if reverse else shown), found.error
