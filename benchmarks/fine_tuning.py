"""Loss and accuracy of the presets that train the whole network, beside the linear probe.

    python benchmarks/fine_tuning.py data.base_url=file:///PHOTOGRAPHS transform.size=128
    python benchmarks/fine_tuning.py data=folder data.root=PATH transform.size=128

About two minutes on one idle core for each split at 128 pixels. 225 images are drawn to train on,
100 to fit the temperature on, and up to 150 of the others are tested on. Losses are of the deployed
predictor.
Further arguments are settings; `PRESETS` holds those of each preset beside its name.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from drawn_runs import CONF
from hydra import compose, initialize_config_dir
from omegaconf import open_dict

from visionsweep.analysis.calibration import calibrated, fit_temperature
from visionsweep.config.schema import Config, register_schema
from visionsweep.config.validation import validate_config
from visionsweep.data.dataset import ImageBatches, ImageDataset
from visionsweep.data.images import ImageFile
from visionsweep.models import classifier
from visionsweep.models.heads import Heads
from visionsweep.models.seeds import replicate_seeds
from visionsweep.runs import names
from visionsweep.training import loop
from visionsweep.training.batches import SplitBatches
from visionsweep.training.feature_inputs import probe_features
from visionsweep.training.inputs import predict
from visionsweep.training.linear_probe import start_from_probe
from visionsweep.training.optimizers import make_optimizer
from visionsweep.training.resolve import resolve
from visionsweep.training.trainer import network_of
from visionsweep.training.updates import Updates

TRAINING, VALIDATION, TEST, SPLITS = 225, 100, 150, 3
PRESETS: dict[str, Sequence[str]] = {
    "linear_probe": ["training=linear_probe"],
    "fine_tuning_plain": ["training=fine_tuning_plain"],
    "fine_tuning": ["training=fine_tuning"],
}
CPU = torch.device("cpu")


def configured(overrides: Sequence[str]) -> Config:
    """Return the configuration of a command with these settings."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        composed = compose("config", ["model=effnetlite0", "data=20pct", *overrides])
    with open_dict(composed):
        composed.sweep_dir = "outputs/unused"
    return validate_config(composed)


def measure(
    config: Config, images: Sequence[ImageFile], split: int
) -> tuple[float, float, float, float]:
    """Return the deployed test loss, the accuracy, the temperature, and the seconds of training."""
    resolved, recipe, seeds = resolve(config), config.training, replicate_seeds(42, 1)
    network, classes = network_of(config, resolved), len(resolved.splits.classes)
    order = np.random.default_rng(split).permutation(len(images))
    drawn = [images[k] for k in order]
    parts = drawn[:TRAINING], drawn[TRAINING:][:VALIDATION], drawn[TRAINING + VALIDATION :][:TEST]
    transform = resolved.preprocessing.build()
    generator = torch.Generator().manual_seed(seeds[0].shuffle)
    train, val, test = (
        ImageBatches(ImageDataset(part, transform), config.batch_size, shuffle=shuffle)
        for part, shuffle in zip(parts, (generator, None, None), strict=True)
    )
    one = ImageBatches(ImageDataset(parts[1][:1], transform), 1)
    features = probe_features(parts[0], config, network, resolved.preprocessing, CPU)
    labels = [image.label for image in parts[0]]
    loop.seed_everything(42)
    start = time.perf_counter()
    model = classifier.build(
        replace(network, frozen=False).backbone,
        classes,
        dropout=None,
        frozen=network.frozen,
        seeds=seeds,
        freeze_batchnorm=recipe.freeze_batchnorm,
    )
    if features is not None:
        assert isinstance(model.head, Heads)
        start_from_probe(model.head, features, labels, recipe)
    if recipe.linear_probe != "only":
        optimizer = make_optimizer(config.optimizer, model, recipe.layer_decay)
        updates = Updates(recipe.schedule, recipe.warmup, recipe.clip_norm)
        batches = SplitBatches(train, one, one)
        loop.fit(model, batches, optimizer, config.epochs, CPU, lambda _: None, updates=updates)
    seconds = time.perf_counter() - start
    temperature = fit_temperature(predict(model, val, parts[1], CPU))
    new = predict(model, test, parts[2], CPU)
    probabilities = calibrated(new.logits, temperature)
    true = probabilities[np.arange(len(new.labels)), new.labels]
    accuracy = float((probabilities.argmax(1) == new.labels).mean())
    return float(-np.log(np.maximum(true, 1e-30)).mean()), accuracy, temperature, seconds


def main(overrides: Sequence[str]) -> None:
    """Print a row for each preset and split, and then the means."""
    register_schema()
    names.register_resolvers()
    splits = resolve(configured(overrides)).splits
    images = list({f.digest: f for part in ("train", "val", "test") for f in splits[part]}.values())
    rows: dict[str, list[tuple[float, ...]]] = {name: [] for name in PRESETS}
    print("| preset | split | test loss | accuracy | temperature | seconds |\n" + 6 * "|---" + "|")
    for split in range(SPLITS):
        for name, of_preset in PRESETS.items():
            rows[name].append(measure(configured([*of_preset, *overrides]), images, split))
            loss, accuracy, temperature, seconds = rows[name][-1]
            print(f"| {name} | {split} | {loss:.3f} | {accuracy:.1%} | {temperature:.2f} | "
                  f"{seconds:.0f} |", flush=True)  # fmt: skip
    for name, found in rows.items():
        loss, accuracy, temperature, seconds = np.mean(found, axis=0)
        print(
            f"| {name} | mean | {loss:.3f} | {accuracy:.1%} | {temperature:.2f} | {seconds:.0f} |"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
