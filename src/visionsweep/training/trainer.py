"""Train what a run trains: heads on features, or a network on images."""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec
import torch
from torch import nn

from visionsweep.config.schema import Config
from visionsweep.data.split_names import SPLITS
from visionsweep.features.cached import cache_dir
from visionsweep.models.heads import Heads
from visionsweep.models.lazy_model import LazyModel
from visionsweep.models.seeds import ReplicateSeeds, bootstrap_seeds, replicate_seeds
from visionsweep.runs.paths import CHECKPOINT
from visionsweep.runs.scores import Epoch
from visionsweep.runtime.micro_batching import TRAINING_WARNING, AdaptiveMicroBatch
from visionsweep.tensorboard.writer import RunWriter
from visionsweep.training import loop, scoring
from visionsweep.training.batches import Batches, SplitBatches
from visionsweep.training.bootstrap import bootstrap_heads, samples_of_heads
from visionsweep.training.checkpoint import Progress, write_checkpoint
from visionsweep.training.cross_fit import Folds, folds_of
from visionsweep.training.feature_inputs import probe_features, trains_on_features
from visionsweep.training.inputs import inputs_of, training_device
from visionsweep.training.linear_probe import start_from_probe
from visionsweep.training.networks import for_scoring, new_classifier
from visionsweep.training.objective import objective_of
from visionsweep.training.optimizers import averaged, make_optimizer
from visionsweep.training.resolve import Resolved
from visionsweep.training.train_state import TrainState
from visionsweep.training.updates import Updates

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunContext:
    """What training needs and does not change.

    Attributes:
        config: configuration of the run.
        run_dir: its directory.
        resolved: its images, backbone and fingerprint.
        network: backbone and the shape of its head.
        dropout: dropout probability of the head.
        device: device to train on.
        seeds: seeds of each replicate.
        resampled: seeds of each head on a bootstrap sample of the training images, then of those of
            each fold.
        samples: the images that these train on, `int64[H - R, N]`; None if there are none.
        shuffle_generators: generator of the training order of each head, used by `batches`.
        batches: batches of each split.
        features: those of the training images for the linear probe, followed by those of the
            validation images if there are folds, `float32[N, V, width]` of V views; None if there
            is no probe.
        folds: folds of a cross-fitted run; else None.
    """

    config: Config
    run_dir: Path
    resolved: Resolved
    network: LazyModel
    dropout: float
    device: torch.device
    seeds: Sequence[ReplicateSeeds]
    resampled: Sequence[ReplicateSeeds]
    samples: torch.Tensor | None
    shuffle_generators: Sequence[torch.Generator]
    batches: Mapping[str, Batches]
    features: torch.Tensor | None = None
    folds: Folds | None = None

    @property
    def bootstrap_heads(self) -> int:
        """Number of heads on bootstrap samples."""
        of_folds = 0 if self.folds is None else len(self.folds.samples) * len(self.seeds)
        return len(self.resampled) - of_folds


def network_of(config: Config, resolved: Resolved) -> LazyModel:
    """Return the network of a run; it is built only when needed."""
    return LazyModel(
        resolved.backbone,
        resolved.preprocessing.size,
        len(resolved.splits.classes),
        config.training.freeze_backbone,
        cache_dir(config.features) / "networks",
    )


def prepare(
    config: Config,
    run_dir: Path,
    resolved: Resolved,
    network: LazyModel,
    dropout: float,
    device: torch.device,
) -> RunContext:
    """Return the inputs of training: features of the images, extracted now if missing, or images.

    Args:
        config: configuration of the run.
        run_dir: its directory.
        resolved: its images, backbone and fingerprint.
        network: its network.
        dropout: dropout probability of the head.
        device: device of the backbone.
    """
    seeds = replicate_seeds(config.seed, config.replicates)
    samples = bootstrap_heads(config, run_dir / CHECKPOINT)
    resampled = bootstrap_seeds(config.seed, samples)
    folds = folds_of(config, resolved.splits)
    images = {split: resolved.splits[split] for split in SPLITS}
    rows = samples_of_heads(images["train"], config.seed, len(seeds), samples)
    if folds is not None:
        resampled += folds.seeds(config.seed, len(seeds))
        rows = folds.append_to(rows, len(seeds))
    generators = [torch.Generator() for _ in (*seeds, *resampled)]
    probed = (*images["train"], *(images["val"] if folds else ()))
    batches = inputs_of(images, config, network, resolved.preprocessing, device, generators, rows)
    return RunContext(
        config,
        run_dir,
        resolved,
        network,
        dropout,
        training_device(batches["train"], device),
        seeds,
        resampled,
        None if rows is None else rows[len(seeds) :],
        generators,
        batches,
        probe_features(probed, config, network, resolved.preprocessing, device),
        folds,
    )


def new_state(run: RunContext) -> TrainState:
    """Return the training state of a run before its first epoch, initialized from its seeds."""
    module = _new_module(run).to(run.device)
    seeds = (*run.seeds, *run.resampled)
    for generator, seed in zip(run.shuffle_generators, seeds, strict=True):
        generator.manual_seed(seed.shuffle)
    recipe = run.config.training
    optimizer = make_optimizer(run.config.optimizer, module, recipe)
    micro_batch = AdaptiveMicroBatch(
        warning=TRAINING_WARNING, allows_single_image=lambda: run.network.trains_on_one_image
    )
    average = averaged(module, optimizer, recipe.ema)
    best: dict[str, torch.Tensor] | None = None if recipe.patience is None else {}
    return TrainState(module, optimizer, run.shuffle_generators, micro_batch, average, best)


def _new_module(run: RunContext) -> nn.Module:
    """Return the heads, if they train on features, or else the whole network."""
    network, seeds = run.network, run.seeds
    if trains_on_features(run.config):
        return Heads(network.summary.width, network.classes, run.dropout, seeds, run.resampled)
    loop.seed_everything(run.config.seed)  # dropout inside the backbone
    return new_classifier(
        network, run.resolved.preprocessing, run.device, run.config.training, run.dropout, seeds
    )


def train(
    run: RunContext,
    state: TrainState,
    progress: Progress,
    events: RunWriter,
    on_epoch: Callable[[Epoch], None],
) -> None:
    """Train a run to its last epoch, writing events and checkpoints.

    Args:
        run: inputs of training.
        state: training state, updated in place.
        progress: progress of the run so far.
        events: TensorBoard's event writer.
        on_epoch: called with the scores of each epoch, also of one that diverged.

    Raises:
        UserError: if training diverges.
        Interrupted: between two batches, if the user or the system ends the program.
    """
    history, written = [*progress.history], time.monotonic()

    def after_epoch(epoch: Epoch) -> None:
        nonlocal written
        history.append(epoch)
        state.keep_best(history)
        on_epoch(epoch)
        events.epoch(epoch)
        if run.config.histograms:
            events.histograms(epoch.epoch, state.module)
        due = time.monotonic() - written >= run.config.checkpoint_seconds
        if due and math.isfinite(epoch.train.loss + epoch.val.loss):
            events.flush()  # before the checkpoint: a resumed run has its curves on disk
            so_far = msgspec.structs.replace(
                progress, history=history, images_at_once=state.micro_batch.limit
            )
            write_checkpoint(run.run_dir / CHECKPOINT, state.tensors(), so_far)
            written = time.monotonic()

    tested = run.config.test_every_epoch
    tested = run.network.frozen if tested is None else tested
    test = run.batches["test"] if tested else None
    batches = SplitBatches(run.batches["train"], run.batches["val"], test)
    labels = [image.label for image in run.resolved.splits.train]
    recipe = run.config.training
    if run.features is not None and not history:
        splits = run.resolved.splits
        pool = [image.label for image in (*splits.train, *splits.val)][: len(run.features)]
        start_from_probe(state.heads, run.features, pool, recipe, run.samples, len(labels))
    if recipe.linear_probe == "only":
        if not history:
            after_epoch(scoring.score(state.module, batches, run.device))
            log.info("Epochs, batch size, seed, dropout, and optimizer have no effect on it")
        return
    loop.fit(
        state.module,
        batches,
        state.optimizer,
        run.config.epochs,
        run.device,
        after_epoch,
        done=progress.history,
        micro_batch=state.micro_batch,
        objective=objective_of(recipe, labels, run.network.classes),
        updates=Updates.of(recipe),
        scored=partial(for_scoring, state.deployed, run.resolved.preprocessing),
        patience=recipe.patience,
    )
    state.restore_best()
