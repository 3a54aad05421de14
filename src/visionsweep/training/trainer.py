"""Trains what a run trains, from its seeds or from where it was cut off, and shows it."""

import copy
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from omegaconf import OmegaConf
from torch import nn

from visionsweep.analysis.predictions import Outcomes
from visionsweep.config.schema import Config
from visionsweep.data.splits import Splits
from visionsweep.data.thumbnails import Thumbnails, thumbnails
from visionsweep.features.cached import cache_dir
from visionsweep.models import classifier
from visionsweep.models.heads import Heads
from visionsweep.models.network import Network
from visionsweep.models.seeds import Seeds
from visionsweep.runs.record import Record
from visionsweep.runs.scores import Epoch, summarize
from visionsweep.runtime.micro_batching import IN_TRAINING, ImagesAtOnce
from visionsweep.runtime.threads import one_thread
from visionsweep.tensorboard.projector import project
from visionsweep.tensorboard.writer import RunWriter
from visionsweep.training import loop, resume
from visionsweep.training.batches import Batches, SplitBatches, TensorBatches
from visionsweep.training.checkpoint import Trained
from visionsweep.training.inputs import outcomes_of, trains_on_features

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """All that a run trains with.

    Attributes:
        config: of the run.
        run_dir: its directory.
        splits: its images.
        network: its backbone, and the head to be put on it.
        device: where to compute.
        seeds: of each replicate.
        orders: the source of the training images' order for each replicate; those of `batches`.
        batches: of each split.
    """

    config: Config
    run_dir: Path
    splits: Splits
    network: Network
    device: torch.device
    seeds: Sequence[Seeds]
    orders: Sequence[torch.Generator]
    batches: Mapping[str, Batches]


def train(run: Prepared, known: Record) -> tuple[Trained, dict[str, Outcomes]]:
    """Train a run to its end, writing its events and, where it takes long, its checkpoints.

    Args:
        run: what is trained, and with what.
        known: the run's record, told of each epoch and of the metrics.

    Returns:
        What was trained, and what it made of each validation and test image.

    Raises:
        UserError: if training diverges, or if the run's directory holds another one half-done.
        Interrupted: between two batches, if the user wants to stop.
    """
    config, batches = run.config, run.batches
    assert known.model is not None
    dropout = known.model.dropout
    trained, checkpoint = resume.taken_up(
        config, run.run_dir, known, lambda: _untrained(run, dropout)
    )
    module = trained.module
    at_once = ImagesAtOnce(
        known.images_at_once, IN_TRAINING, lambda: run.network.trains_on_one_image
    )
    facts = {"name": known.name, "dataset": run.splits.dataset, "weights": str(known.weights)} | {
        f"{split} images": str(count) for split, count in run.splits.counts.items()
    }
    with (
        RunWriter(run.run_dir, after_epoch=len(known.history)) as writer,
        one_thread(when=trains_on_features(config)),
    ):
        if not known.history:
            settings = OmegaConf.to_yaml(OmegaConf.create(known.config))
            writer.begin(facts, settings, run.network.card.graph)

        def on_epoch(epoch: Epoch) -> None:
            known.history.append(epoch)
            known.images_at_once = at_once.limit
            writer.epoch(epoch)
            if config.histograms:
                writer.histograms(epoch.epoch, module)
            if checkpoint.due and math.isfinite(epoch.train.loss + epoch.val.loss):
                writer.flush()  # first: what is continued from has its curves on disk
                checkpoint.write(trained, resume.progress_of(known))

        loop.fit(
            module,
            SplitBatches(**batches),
            trained.optimizer,
            config.epochs,
            run.device,
            on_epoch,
            done=known.history,
            at_once=at_once,
        )
        known.metrics = summarize(known.history)
        writer.end(config, facts, known.metrics)
        found = {
            split: outcomes_of(module, batches[split], run.splits[split], run.device, at_once)
            for split in ("val", "test")
        }
        if at_once.limit is not None:
            known.images_at_once = at_once.limit
            writer.facts(facts | {"images at once": str(at_once.limit)})
        shown = thumbnails(run.splits.val, cache_dir(config.features), run.splits.gray_range)
        writer.diagnosis("val", found["val"], run.splits.classes, shown)
    if isinstance(batches["val"], TensorBatches):
        _project(run, batches["val"].inputs, shown)
    return trained, found


def _untrained(run: Prepared, dropout: float) -> Trained:
    """Return what is trained as its seeds make it."""
    module = _what_is_trained(run, dropout).to(run.device)
    for order, seed in zip(run.orders, run.seeds, strict=True):
        order.manual_seed(seed.order)
    return Trained(module, loop.make_optimizer(run.config.optimizer, module), run.orders)


def _what_is_trained(run: Prepared, dropout: float) -> nn.Module:
    """Return the heads, where they train on features, or the whole network with them."""
    network, seeds = run.network, run.seeds
    if trains_on_features(run.config):
        return Heads(network.card.width, network.classes, dropout, seeds)
    why = "training images are augmented" if network.frozen else "the backbone is trained"
    log.info("Images go through the whole network in every epoch, since %s", why)
    backbone = network.backbone
    if network.frozen and run.device.type != "cpu":  # the one at hand stays where it is
        backbone = replace(backbone, module=copy.deepcopy(backbone.module))
    loop.seed_everything(run.config.seed)  # dropout within the backbone
    return classifier.build(
        backbone, network.classes, dropout=dropout, frozen=network.frozen, seeds=seeds
    )


def _project(run: Prepared, features: torch.Tensor, shown: Thumbnails) -> None:
    """Show validation features in TensorBoard, once for a backbone and its images in a sweep."""
    sweep_dir, images = Path(run.config.sweep_dir), run.splits.val
    project(
        sweep_dir if sweep_dir.absolute() in run.run_dir.absolute().parents else run.run_dir,
        run.run_dir,
        f"{run.network.identity.fingerprint}-{run.splits.digest('val')[:16]}",
        features,
        [image.label for image in images],
        run.splits.classes,
        shown,
        [image.path.name for image in images],
    )
