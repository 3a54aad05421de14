"""Score a trained model on images of any source, as in training."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from visionsweep.analysis.calibration import deployed_predictions
from visionsweep.analysis.groups import count_groups
from visionsweep.analysis.metrics import confusion
from visionsweep.analysis.per_class import ClassScores, scores_of_predictions
from visionsweep.analysis.predictions import Predictions
from visionsweep.config.schema import SAMPLE, Config, DataConfig
from visionsweep.data.classes import spelling
from visionsweep.data.images import ImageFile
from visionsweep.data.split_names import SPLITS
from visionsweep.data.splits import Splits
from visionsweep.errors import UserError
from visionsweep.features.cached import cache_dir
from visionsweep.inference.predictor import Predictor, load_predictor
from visionsweep.models.lazy_model import LazyModel
from visionsweep.runs.discovery import Run
from visionsweep.runs.measures import estimate_deployed, estimate_metrics
from visionsweep.runs.recorded_config import config_of
from visionsweep.runs.scores import Measure
from visionsweep.runtime.micro_batching import AdaptiveMicroBatch, explain_out_of_memory
from visionsweep.runtime.threads import one_thread
from visionsweep.text.escaping import enumerated
from visionsweep.training.feature_inputs import trains_on_features
from visionsweep.training.inputs import inputs_of, predict, training_device
from visionsweep.training.networks import for_scoring
from visionsweep.training.resolve import resolve_splits


@dataclass(frozen=True)
class Evaluation:
    """Scores of a trained model on a split.

    Attributes:
        split: name of the split, or `all`.
        images: number of images.
        groups: number of groups of them that intervals are over; None if images are independent.
        measures: each metric with its interval, means over replicates.
        deployed: each metric of the deployed predictor, as used by `predict.py`.
        by_class: scores of each class of the deployed predictor.
        confusion: confusion matrix of the deployed predictor, `int64[C, C]`.
        as_recorded: True if these are the images in the run's record.
        trained_on: number of images that the run was trained on; None if its own are unavailable.
    """

    dataset: str
    split: str
    images: int
    groups: int | None
    measures: dict[str, Measure]
    deployed: dict[str, Measure]
    classes: list[str]
    by_class: list[ClassScores]
    confusion: NDArray[np.int64]
    as_recorded: bool
    trained_on: int | None


@explain_out_of_memory()
def evaluate(
    run: Run, data: DataConfig, split: str, device: torch.device, *, own_images: Path | None = None
) -> Evaluation:
    """Score the model of a completed run on a split of a data set, or on `all` of them.

    `own_images` is the folder of the images that the run was trained on; None takes this machine's
    folder of published ones. The folder in the record is not used.

    Raises:
        UserError: if the images are unavailable or have other classes, or if the model cannot be
            rebuilt.
    """
    predictor = load_predictor(run, device)
    config = config_of(run.record)
    splits = _as_trained(resolve_splits(data, config.features), run)
    files = _as_labelled_by(predictor, splits, split)
    micro_batch = AdaptiveMicroBatch(run.record.images_at_once)  # affects rounding
    predictions = _predictions(predictor, config, files, device, micro_batch)
    recorded = run.record.data
    assert recorded is not None
    same = split in recorded.digests and splits.digest(split) == recorded.digests[split]
    seen = _trained_on(run, config, splits, own_images)
    deployed = deployed_predictions(predictions, predictor.temperature)
    return Evaluation(
        splits.dataset,
        split,
        len(files),
        None if predictions.groups is None else count_groups(predictions.groups, len(files)),
        estimate_metrics(predictions),
        estimate_deployed(deployed),
        predictor.classes,
        scores_of_predictions(deployed),
        confusion(deployed.labels, deployed.predicted[0], len(predictor.classes)),
        same,
        None if seen is None else sum(file.digest in seen for file in files),
    )


def _as_trained(splits: Splits, run: Run) -> Splits:
    """Return the splits of a run's own images without those excluded from training."""
    whole, recorded = run.whole, run.record.data
    found = whole.near_duplicates if whole is not None else None
    if found is None or not found.excluded or recorded is None:
        return splits
    excluded = set(found.excluded)
    train = tuple(image for image in splits.train if image.digest not in excluded)
    reduced = replace(splits, train=train)
    return reduced if reduced.digest("train") == recorded.digests["train"] else splits


def _trained_on(
    run: Run, config: Config, splits: Splits, own_images: Path | None
) -> set[str] | None:
    """Return the digests of a run's training images if they are available; download nothing."""
    assert run.record.data is not None
    recorded = run.record.data.digests["train"]
    if splits.digest("train") != recorded:
        source = SAMPLE if run.record.is_synthetic else config.data.source
        nowhere = Path(os.devnull).as_uri()
        own = replace(config.data, source=source, base_url=nowhere, if_unreachable="error")
        if own_images is not None:
            own = replace(own, root=str(own_images))
        placed = source in ("folder", "table")
        if (placed and own_images is None) or not Path(own.root).is_dir():
            return None
        try:
            splits = _as_trained(resolve_splits(own, config.features), run)
        except UserError:
            return None
    if splits.digest("train") != recorded:
        return None
    return {image.digest for image in splits.train}


def _as_labelled_by(predictor: Predictor, splits: Splits, split: str) -> list[ImageFile]:
    """Return the images of a split with the run's labels."""
    label_of = {spelling(name): label for label, name in enumerate(predictor.classes)}
    label_of |= {name: label for label, name in enumerate(predictor.classes)}
    spelled = [name if name in label_of else spelling(name) for name in splits.classes]
    unknown = [n for n, known in zip(splits.classes, spelled, strict=True) if known not in label_of]
    if unknown:
        raise UserError(
            f"{predictor.run.directory}: was not trained on {enumerated(sorted(unknown))}; its "
            f"classes are {enumerated(predictor.classes)}. Name the folders of the images after "
            "these."
        )
    return [
        replace(image, label=label_of[spelled[image.label]])
        for name in (SPLITS if split == "all" else (split,))
        for image in splits[name]
    ]


def _predictions(
    predictor: Predictor,
    config: Config,
    files: list[ImageFile],
    device: torch.device,
    micro_batch: AdaptiveMicroBatch,
) -> Predictions:
    """Predict in the same batches with the same kernels as in training: bitwise identical."""
    network = LazyModel(
        predictor.spec,
        predictor.preprocessing.size,
        len(predictor.classes),
        config.training.freeze_backbone,
        cache_dir(config.features) / "networks",
    )
    scored = {"scored": files}
    batches = inputs_of(scored, config, network, predictor.preprocessing, device)["scored"]
    device = training_device(batches, device)
    trained = for_scoring(predictor.model.to(device), predictor.preprocessing)
    with one_thread(when=trains_on_features(config)):  # as then
        return predict(trained, batches, files, device, micro_batch)
