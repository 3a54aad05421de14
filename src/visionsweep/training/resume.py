"""What a run need not do again: finished before, half-done before, or done by another sweep."""

import logging
import re
from collections import defaultdict
from collections.abc import Callable
from functools import cache
from pathlib import Path

import msgspec

from visionsweep.config.schema import Config
from visionsweep.data.splits import load_splits
from visionsweep.data.synthetic import sample
from visionsweep.errors import RefusedError, UserError
from visionsweep.features.cached import image_memory
from visionsweep.models.backbones import identify
from visionsweep.runs import fingerprint, logits, weights_file
from visionsweep.runs.paths import RECORD
from visionsweep.runs.record import Record
from visionsweep.runs.record_file import MAX_BYTES, read_record
from visionsweep.storage.files import why, write_atomically
from visionsweep.storage.untrusted import MB, decode_json, read_regular
from visionsweep.training.checkpoint import Checkpoint, Progress, Trained

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
        return read_record(path)
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
    fits = len(earlier.history) <= config.epochs and all(
        len(epoch.replicates) == config.replicates for epoch in earlier.history
    )
    if not fits:
        log.warning("%s: of other epochs or replicates; the run begins anew", checkpoint.path)
    if not fits or not checkpoint.restore(trained):
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
def _finished_below(outputs: Path) -> dict[str, list[Path]]:
    """Return the directories of completed runs by fingerprint; read once a process."""
    found: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(outputs.rglob(RECORD)):
        try:
            brief = decode_json(read_regular(path, MAX_BYTES), _Brief)
        except (OSError, ValueError):
            continue  # whoever compares is told of it
        if brief.status == "completed" and brief.fingerprint and not brief.reused_from:
            found[brief.fingerprint].append(path.parent)
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
    outputs = Path(config.outputs_dir).absolute()
    for source in _finished_below(outputs).get(known.fingerprint, []):
        try:
            other = read_record(source / RECORD)
            _require_same(config, known, other)
            _copy(source, run_dir, other)
        except OSError as error:
            log.warning(
                "%s: cannot be taken over: %s: %s", source, error.filename or RECORD, why(error)
            )
            continue
        except (UserError, ValueError) as error:
            log.warning("%s: passed over, not taken over: %s", source, error)
            continue
        for name in ("history", "metrics", "evaluation", "model", "data", "dataset", "device"):
            setattr(known, name, getattr(other, name))
        known.versions, known.git = other.versions, other.git
        known.reused_from = str(source)
        log.info("Taken over, not trained: %s has the same fingerprint", source)
        return True
    return False


def _require_same(config: Config, known: Record, other: Record) -> None:
    """Refuse a record that bears a fingerprint which its own content does not."""
    if other.status != "completed" or other.fingerprint != known.fingerprint:
        raise ValueError("its record has changed meanwhile")
    if changes := fingerprint.changed_settings(other.config, config):
        raise ValueError(f"its fingerprint is not of its settings: {'; '.join(changes)}")
    assert known.data is not None and other.data is not None
    for what in ("classes", "counts", "digests"):
        if getattr(known.data, what) != getattr(other.data, what):
            raise ValueError(f"its fingerprint is not of its images: other {what}")


_EVENTS = re.compile(r"events\.out\.tfevents\.\d+\.[\w.-]+")
_LARGEST = 1024 * MB  # of a file that is taken over


def _copy(source: Path, run_dir: Path, other: Record) -> None:
    """Copy the files of a run into another's directory: those that every run has, and no others.

    Raises:
        OSError: if one of them is not there or cannot be written.
        ValueError, UserError: if one of them is damaged, no regular file, or not of the record.
    """
    assert other.model is not None
    weights_file.read(source / other.model.checkpoint, other)
    if logits.read(source, other) is None:
        raise ValueError(f"{logits.FILE_NAME} is missing")
    names = [other.model.checkpoint, logits.FILE_NAME, "predictions.csv", "model.txt"]
    names += [path.name for path in source.iterdir() if _EVENTS.fullmatch(path.name)]
    for name in names:
        try:
            content = read_regular(source / name, _LARGEST)
        except ValueError as error:
            raise ValueError(f"{name} {error}") from error
        write_atomically(run_dir / name, content)
