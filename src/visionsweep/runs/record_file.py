"""Read and write `result.json`, the record of a run."""

import logging
from pathlib import Path
from typing import Any

import msgspec

from visionsweep.runs.paths import RECORD
from visionsweep.runs.record import SCHEMA_VERSION, Record, RecordSummary
from visionsweep.runs.validation import check_record
from visionsweep.storage.files import write_atomically
from visionsweep.storage.untrusted import MB, UntrustedFileError, decode_json, read_regular
from visionsweep.text.paths import as_text

log = logging.getLogger(__name__)

MAX_BYTES = 64 * MB  # a thousand replicates over a hundred epochs take half of it


def write_record(record: Record, run_dir: Path) -> Path:
    """Write a record into its run directory, and return the file.

    A history too large to be read again is written without the scores of its replicates, with a
    warning.
    """
    path = run_dir / RECORD
    content = _encode(record)
    if len(content) > MAX_BYTES:
        log.warning("%s: the history is too long to keep the scores of each replicate", path)
        history = [msgspec.structs.replace(epoch, replicates=()) for epoch in record.history]
        content = _encode(msgspec.structs.replace(record, history=history))
    indented = msgspec.json.format(content, indent=2)
    write_atomically(path, indented if len(indented) <= MAX_BYTES else content)
    return path


def _encode(record: Record) -> bytes:
    try:
        return msgspec.json.encode(record)
    except UnicodeEncodeError:  # a path on the command line that is not UTF-8
        return msgspec.json.encode(_as_text(msgspec.to_builtins(record)))


def _as_text(content: Any) -> Any:
    """Replace undecodable bytes in all strings, as `text.paths.as_text` does."""
    if isinstance(content, dict):
        return {_as_text(key): _as_text(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_as_text(item) for item in content]
    return as_text(content) if isinstance(content, str) else content


def read_record(path: Path) -> Record:
    """Read and validate a `result.json`.

    Raises:
        ValueError: if the file is not a record of this schema version, or contradicts itself.
        OSError: if the file cannot be read.
    """
    try:
        content = read_regular(path, MAX_BYTES)
        try:
            record = decode_json(content, Record)
        except UntrustedFileError:  # perhaps since another version wrote it
            version = decode_json(content, dict[str, Any]).get("schema_version")
            if version in (None, SCHEMA_VERSION):
                raise
            reason = f"schema version {version}; this program reads {SCHEMA_VERSION}"
            raise ValueError(reason) from None
        check_record(record)
    except UntrustedFileError as error:
        raise ValueError(f"not a record: {error}") from error
    return record


def read_summary(path: Path) -> RecordSummary:
    """Read and validate a record, and return it without its history; raises as `read_record`."""
    record = read_record(path)
    names = RecordSummary.__struct_fields__
    return RecordSummary(**{name: getattr(record, name) for name in names})
