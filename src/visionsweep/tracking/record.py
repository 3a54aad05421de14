"""The record of a run, `result.json`: everything that other programs need to know about it.

`schema_version`, `status`, `name`, `dataset`, `weights`, `config`, `history` and
`metrics.{final,best}.{train,val,test}.{loss,accuracy}` are read by other people's scripts and keep
their names and meaning; a change of any raises `SCHEMA_VERSION`.
"""

import math
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from visionsweep.analysis import metrics
from visionsweep.analysis.intervals import estimates, wilson
from visionsweep.analysis.outcomes import Outcomes
from visionsweep.files import write_atomically
from visionsweep.scores import Epoch, Scores
from visionsweep.tracking.folders import RECORD

SCHEMA_VERSION = 1

# What a record says; `crashed` and `running` are said of runs that have none (tracking/claims.py).
Status = Literal["completed", "failed", "interrupted", "crashed", "running"]


class EpochScores(msgspec.Struct, frozen=True):
    """The scores of one epoch, and which one it was."""

    epoch: int
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

    value: float
    low: float
    high: float
    replicates: list[float]


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

    label: str
    name: str
    fingerprint: str
    width: int
    dropout: float
    trainable: int
    parameters: int
    preprocessing: dict[str, Any]
    checkpoint: str
    milliseconds: float | None = None


class DataFacts(msgspec.Struct, frozen=True):
    """The images that were used.

    Attributes:
        label: short name of the choice.
        classes: class names; a label is an index into them.
        counts: images of each split.
        digests: names of each split's contents; equal means the same images and classes.
        skipped: files that could not be read, with the reason.
    """

    label: str
    classes: list[str]
    counts: dict[str, int]
    digests: dict[str, str]
    skipped: list[str]


class Failure(msgspec.Struct, frozen=True):
    """Why a run did not complete."""

    type: str
    message: str


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
        fingerprint: of all that decides its numbers (fingerprint.py); None before it was known.
        continued_after: epochs after which the run was taken up again, having been cut off.
        reused_from: the directory of the run that was taken over instead of training, or None.
        images_at_once: how many images of a batch were computed at once where device memory did not
            hold the batch; None: all of it.
    """

    schema_version: int = SCHEMA_VERSION
    status: Status
    name: str
    dataset: str | None = None
    weights: str | None = None
    config: dict[str, Any]
    metrics: Metrics | None = None
    evaluation: dict[str, dict[str, Measure]] = {}
    model: ModelFacts | None = None
    data: DataFacts | None = None
    seconds: dict[str, float] = {}
    started: str
    device: dict[str, Any] = {}
    versions: dict[str, str] = {}
    git: dict[str, Any] | None = None
    command: list[str] = []
    failure: Failure | None = None
    fingerprint: str | None = None
    continued_after: list[int] = []
    reused_from: str | None = None
    images_at_once: int | None = None


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
    """Write a record into its run's directory, and return the file."""
    path = run_dir / RECORD
    write_atomically(path, msgspec.json.format(msgspec.json.encode(record), indent=2))
    return path


def read(path: Path) -> Record:
    """Read a record.

    Args:
        path: a `result.json`.

    Raises:
        ValueError: if the file is not a record of this schema version; says why.
        OSError: if it cannot be read.
    """
    return _read(path, Record)


def read_summary(path: Path) -> Summary:
    """Read a record without its history, in a fraction of the time; arguments as `read`."""
    return _read(path, Summary)


_Kind = TypeVar("_Kind", bound=Summary)


def _read(path: Path, kind: type[_Kind]) -> _Kind:
    try:
        record = _decoded(path.read_bytes(), kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"not a record: {error}") from error
    if record.status == "completed" and (
        record.metrics is None or record.model is None or record.data is None
    ):
        raise ValueError("a completed run without metrics, model or data")
    return record


def _decoded(content: bytes, kind: type[_Kind]) -> _Kind:
    try:
        record = msgspec.json.decode(content, type=kind)
    except msgspec.ValidationError:  # perhaps only for nulls that stand for NaN; takes longer
        builtin = msgspec.json.decode(content)
        _check_version(builtin.get("schema_version") if isinstance(builtin, dict) else None)
        return msgspec.convert(_numbered(builtin), type=kind)
    _check_version(record.schema_version)
    return record


def _check_version(version: Any) -> None:
    if isinstance(version, int) and version != SCHEMA_VERSION:
        raise ValueError(f"schema version {version}; this program reads {SCHEMA_VERSION}")


_NUMBERS = {"loss", "value", "low", "high"}


def _numbered(content: Any, *, number: bool = False) -> Any:
    """Put NaN where a number is null: JSON has no other way to write that training diverged."""
    if isinstance(content, dict):
        return {
            key: _numbered(value, number=key in _NUMBERS or (key == "replicates"))
            for key, value in content.items()
        }
    if isinstance(content, list):
        return [_numbered(item, number=number) for item in content]
    return math.nan if number and content is None else content
