"""Reuse a run with the same fingerprint that another sweep has completed, instead of training."""

import logging
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import msgspec

from visionsweep.command_memory import remembered
from visionsweep.config.schema import Config
from visionsweep.errors import UserError
from visionsweep.runs import fingerprint, logits, weights_file
from visionsweep.runs.paths import RECORD
from visionsweep.runs.record import DataFacts, Record
from visionsweep.runs.record_file import MAX_BYTES, read_record
from visionsweep.storage.files import why, write_atomically
from visionsweep.storage.untrusted import MB, decode_json, read_regular

log = logging.getLogger(__name__)

_REUSED = (  # fields of the record
    "history", "metrics", "evaluation", "deployed", "classes", "temperature", "model", "data",
    "near_duplicates", "training_images", "dataset", "device", "versions", "git", "heads_version",
    "intervals_version",
)  # fmt: skip
_EVENTS = re.compile(r"events\.out\.tfevents\.\d+\.[\w.-]+")
_MAX_FILE_BYTES = 1024 * MB  # of a file that is copied


@dataclass(frozen=True)
class Reused:
    """A completed run whose files were copied.

    Attributes:
        run_dir: its directory.
        record: its record.
    """

    run_dir: Path
    record: Record

    def applied_to(self, record: Record) -> Record:
        """Return a run's own record with the results that were copied."""
        copied = {name: getattr(self.record, name) for name in _REUSED}
        return msgspec.structs.replace(record, reused_from=str(self.run_dir), **copied)


def reuse_completed(
    config: Config, run_dir: Path, run_fingerprint: str, data: DataFacts
) -> Reused | None:
    """Copy the files of a completed run with the same fingerprint, if the outputs hold one.

    Args:
        config: configuration of the run.
        run_dir: its directory, which the files are copied to.
        run_fingerprint: its fingerprint.
        data: its images.
    """
    outputs = Path(config.outputs_dir).absolute()
    for source in completed_runs(outputs).get(run_fingerprint, []):
        try:
            record = read_record(source / RECORD)
            _check_same(config, run_fingerprint, data, record)
            _copy(source, run_dir, record)
        except OSError as error:
            file = error.filename or RECORD
            log.warning("%s: not reused: %s: %s", source, file, why(error))
        except (UserError, ValueError) as error:
            log.warning("%s: not reused: %s", source, error)
        else:
            log.info("Reused instead of trained: %s has the same fingerprint", source)
            return Reused(source, record)
    return None


class _Brief(msgspec.Struct):
    """The fields of a record that tell whether its run can be reused."""

    status: str
    fingerprint: str | None = None
    reused_from: str | None = None


@remembered()
def completed_runs(outputs: Path) -> dict[str, list[Path]]:
    """Return the directories of trained runs by fingerprint; read once per command."""
    runs: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(outputs.rglob(RECORD)):
        try:
            brief = decode_json(read_regular(path, MAX_BYTES), _Brief)
        except (OSError, ValueError):
            continue  # compare.py reports it
        if brief.status == "completed" and brief.fingerprint and not brief.reused_from:
            runs[brief.fingerprint].append(path.parent)
    return runs


def _check_same(config: Config, run_fingerprint: str, data: DataFacts, record: Record) -> None:
    """Refuse a record whose fingerprint contradicts its settings or images."""
    if record.status != "completed" or record.fingerprint != run_fingerprint:
        raise ValueError("its record has changed meanwhile")
    if changes := fingerprint.changed_settings(record.config, config):
        raise ValueError(f"its fingerprint contradicts its settings: {'; '.join(changes)}")
    assert record.data is not None
    for name in ("classes", "counts", "digests"):
        if getattr(record.data, name) != getattr(data, name):
            raise ValueError(f"its fingerprint contradicts its images: other {name}")


def _copy(source: Path, run_dir: Path, record: Record) -> None:
    """Copy the files that every run has, and no others.

    Raises:
        OSError: if one of them is missing or cannot be written.
        ValueError, UserError: if one of them is damaged, no regular file, or of another run.
    """
    assert record.model is not None
    weights_file.read(source / record.model.checkpoint, record)
    if logits.read(source, record) is None:
        raise ValueError(f"{logits.FILE_NAME} is missing")
    names = [record.model.checkpoint, logits.FILE_NAME, "predictions.csv", "model.txt"]
    names += [path.name for path in source.iterdir() if _EVENTS.fullmatch(path.name)]
    for name in names:
        try:
            content = read_regular(source / name, _MAX_FILE_BYTES)
        except ValueError as error:
            raise ValueError(f"{name} {error}") from error
        write_atomically(run_dir / name, content)
