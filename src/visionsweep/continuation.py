"""What a run need not do again: finished before, half-done before, or done by another sweep."""

import logging
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import msgspec

from visionsweep import fingerprint
from visionsweep.checkpoint import Checkpoint, Progress, Trained
from visionsweep.config import Config
from visionsweep.data import sample
from visionsweep.data.splits import load_splits
from visionsweep.errors import RefusedError
from visionsweep.features.cached import image_memory
from visionsweep.models.backbones import identify
from visionsweep.tracking import outcomes, record
from visionsweep.tracking.folders import RECORD
from visionsweep.tracking.record import Record

log = logging.getLogger(__name__)


def finished(config: Config, run_dir: Path) -> Record | None:
    """Return the record of a run that is completed already, after making sure that it is this one.

    Args:
        config: what is asked for now.
        run_dir: the run's directory.

    Raises:
        RefusedError: if another experiment has this directory; says what differs.
    """
    earlier = _earlier(run_dir)
    if earlier is None:
        return None
    _refuse(run_dir, fingerprint.changed_settings(earlier.config, config))
    if earlier.status != "completed":
        return None
    splits = load_splits(config.data, image_memory(config.features, config.data.root))
    identity = identify(config.model, random_if_unavailable=splits.dataset == sample.NAME)
    _refuse(run_dir, fingerprint.changed_facts(earlier, splits, identity))
    if earlier.fingerprint not in (None, fingerprint.of(config, splits, identity)):
        _refuse(run_dir, ["the order of the images: their files have other names now"])
    log.info("Finished earlier, taken as it is: %s", run_dir)
    return earlier


def _earlier(run_dir: Path) -> Record | None:
    path = run_dir / RECORD
    try:
        return record.read(path)
    except FileNotFoundError:
        return None
    except ValueError as error:
        log.warning("%s: %s; the run begins anew", path, error)
        return None


def _refuse(run_dir: Path, changes: list[str]) -> None:
    if changes:
        raise RefusedError(
            f"{run_dir}: holds a run that differs from what is asked for now:\n  "
            + "\n  ".join(changes)
            + "\nWith force=true it is trained in a directory beside that one; or choose another "
            "sweep_dir, or leave it out."
        )


def taken_up(
    config: Config, run_dir: Path, known: Record, untrained: Callable[[], Trained]
) -> tuple[Trained, Checkpoint]:
    """Return what is to be trained, as it was when an earlier try was cut off, or untrained.

    Args:
        config: of the run.
        run_dir: its directory.
        known: its record, told of the epochs and seconds of the earlier try.
        untrained: makes what is trained, from its seeds.

    Raises:
        RefusedError: if the earlier try was another experiment.
    """
    checkpoint = Checkpoint(run_dir, config.checkpoint_seconds)
    trained, earlier = untrained(), checkpoint.read()
    if earlier is None:
        return trained, checkpoint
    if earlier.fingerprint != known.fingerprint:
        changes = fingerprint.changed_settings(earlier.config, config)
        _refuse(run_dir, changes or ["the images or the weights: they are not what they were"])
    if not checkpoint.restore(trained):
        return untrained(), checkpoint
    known.history, known.images_at_once = earlier.history, earlier.images_at_once
    known.continued_after = [*earlier.continued_after, len(earlier.history)]
    known.seconds["earlier"] = sum(epoch.seconds for epoch in earlier.history)
    log.info("Taken up after epoch %d of %d", len(earlier.history), config.epochs)
    return trained, checkpoint


def progress_of(known: Record) -> Progress:
    """Return how far a run has come, for its checkpoint."""
    assert known.fingerprint is not None
    return Progress(
        known.fingerprint,
        known.config,
        known.history,
        known.continued_after,
        known.images_at_once,
    )


class _Brief(msgspec.Struct):
    """What of a record tells whether it is the one that is looked for."""

    status: str
    fingerprint: str | None = None
    reused_from: str | None = None


@cache
def _finished_below(outputs: Path) -> dict[str, Path]:
    """Return the directories of completed runs by fingerprint; read once a process."""
    found: dict[str, Path] = {}
    for path in sorted(outputs.rglob(RECORD)):
        try:
            brief = msgspec.json.decode(path.read_bytes(), type=_Brief)
        except (OSError, msgspec.DecodeError):
            continue
        if brief.status == "completed" and brief.fingerprint and not brief.reused_from:
            found.setdefault(brief.fingerprint, path.parent)
    return found


def taken_over(config: Config, run_dir: Path, known: Record) -> bool:
    """Take over what another sweep under the outputs has finished, if one has.

    Args:
        config: of the run.
        run_dir: its directory, which gets copies of the other's files.
        known: its record, with the fingerprint; told what the other's says.

    Returns:
        Whether there was such a run.
    """
    assert known.fingerprint is not None
    source = _finished_below(Path(config.outputs_dir).absolute()).get(known.fingerprint)
    if source is None:
        return False
    other = _earlier(source)
    if other is None or other.status != "completed" or other.model is None:
        return False
    kept = [other.model.checkpoint, outcomes.FILE_NAME, "predictions.csv", "model.txt"]
    files = [source / name for name in kept] + list(source.glob("events.out.tfevents.*"))
    try:
        for path in files:
            shutil.copy2(path, run_dir)
    except FileNotFoundError as error:
        log.warning("%s: cannot be taken over, for %s is not there", source, error.filename)
        return False
    for name in ("history", "metrics", "evaluation", "model", "data", "dataset", "device"):
        setattr(known, name, getattr(other, name))
    known.versions, known.git = other.versions, other.git
    known.reused_from = str(source)
    log.info("Taken over, not trained: %s has the same fingerprint", source)
    return True
