"""The record of a run, `result.json`: everything that other programs need to know about it.

`schema_version`, `status`, `name`, `dataset`, `weights`, `config`, `history` and
`metrics.{final,best}.{train,val,test}.{loss,accuracy}` are read by other people's scripts and keep
their names and meaning; a change of any raises `SCHEMA_VERSION`.
"""

import logging
import math
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from visionsweep.analysis import metrics
from visionsweep.analysis.intervals import estimates, wilson
from visionsweep.analysis.predictions import Outcomes
from visionsweep.runs.fields import (
    MOST_CLASSES,
    MOST_REPLICATES,
    Count,
    Digest,
    Leaf,
    Name,
    Natural,
    NonNegative,
    Positive,
    Share,
    Split,
    Text,
    Tree,
)
from visionsweep.runs.paths import RECORD
from visionsweep.runs.scores import Epoch, Scores, SplitScores
from visionsweep.runs.validation import check_record
from visionsweep.storage.files import write_atomically
from visionsweep.storage.untrusted import MB, UntrustedFileError, decode_json, read_regular
from visionsweep.text.paths import as_text

log = logging.getLogger(__name__)

SCHEMA_VERSION = 1
LARGEST = 64 * MB  # of a record: a thousand replicates in a hundred epochs are half of it

# What a record says; `crashed` and `running` are said of runs that have none (runs/claims.py).
Status = Literal["completed", "failed", "interrupted", "crashed", "running"]


class EpochScores(msgspec.Struct, frozen=True):
    """The scores of one epoch, and which one it was."""

    epoch: Natural
    train: Scores
    val: Scores
    test: Scores


class Metrics(msgspec.Struct, frozen=True):
    """The scores that a run is judged by.

    Attributes:
        final: after the last epoch; what is ranked, and what the checkpoint gives.
        best: after the epoch of lowest validation loss.
    """

    final: EpochScores
    best: EpochScores


class Measure(msgspec.Struct, frozen=True):
    """One metric on one split.

    Attributes:
        value: mean over replicates.
        low, high: its 95 % interval over images and replicates.
        replicates: the metric of each.
    """

    value: NonNegative
    low: float
    high: float
    replicates: Annotated[list[NonNegative], msgspec.Meta(min_length=1, max_length=MOST_REPLICATES)]


class ModelFacts(msgspec.Struct, frozen=True):
    """The network that was trained.

    Attributes:
        label: its short name.
        name: its builder's name.
        fingerprint: of the backbone: name, weights and library.
        width: number of features.
        dropout: of the head.
        trainable, parameters: numbers of parameters.
        preprocessing: how an image becomes its input, `data.transforms.Preprocessing` as a mapping.
        checkpoint: the file of trained tensors, in the run directory.
        milliseconds: a forward pass takes for one image, on one core of a CPU.
    """

    label: Name
    name: Name
    fingerprint: Digest
    width: Natural
    dropout: Share
    trainable: Count
    parameters: Count
    preprocessing: dict[Name, Leaf | list[Leaf]]
    checkpoint: Literal["head.safetensors", "model.safetensors"]
    milliseconds: Positive | None = None


class DataFacts(msgspec.Struct, frozen=True):
    """The images that were used.

    Attributes:
        label: short name of the choice.
        classes: class names; a label is an index into them.
        counts: images of each split.
        digests: names of each split's contents; equal means the same images and classes.
        skipped: files that could not be read, with the reason.
    """

    label: Name
    classes: Annotated[list[Name], msgspec.Meta(min_length=1, max_length=MOST_CLASSES)]
    counts: dict[Split, Count]
    digests: dict[Split, Digest]
    skipped: list[Text]


class Failure(msgspec.Struct, frozen=True):
    """Why a run did not complete."""

    type: Text
    message: Text


class Summary(msgspec.Struct, kw_only=True, omit_defaults=False):
    """One run without its history: what is compared, so that ten thousand fit into memory.

    Attributes:
        schema_version: of this file's form.
        status: how the run ended.
        name: readable, of what was chosen.
        dataset: which images; `sample` for the rendered ones.
        weights: what the backbone was trained on; `random` for nothing.
        config: the whole configuration.
        metrics: final and best scores, means over replicates; None unless completed.
        evaluation: of `val` and `test`, each metric of `analysis.metrics` with its interval.
        model, data: facts about both; None for a run that failed before they were known.
        seconds: wall-clock time of the parts, and `total`.
        started: date and time, ISO 8601 with offset.
        device: what it ran on, with the number of threads.
        versions: of Python and of the packages that decide numbers.
        git: commit and whether the checkout was changed, or None outside a checkout.
        command: the command line.
        failure: why the run failed, or None.
        fingerprint: of all that decides its numbers (runs/fingerprint.py); None until it is known.
        continued_after: epochs after which the run was taken up again, having been cut off.
        reused_from: the directory of the run that was taken over instead of training, or None.
        images_at_once: how many images of a batch were computed at once where device memory did not
            hold the batch; None: all of it.
    """

    schema_version: int = SCHEMA_VERSION
    status: Status
    name: Name
    dataset: Name | None = None
    weights: Name | None = None
    config: Tree
    metrics: Metrics | None = None
    evaluation: dict[Split, dict[Name, Measure]] = {}
    model: ModelFacts | None = None
    data: DataFacts | None = None
    seconds: dict[Name, NonNegative] = {}
    started: Text
    device: dict[Name, Leaf] = {}
    versions: dict[Name, Text] = {}
    git: dict[Name, Leaf] | None = None
    command: list[Text] = []
    failure: Failure | None = None
    fingerprint: Digest | None = None
    continued_after: list[Count] = []
    reused_from: Text | None = None
    images_at_once: Natural | None = None


class Record(Summary, kw_only=True, omit_defaults=False):
    """One run, whole.

    Attributes:
        history: one entry an epoch.
    """

    history: list[Epoch] = []


def summarize(history: list[Epoch]) -> Metrics:
    """Return the scores of the last epoch and of the one with the lowest validation loss.

    A loss that is not a number, where training diverged, is higher than any other.
    """

    def of(epoch: Epoch) -> EpochScores:
        return EpochScores(epoch.epoch, epoch.train, epoch.val, epoch.test)

    def val_loss(epoch: Epoch) -> float:
        return math.inf if math.isnan(epoch.val.loss) else epoch.val.loss

    return Metrics(of(history[-1]), of(min(history, key=val_loss)))


def measure(outcomes: Outcomes) -> dict[str, Measure]:
    """Return every metric with its interval; of one replicate also Wilson's for accuracy."""
    each = metrics.per_replicate(outcomes)
    measures = {
        name: Measure(found.value, found.low, found.high, each[name].tolist())
        for name, found in estimates(outcomes).items()
    }
    if len(outcomes.logits) == 1:
        found = wilson(int(outcomes.hits.sum()), len(outcomes.labels))
        measures["accuracy_wilson"] = Measure(found.value, found.low, found.high, [found.value])
    return measures


def write(record: Record, run_dir: Path) -> Path:
    """Write a record into its run's directory, and return the file.

    One that would be too large to be read again leaves out the replicates of its history, with a
    warning.
    """
    path = run_dir / RECORD
    content = _encoded(record)
    indented = msgspec.json.format(content, indent=2)
    if len(content) > LARGEST:
        log.warning("%s: the history is too long to keep the scores of each replicate", path)
        short = msgspec.structs.replace(
            record,
            history=[replace(epoch, replicates=()) for epoch in record.history],
        )
        content = _encoded(short)
    write_atomically(path, indented if len(indented) <= LARGEST else content)
    return path


def _encoded(record: Record) -> bytes:
    try:
        return msgspec.json.encode(record)
    except UnicodeEncodeError:  # of a path on the command line that is not UTF-8
        return msgspec.json.encode(_as_text(msgspec.to_builtins(record)))


def _as_text(content: Any) -> Any:
    """Write what is not UTF-8 in the texts of a record as `text.paths.as_text` does."""
    if isinstance(content, dict):
        return {_as_text(key): _as_text(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_as_text(item) for item in content]
    return as_text(content) if isinstance(content, str) else content


class _Scores(msgspec.Struct, frozen=True, gc=False):
    """Scores to be checked and dropped; decoded in a quarter of the time that `Scores` takes."""

    loss: NonNegative
    accuracy: Share


class _SplitScores(msgspec.Struct, frozen=True, gc=False):
    train: _Scores
    val: _Scores
    test: _Scores


class _Epoch(msgspec.Struct, frozen=True, gc=False):
    epoch: Natural
    train: _Scores
    val: _Scores
    test: _Scores
    learning_rate: NonNegative
    seconds: NonNegative
    replicates: list[_SplitScores] = []


class _Whole(Summary, kw_only=True):
    """A record whose history is only checked."""

    history: list[_Epoch] = []


_KEPT = Summary.__struct_fields__


def read(path: Path) -> Record:
    """Read a record, and check all that it says.

    Args:
        path: a `result.json`.

    Raises:
        ValueError: if the file is not a record of this schema version, or contradicts itself; says
            why.
        OSError: if it cannot be read.
    """
    found: Record = _read(path, Record)
    return found


def read_summary(path: Path) -> Summary:
    """Read a record, check all of it, and return it without its history; arguments as `read`."""
    found = _read(path, _Whole)
    return Summary(**{name: getattr(found, name) for name in _KEPT})


def _read(path: Path, kind: type[Summary]) -> Any:
    try:
        found: Any = _decoded(read_regular(path, LARGEST), kind)
        check_record(found)
    except UntrustedFileError as error:
        raise ValueError(f"not a record: {error}") from error
    return found


class _Version(msgspec.Struct):
    """What of a record says whether the rest can be understood."""

    schema_version: Natural | None = None


def _decoded(content: bytes, kind: type[Summary]) -> Summary:
    try:
        record = decode_json(content, kind)
    except UntrustedFileError:
        _check_version(decode_json(content, _Version).schema_version)
        if b"null" not in content:
            raise
        record = _with_nulls(content)
    _check_version(record.schema_version)
    return record


def _with_nulls(content: bytes) -> Record:
    """Decode a record in which nulls may stand for numbers; takes longer, and more memory."""
    if len(content) > LARGEST // 4:
        raise UntrustedFileError("not all of its numbers are numbers")
    builtin = decode_json(content, dict[str, Any])
    scores = {key: _marked(builtin[key]) for key in _WITH_SCORES if key in builtin}
    try:
        found: Record = _unmarked(msgspec.convert(builtin | scores, type=Record))
    except (msgspec.MsgspecError, RecursionError) as error:
        raise UntrustedFileError(str(error)) from error
    return found


def _check_version(version: int | None) -> None:
    if version not in (None, SCHEMA_VERSION):
        raise ValueError(f"schema version {version}; this program reads {SCHEMA_VERSION}")


_WITH_SCORES = ("history", "metrics", "evaluation")
_NUMBERS = {"loss", "value", "low", "high", "replicates"}
_MARK = 1.797e308  # in place of a number that training left undefined, while ranges are checked


def _marked(content: Any, *, number: bool = False) -> Any:
    """Mark where a number is null: JSON has no other way to write that training diverged."""
    if isinstance(content, dict):
        return {key: _marked(value, number=key in _NUMBERS) for key, value in content.items()}
    if isinstance(content, list):
        return [_marked(item, number=number) for item in content]
    return _MARK if number and content is None else content


def _unmarked(value: Any) -> Any:
    """Return a record, or a part of one, with NaN where a number is marked."""
    if isinstance(value, float):
        return math.nan if value == _MARK else value
    if isinstance(value, list | tuple):
        return type(value)(map(_unmarked, value))
    if isinstance(value, dict):
        return {key: _unmarked(item) for key, item in value.items()}
    if isinstance(value, Record):
        parts = {name: _unmarked(getattr(value, name)) for name in _WITH_SCORES}
        return msgspec.structs.replace(value, **parts)
    if isinstance(value, Metrics | EpochScores | Measure):
        of = type(value)
        return of(*(_unmarked(getattr(value, name)) for name in of.__struct_fields__))
    if isinstance(value, Epoch | SplitScores | Scores):
        parts = {item.name: _unmarked(getattr(value, item.name)) for item in fields(value)}
        return type(value)(**parts)
    return value
