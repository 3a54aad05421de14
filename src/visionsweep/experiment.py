"""The story of one experiment, from a configuration to a record."""

import csv
import io
import logging
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from safetensors.torch import save
from torch import nn

from visionsweep import engine
from visionsweep.config import Config
from visionsweep.data import sample
from visionsweep.data.dataset import ImageDataset, image_loader
from visionsweep.data.splits import SPLITS, Splits, load_splits
from visionsweep.data.transforms import Preprocessing, resized
from visionsweep.engine import SplitBatches, TensorBatches
from visionsweep.errors import UserError
from visionsweep.features.extraction import extract
from visionsweep.models import classifier
from visionsweep.models.backbones import Backbone, load_backbone
from visionsweep.models.classifier import Classifier
from visionsweep.models.description import describe
from visionsweep.tracking import provenance, record
from visionsweep.tracking.record import DataFacts, Failure, ModelFacts, Record
from visionsweep.tracking.writer import RunWriter

log = logging.getLogger(__name__)


def run_experiment(config: Config, run_dir: Path, name: str) -> Record:
    """Run one experiment and keep everything about it in its directory.

    Args:
        config: what to do; checked by `config.check`.
        run_dir: the run's directory; made if missing.
        name: what the run is called.

    Returns:
        The record, as written to `run_dir/result.json`. A run that fails or is interrupted leaves
        a record too, and raises.

    Raises:
        UserError: for what the user can mend; see the message.
    """
    known = Record(
        status="failed",
        name=name,
        config=asdict(config),
        started=datetime.now().astimezone().isoformat(timespec="seconds"),
        versions=provenance.versions(),
        git=provenance.git_state(),
        command=sys.argv,
    )
    claim(run_dir)
    start = time.perf_counter()
    try:
        _train_and_score(config, run_dir, known)
        known.status = "completed"
    except BaseException as error:
        known.status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        known.failure = Failure(type(error).__name__, str(error))
        if not isinstance(error, UserError):
            log.error("%s", "".join(traceback.format_exception(error)))
        raise
    finally:
        known.seconds["total"] = time.perf_counter() - start
        record.write(known, run_dir)
    return known


def _train_and_score(config: Config, run_dir: Path, known: Record) -> None:
    """Tell the story; what becomes known on the way goes into the record at once."""
    timed = _stopwatch(known.seconds)
    device = engine.pick_device(config.device)
    known.device = provenance.device_facts(device)

    splits = timed("data", lambda: load_splits(config.data))
    known.dataset, known.data = splits.dataset, _data_facts(config, splits)

    is_sample = splits.dataset == sample.NAME
    size = config.transform.size
    backbone = timed(
        "model", lambda: load_backbone(config.model, size, random_if_unavailable=is_sample)
    )
    preprocessing = _preprocessing(config, backbone)
    engine.seed_everything(config.seed)
    model = classifier.build(
        backbone,
        len(splits.classes),
        dropout=config.model.dropout,
        frozen=config.training.freeze_backbone,
    ).to(device)
    known.weights, known.model = (
        backbone.weights,
        _model_facts(config, backbone, model, preprocessing),
    )
    log.info(
        "%s: %s weights, %s trainable of %s parameters",
        config.model.label,
        backbone.weights,
        f"{known.model.trainable:,}",
        f"{known.model.parameters:,}",
    )

    trained, batches = timed(
        "features", lambda: _what_is_trained(config, model, splits, preprocessing, device)
    )
    description = describe(model, preprocessing.size)
    (run_dir / "model.txt").write_text(description.summary, encoding="utf-8")
    facts = {"name": known.name, "dataset": splits.dataset, "weights": backbone.weights} | {
        f"{split} images": str(count) for split, count in splits.counts.items()
    }
    with RunWriter(run_dir) as writer:
        writer.begin(facts, OmegaConf.to_yaml(OmegaConf.create(known.config)), description.graph)

        def on_epoch(epoch: engine.Epoch) -> None:
            known.history.append(epoch)
            writer.epoch(epoch)

        optimizer = engine.make_optimizer(config.optimizer, trained)
        timed(
            "training",
            lambda: engine.fit(trained, batches, optimizer, config.epochs, device, on_epoch),
        )
        known.metrics = record.summarize(known.history)
        writer.end(config, facts, known.metrics)

    record.write_atomically(run_dir / known.model.checkpoint, save(_tensors(model)))
    _write_predictions(run_dir / "predictions.csv", trained, batches, splits, device)
    final = known.metrics.final
    log.info(
        "validation loss %.4f, accuracy %.1f %%; test loss %.4f, accuracy %.1f %%",
        final.val.loss,
        100 * final.val.accuracy,
        final.test.loss,
        100 * final.test.accuracy,
    )


def claim(run_dir: Path) -> None:
    """Take a run directory for this process alone.

    Raises:
        UserError: if another run has it.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    try:
        (run_dir / "claim").open("x").close()
    except FileExistsError as error:
        raise UserError(
            f"{run_dir}: another run has this directory; runs that differ in nothing that decides "
            "their numbers share a name. Choose another sweep_dir, or leave it out."
        ) from error


def _stopwatch(seconds: dict[str, float]) -> Callable[[str, Callable[[], Any]], Any]:
    def timed(part: str, work: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        try:
            return work()
        finally:
            seconds[part] = time.perf_counter() - start

    return timed


def _preprocessing(config: Config, backbone: Backbone) -> Preprocessing:
    if config.transform.name == "resize":
        return resized(config.transform.size)
    if backbone.preprocessing is None:
        raise UserError(
            "transform=pretrained: model.weights=null has no transform of its own; use "
            "transform=resize"
        )
    return backbone.preprocessing


def _what_is_trained(
    config: Config,
    model: Classifier,
    splits: Splits,
    preprocessing: Preprocessing,
    device: torch.device,
) -> tuple[nn.Module, SplitBatches]:
    """Return the head and batches of features, or the whole network and batches of images."""
    order = torch.Generator().manual_seed(config.seed)
    if model.frozen and config.augmentation.name == "none":
        files = [image for split in SPLITS for image in splits[split]]
        features = extract(model.backbone, files, preprocessing, device, config.num_workers)

        def table(split: str, shuffle: torch.Generator | None = None) -> TensorBatches:
            rows = torch.stack([features[image.digest] for image in splits[split]])
            labels = torch.tensor([image.label for image in splits[split]])
            return TensorBatches(rows.to(device), labels.to(device), config.batch_size, shuffle)

        return model.head, SplitBatches(table("train", order), table("val"), table("test"))

    why = "the backbone is trained" if not model.frozen else "training images are augmented"
    log.info("Images go through the whole network in every epoch, since %s", why)

    def images(split: str, shuffle: torch.Generator | None = None) -> Any:
        augmentation = config.augmentation.name if split == "train" else "none"
        return image_loader(
            ImageDataset(splits[split], preprocessing.build(augmentation)),
            config.batch_size,
            shuffle=shuffle,
            workers=config.num_workers,
            pin_memory=device.type == "cuda",
        )

    return model, SplitBatches(images("train", order), images("val"), images("test"))


def _tensors(model: Classifier) -> dict[str, torch.Tensor]:
    """Return what was trained: the head's tensors, or the whole network's."""
    whole = model.state_dict()
    return {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in whole.items()
        if not model.frozen or name.startswith("head.")
    }


def _model_facts(
    config: Config, backbone: Backbone, model: Classifier, preprocessing: Preprocessing
) -> ModelFacts:
    trainable, total = model.parameters_count()
    return ModelFacts(
        label=config.model.label,
        name=config.model.name,
        fingerprint=backbone.fingerprint,
        width=backbone.width,
        dropout=model.dropout,
        trainable=trainable,
        parameters=total,
        preprocessing=asdict(preprocessing),
        checkpoint="head.safetensors" if model.frozen else "model.safetensors",
    )


def _data_facts(config: Config, splits: Splits) -> DataFacts:
    return DataFacts(
        label=config.data.label,
        classes=list(splits.classes),
        counts=splits.counts,
        digests={split: splits.digest(split) for split in SPLITS},
        skipped=list(splits.skipped),
    )


def _write_predictions(
    path: Path,
    trained: nn.Module,
    batches: SplitBatches,
    splits: Splits,
    device: torch.device,
) -> None:
    """Write a line for each validation and test image: the probability of every class."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["image", "split", "true", *splits.classes])
    for split in ("val", "test"):
        logits = engine.predict_logits(trained, getattr(batches, split), device)
        for image, row in zip(splits[split], logits.softmax(1).tolist(), strict=True):
            table.writerow(
                [image.path, split, splits.classes[image.label], *(f"{p:.7g}" for p in row)]
            )
    record.write_atomically(path, text.getvalue().encode())
