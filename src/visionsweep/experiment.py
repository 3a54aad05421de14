"""The story of one experiment, from a configuration to a record."""

import logging
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from visionsweep.analysis import calibration
from visionsweep.analysis.predictions import Outcomes
from visionsweep.config.schema import Config
from visionsweep.data.gray import GrayRange
from visionsweep.data.splits import SPLITS, Splits, load_splits
from visionsweep.data.synthetic import sample
from visionsweep.data.transforms import Preprocessing, resized
from visionsweep.errors import UserError, let_go
from visionsweep.features.cached import cache_dir, image_memory
from visionsweep.models.backbones import Identity, identify
from visionsweep.models.network import Network
from visionsweep.models.seeds import seeds_of
from visionsweep.runs import claims, fingerprint, logits, predictions_csv
from visionsweep.runs.paths import RECORD
from visionsweep.runs.record import DataFacts, Failure, ModelFacts, Record
from visionsweep.runs.record_file import write_record
from visionsweep.runs.scores import estimate_metrics
from visionsweep.runtime import provenance, signals
from visionsweep.runtime.devices import device_facts, pick_device, release_memory
from visionsweep.runtime.micro_batching import shortage_explained
from visionsweep.storage.files import disk_errors_explained, remove_leftovers, write_atomically
from visionsweep.text.escaping import visible
from visionsweep.training import resume
from visionsweep.training.checkpoint import Checkpoint
from visionsweep.training.inputs import inputs_of, training_device
from visionsweep.training.trainer import Prepared, train

log = logging.getLogger(__name__)


def run_experiment(config: Config, run_dir: Path, name: str) -> Record:
    """Run one experiment and keep everything about it in its directory.

    A directory may be entered again: what is finished there is not done twice, what was cut off is
    taken up after its last checkpoint, what failed begins anew.

    Args:
        config: what to do; checked by `validation.check`.
        run_dir: the run's directory; made if missing.
        name: what the run is called.

    Returns:
        The record, as written to `run_dir/result.json`. A run that fails or is interrupted leaves
        a record too, and raises.

    Raises:
        UserError: for what the user can mend; see the message.
    """
    with disk_errors_explained(run_dir):
        if finished := resume.finished(config, run_dir):
            return finished
        with claims.held(run_dir, name):  # another process may have finished it meanwhile
            return resume.finished(config, run_dir) or _run(config, run_dir, name)


def _run(config: Config, run_dir: Path, name: str) -> Record:
    known = Record(
        status="failed",
        name=name,
        config=asdict(config),
        started=datetime.now().astimezone().isoformat(timespec="seconds"),
        versions=provenance.versions(),
        git=provenance.git_state(),
        command=sys.argv,
    )
    (run_dir / RECORD).unlink(missing_ok=True)  # of a try that was cut off or failed
    remove_leftovers(run_dir, age=0)  # and of one that was killed while it wrote
    start = time.perf_counter()
    try:
        with disk_errors_explained(run_dir):
            _train_and_score(config, run_dir, known)
        known.status = "completed"
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt) or signals.status() > 0
        known.status = "interrupted" if stopped else "failed"
        known.failure = Failure(type(error).__name__, visible(error, lines=True))
        if not stopped and not isinstance(error, UserError):
            log.error("%s", "".join(traceback.format_exception(error)))
        let_go(error)
        raise
    finally:
        release_memory(known.device.get("type"))
        with signals.deferred():
            spent = time.perf_counter() - start
            known.seconds["total"] = known.seconds.get("earlier", 0.0) + spent
            write_record(known, run_dir)
    return known


@shortage_explained()
def _train_and_score(config: Config, run_dir: Path, known: Record) -> None:
    """Tell the story; what becomes known on the way goes into the record at once."""
    timed = _stopwatch(known.seconds)
    device = pick_device(config.device)
    known.device = device_facts(device)

    cache = cache_dir(config.features)

    splits = timed(
        "data", lambda: load_splits(config.data, image_memory(config.features, config.data.root))
    )
    known.dataset, known.data = splits.dataset, _data_facts(config, splits)

    is_sample = splits.dataset == sample.NAME
    identity = identify(config.model, random_if_unavailable=is_sample)
    if config.model.weights is None:
        log.warning("model.weights=null: the backbone is random, as asked for")
    known.weights = identity.weights
    known.fingerprint = fingerprint.of(config, splits, identity)
    if config.reuse and resume.taken_over(config, run_dir, known):
        return

    preprocessing = replace(_preprocessing(config, identity), gray_range=splits.gray_range)
    if splits.gray_range is not None:
        _say_gray_range(splits.gray_range, config)
    network = Network(
        identity,
        preprocessing.size,
        len(splits.classes),
        config.training.freeze_backbone,
        cache / "networks",
    )
    card = timed("model", lambda: network.card)
    known.model = _model_facts(config, network, preprocessing)
    write_atomically(run_dir / "model.txt", visible(card.summary, lines=True).encode())
    log.info(
        "%s: %s weights, %s trainable of %s parameters",
        config.model.label,
        identity.weights,
        f"{card.trainable:,}",
        f"{card.parameters:,}",
    )

    seeds = seeds_of(config.seed, config.replicates)
    orders = [torch.Generator() for _ in seeds]
    files = {split: splits[split] for split in SPLITS}
    batches = timed(
        "features", lambda: inputs_of(files, config, network, preprocessing, device, orders)
    )
    trains_on = training_device(batches["train"], device)
    prepared = Prepared(config, run_dir, splits, network, trains_on, seeds, orders, batches)
    with signals.deferred():
        trained, found = timed("training", lambda: train(prepared, known))
        temperature = _keep_evidence(run_dir, known, found, splits)
        tensors = trained.tensors() | {"temperature": torch.tensor(temperature)}
        write_atomically(run_dir / known.model.checkpoint, save(tensors))
        Checkpoint(run_dir).remove()
    assert known.metrics is not None
    final = known.metrics.final
    log.info(
        "validation loss %.4f, accuracy %.1f %%; test loss %.4f, accuracy %.1f %%",
        final.val.loss,
        100 * final.val.accuracy,
        final.test.loss,
        100 * final.test.accuracy,
    )


def _stopwatch(seconds: dict[str, float]) -> Callable[[str, Callable[[], Any]], Any]:
    def timed(part: str, work: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        try:
            return work()
        finally:
            seconds[part] = time.perf_counter() - start

    return timed


def _preprocessing(config: Config, identity: Identity) -> Preprocessing:
    if config.transform.name == "resize":
        return resized(config.transform.size)
    if identity.preprocessing is None:
        raise UserError(
            "transform=pretrained: model.weights=null has no transform of its own; use "
            "transform=resize"
        )
    return identity.preprocessing


def _say_gray_range(limits: GrayRange, config: Config) -> None:
    log.info(
        "Gray images of more than 8 bits per pixel: values from %g (black) to %g (white), %s",
        *limits,
        "measured on the training images; data.gray_range=[LOW,HIGH] sets others"
        if config.data.gray_range is None
        else "as data.gray_range says",
    )


def _model_facts(config: Config, network: Network, preprocessing: Preprocessing) -> ModelFacts:
    card, rate = network.card, config.model.dropout
    return ModelFacts(
        label=config.model.label,
        name=config.model.name,
        fingerprint=network.identity.fingerprint,
        width=card.width,
        dropout=card.original_dropout if rate is None else rate,
        trainable=card.trainable,
        parameters=card.parameters,
        preprocessing=preprocessing.facts(),
        checkpoint="head.safetensors" if network.frozen else "model.safetensors",
        milliseconds=card.milliseconds,
    )


def _data_facts(config: Config, splits: Splits) -> DataFacts:
    return DataFacts(
        label=config.data.label,
        classes=list(splits.classes),
        counts=splits.counts,
        digests={split: splits.digest(split) for split in SPLITS},
        skipped=list(splits.skipped),
    )


def _keep_evidence(
    run_dir: Path, known: Record, found: dict[str, Outcomes], splits: Splits
) -> float:
    """Keep what the heads made of each image, and what it comes to; return the temperature."""
    temperature = calibration.fit_temperature(found["val"])
    known.evaluation = {split: estimate_metrics(each) for split, each in found.items()}
    logits.write(run_dir, found)
    table = {
        split: (
            [image.path for image in splits[split]],
            [image.label for image in splits[split]],
            calibration.calibrated(each.logits, temperature).tolist(),
        )
        for split, each in found.items()
    }
    predictions_csv.write(run_dir, splits.classes, table)
    return temperature
