"""Write the results of a trained run: logits, predictions, weights, features for the Projector."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors.torch import save

from visionsweep.analysis.calibration import calibrated, fit_temperature
from visionsweep.analysis.predictions import Predictions
from visionsweep.config.own_weights import METADATA, OwnFacts
from visionsweep.data.split_names import CROSS_FIT
from visionsweep.data.splits import Splits
from visionsweep.data.thumbnails import thumbnails
from visionsweep.data.views import mean_of_views
from visionsweep.features.cached import cache_dir
from visionsweep.runs import logits, predictions_csv
from visionsweep.runs.record import ModelFacts
from visionsweep.storage.files import write_atomically
from visionsweep.tensorboard.projector import project
from visionsweep.training.batches import TensorBatches
from visionsweep.training.bootstrap import bootstrap_losses
from visionsweep.training.cross_fit import out_of_fold
from visionsweep.training.inputs import predict
from visionsweep.training.networks import for_scoring
from visionsweep.training.reference import write_linear_probe
from visionsweep.training.resolve import Resolved
from visionsweep.training.train_state import TrainState, heads_of
from visionsweep.training.trainer import RunContext


def predict_splits(run: RunContext, state: TrainState) -> tuple[dict[str, Predictions], float]:
    """Return the predictions of the validation and test images, and the temperature.

    Those of the validation images hold the losses of the heads on bootstrap samples. A cross-fitted
    run has predictions of its training and validation images, `cross_fit`, too. The temperature is
    fitted to the deployed replicates on the validation images in any case.
    """
    heads = heads_of(state.deployed)
    if run.network.frozen and heads.has_many_classes:
        heads.round_weights()
    scored = for_scoring(state.deployed, run.resolved.preprocessing)
    predictions = {
        split: predict(
            scored, run.batches[split], run.resolved.splits[split], run.device,
            state.micro_batch,
        )
        for split in ("val", "test")
    }  # fmt: skip
    temperature = fit_temperature(predictions["val"])
    if run.bootstrap_heads:
        losses = bootstrap_losses(heads, run.batches["val"], temperature, run.bootstrap_heads)
        predictions["val"] = replace(predictions["val"], bootstrap=losses)
    if run.folds is not None:
        train, val, splits = run.batches["train"], run.batches["val"], run.resolved.splits
        assert isinstance(train, TensorBatches) and isinstance(val, TensorBatches)
        features = train.inputs[: len(splits.train)]
        if features.ndim == 3:
            features = mean_of_views(features[:, : run.config.augmentation.test_views])
        features = torch.cat([features, val.inputs])
        predictions[CROSS_FIT] = out_of_fold(heads, features, run.folds, splits.pool)
    return predictions, temperature


def write_for_sweep(run: RunContext, model: ModelFacts | None) -> None:
    """Write what runs with the same backbone and images have in common, once per sweep."""
    write_projector(run)
    if model is not None:
        write_linear_probe(run, model)


def write_projector(run: RunContext) -> None:
    """Write the validation features for TensorBoard's Projector if the backbone is frozen.

    It shows them once per backbone and images of a sweep.
    """
    config, splits, batches = run.config, run.resolved.splits, run.batches["val"]
    if isinstance(batches, TensorBatches):
        pictures = thumbnails(splits.val, cache_dir(config.features), splits.gray_range)
        sweep_dir = Path(config.sweep_dir)
        project(
            sweep_dir if sweep_dir.absolute() in run.run_dir.absolute().parents else run.run_dir,
            run.run_dir,
            f"{run.network.spec.fingerprint}-{splits.digest('val')[:16]}",
            batches.inputs,
            [image.label for image in splits.val],
            splits.classes,
            pictures,
            [image.path.name for image in splits.val],
        )


def write_predictions(
    run_dir: Path, splits: Splits, predictions: Mapping[str, Predictions], temperature: float
) -> None:
    """Write the logits and the calibrated probabilities of each image.

    Args:
        run_dir: directory of the run.
        splits: its images.
        predictions: predictions of each split that was scored.
        temperature: divisor of the logits in calibrated probabilities.
    """
    logits.write(run_dir, predictions, temperature)
    table = {
        split: (
            [image.path for image in splits[split]],
            [image.label for image in splits[split]],
            calibrated(of_split.logits, temperature),
        )
        for split, of_split in predictions.items()
    }
    predictions_csv.write(run_dir, splits.classes, table)


def write_weights(
    path: Path, state: TrainState, temperature: float, resolved: Resolved | None = None
) -> None:
    """Write the trained weights, with the temperature of their calibrated probabilities.

    The weights of a head of many classes, which were rounded to float16, are stored as such. Those
    of a whole network name its architecture, so that `model=local` can build on them.
    """
    tensors = {name: weight.cpu().contiguous() for name, weight in state.weights().items()}
    half = tensors["head.weight"].half()
    if heads_of(state.deployed).has_many_classes and half.float().equal(tensors["head.weight"]):
        tensors["head.weight"] = half
    metadata = None
    if resolved is not None and any(name.startswith("backbone.") for name in tensors):
        spec = resolved.backbone
        library: Any = "torchvision" if spec.source == "torchvision" else "timm"
        pooling: Any = spec.pooling
        facts = OwnFacts(spec.name, library, pooling, resolved.preprocessing.facts())
        metadata = {METADATA: msgspec.json.encode(facts).decode()}
    write_atomically(path, save(tensors | {"temperature": torch.tensor(temperature)}, metadata))
