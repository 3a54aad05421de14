"""Enter a run directory again: return a finished run, or resume one that was interrupted."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import msgspec

from visionsweep.config.schema import Config
from visionsweep.errors import RefusedError
from visionsweep.runs import fingerprint
from visionsweep.runs.paths import CHECKPOINT, RECORD
from visionsweep.runs.record import Record
from visionsweep.runs.record_file import read_record
from visionsweep.training.checkpoint import Progress, read_checkpoint, warn_unusable
from visionsweep.training.resolve import resolve
from visionsweep.training.train_state import TrainState

log = logging.getLogger(__name__)


def finished_run(config: Config, run_dir: Path) -> Record | None:
    """Return the record of a completed run, or None if the directory has none.

    Args:
        config: configuration of the requested run.
        run_dir: the run's directory.

    Raises:
        RefusedError: if the directory holds another run; lists the differences.
    """
    try:
        earlier = read_record(run_dir / RECORD)
    except FileNotFoundError:
        return None
    except ValueError as error:
        log.warning("%s: %s; the run starts anew", run_dir / RECORD, error)
        return None
    _refuse_changes(run_dir, fingerprint.changed_settings(earlier.config, config))
    if earlier.status != "completed":
        return None
    resolved = resolve(config)
    _refuse_changes(run_dir, fingerprint.changed_facts(earlier, resolved.splits, resolved.backbone))
    if earlier.fingerprint not in (None, resolved.fingerprint):
        _refuse_changes(run_dir, ["the order of the images: their files were renamed"])
    log.info("Finished earlier: %s", run_dir)
    return earlier


def _refuse_changes(run_dir: Path, changes: Sequence[str]) -> None:
    if changes:
        listed = "\n  ".join(changes)
        raise RefusedError(
            f"this directory holds a run with other settings or images:\n  {listed}\n",
            where=run_dir,
            hint="Train it beside that run with force=true, or choose another sweep_dir.",
        )


def resume_or_start(
    config: Config, run_dir: Path, run_fingerprint: str, start: Callable[[], TrainState]
) -> tuple[TrainState, Progress]:
    """Return the training state of the run's checkpoint, or a new one, and the run's progress.

    Args:
        config: configuration of the run.
        run_dir: its directory.
        run_fingerprint: its fingerprint.
        start: returns a new training state, initialized from the run's seeds.

    Raises:
        RefusedError: if the checkpoint is of another run; lists the differences.
    """
    path = run_dir / CHECKPOINT
    new = Progress(run_fingerprint, asdict(config))
    state = start()
    if (checkpoint := read_checkpoint(path)) is None:
        return state, new
    tensors, progress = checkpoint
    if progress.fingerprint != run_fingerprint:
        changes = fingerprint.changed_settings(progress.config, config)
        _refuse_changes(run_dir, changes or ["the images or the weights"])
    epochs = len(progress.history)
    try:
        if epochs > config.epochs or any(
            len(epoch.replicates) != config.replicates for epoch in progress.history
        ):
            raise ValueError("its history has other epochs or replicates")
        state.load(tensors)
    except (KeyError, RuntimeError, ValueError) as error:
        warn_unusable(path, error)
        return start(), new
    state.micro_batch.limit = progress.images_at_once
    log.info("Resumed after epoch %d of %d", epochs, config.epochs)
    resumed_after = [*progress.resumed_after, epochs]
    return state, msgspec.structs.replace(progress, resumed_after=resumed_after)
