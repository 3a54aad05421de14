"""Check that a record is consistent, beyond the types of its fields."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from visionsweep.config.derived import SECTIONS, flatten, settings
from visionsweep.runs.fields import MOST_REPLICATES, SPLITS, Positive
from visionsweep.runs.record import DataFacts, ModelFacts, Record
from visionsweep.runs.scores import ClassMeasures, Epoch, Interval, Measure, Metrics, SplitScores

_Pixels = Annotated[int, Meta(ge=1, le=4_096)]  # height or width of a network's input
_UNBOUNDED = ("loss",)  # metrics that are not between 0 and 1


def _require(holds: bool, reason: str) -> None:
    if not holds:
        raise ValueError(reason)


def check_record(record: Record) -> None:
    """Refuse a record that contradicts itself.

    Raises:
        ValueError: names the key and what is wrong.
    """
    is_final = record.status not in ("crashed", "running")
    _require(is_final, f"status: {record.status} is not a final status")
    check_time(record.started)
    check_config(record.config)
    check_history(record.history)
    _require(
        all(after <= len(record.history) for after in record.continued_after),
        "continued_after: an epoch is not in history",
    )
    if record.model is not None:
        _check_model(record.model)
    if record.data is not None:
        _check_data(record.data)
    for section, splits in (("evaluation", record.evaluation), ("deployed", record.deployed)):
        for split, measures in splits.items():
            for name, measure in measures.items():
                _check_measure(f"{section}.{split}.{name}", name, measure)
    for split, scores in record.classes.items():
        _check_classes(split, scores, record.data)
    _check_replicates(record)
    if record.metrics is not None:
        _check_metrics(record.metrics, record.history, flatten(record.config))
    if record.status == "completed":
        _check_completed(record)


def _check_completed(record: Record) -> None:
    if record.metrics is None or record.model is None or record.data is None:
        raise ValueError("a completed run without metrics, model or data")
    _require("total" in record.seconds, "seconds: total is missing")
    config = flatten(record.config)
    for key, kind in (
        ("model.label", str), ("data.label", str), ("epochs", int), ("batch_size", int),
    ):  # fmt: skip
        _require(isinstance(config.get(key), kind), f"config.{key}: missing")
    epochs, count = config["epochs"], len(record.history)
    stopped = config.get("training.patience") is not None and 0 < count < epochs
    _require(count == epochs or stopped, f"history: {count} epochs in a completed run of {epochs}")
    _require(record.metrics.final.test.known, "metrics.final.test: not scored")


def check_time(text: str) -> None:
    """Refuse a text that is not a date and time, `2026-01-31T12:00:00+01:00`.

    Raises:
        ValueError: names the text.
    """
    try:
        datetime.fromisoformat(text)
        date.fromisoformat(text[:10])  # shown in tables; fromisoformat also takes 20260131
    except ValueError as error:
        raise ValueError(f"{text[:40]!r} is not a date and time") from error


def check_config(config: Mapping[str, Any]) -> None:
    """Refuse a recorded configuration with a value of another type or out of range.

    Raises:
        ValueError: names the key.
    """
    for key, value in flatten(config).items():
        _require(key not in SECTIONS, f"config.{key}: expected settings, got {value!r}")
        declared = settings().get(key)
        # null in records of a version that trained a single head
        if declared is None or (value is None and key.endswith("replicates")):
            continue
        try:
            msgspec.convert(value, declared.type)
        except msgspec.ValidationError as error:
            raise ValueError(f"config.{key}: {error}") from error
        in_range = not declared.is_number or declared.accepts(value)
        _require(in_range, f"config.{key}: {value!r} is out of range")


class _Preprocessing(msgspec.Struct):
    """Fields of `data.transforms.Preprocessing` with the values that a model can have."""

    resize: Annotated[list[_Pixels], Meta(min_length=1, max_length=2)]
    crop: _Pixels | None
    interpolation: Literal[
        "nearest", "nearest-exact", "bilinear", "bicubic", "box", "hamming", "lanczos"
    ]
    mean: tuple[float, float, float]
    std: tuple[Positive, Positive, Positive]
    gray_range: tuple[float, float] | None = None


def _check_model(model: ModelFacts) -> None:
    _require(model.trainable <= model.parameters, "model.trainable: exceeds model.parameters")
    try:
        msgspec.convert(model.preprocessing, _Preprocessing)
    except msgspec.ValidationError as error:
        raise ValueError(f"model.preprocessing: {error}") from error
    limits = model.preprocessing.get("gray_range")
    _require(
        limits is None or limits[0] < limits[1],
        "model.preprocessing.gray_range: the lower bound is not below the upper one",
    )


def _check_data(data: DataFacts) -> None:
    _require(len(set(data.classes)) == len(data.classes), "data.classes: duplicate name")
    for key, by_split in (("counts", data.counts), ("digests", data.digests)):
        _require(by_split.keys() >= set(SPLITS), f"data.{key}: expected {', '.join(SPLITS)}")
    _require(data.counts["train"] > 0, "data.counts.train: no images")


def check_history(history: Sequence[Epoch]) -> None:
    """Refuse a history whose epochs are not numbered from 1 or differ in replicates.

    Raises:
        ValueError: names the epoch.
    """
    replicates = len(history[0].replicates) if history else 0
    _require(replicates <= MOST_REPLICATES, f"history: more than {MOST_REPLICATES} replicates")
    for number, epoch in enumerate(history, 1):
        if epoch.epoch != number:
            raise ValueError(f"history: epoch {epoch.epoch} in place of {number}")
        if len(epoch.replicates) != replicates:
            raise ValueError(f"history, epoch {number}: expected {replicates} replicates")
        means = SplitScores(epoch.train, epoch.val, epoch.test)
        for scores in (means, *epoch.replicates):
            if not (scores.train.known and scores.val.known):
                raise ValueError(f"history, epoch {number}: only test images may not be scored")


def _check_metrics(metrics: Metrics, history: Sequence[Epoch], config: Mapping[str, Any]) -> None:
    for name, scores in (("final", metrics.final), ("best", metrics.best)):
        recorded = [epoch.means for epoch in history[scores.epoch - 1 : scores.epoch]]
        if msgspec.json.encode(recorded) != msgspec.json.encode([scores]):  # NaN is null
            raise ValueError(f"metrics.{name}: differs from history, epoch {scores.epoch}")
    if config.get("training.patience") is None:
        _require(metrics.final.epoch == len(history), "metrics.final: not the last epoch")
    else:
        _require(metrics.final.epoch == metrics.best.epoch, "metrics.final: not the best epoch")


def _check_measure(where: str, name: str, measure: Measure) -> None:
    for value in (measure.value, *measure.replicates) if name not in _UNBOUNDED else ():
        if value > 1 + 1e-9:
            raise ValueError(f"{where}: {value!r} is out of range")
    if measure.low > measure.high:
        raise ValueError(f"{where}: low exceeds high")


def _check_classes(split: str, scores: Mapping[str, ClassMeasures], data: DataFacts | None) -> None:
    where = f"classes.{split}"
    _require(data is not None and [*scores] == data.classes, f"{where}: other classes than data's")
    _require(
        sum(c.images for c in scores.values()) == sum(c.predicted for c in scores.values()),
        f"{where}: as many images should be predicted as there are",
    )
    for name, of_class in scores.items():
        shares: list[float] = []
        for each in (of_class.precision, of_class.recall, of_class.f1):
            shares += [each.value, each.low, each.high] if isinstance(each, Interval) else [each]
        outside = [share for share in shares if share < 0 or share > 1]
        _require(not outside, f"{where}.{name}: {outside} is not between 0 and 1")


def _check_replicates(record: Record) -> None:
    """Refuse a record whose parts have different numbers of replicates."""
    counts = {
        len(measure.replicates)
        for measures in record.evaluation.values()
        for name, measure in measures.items()
        if name != "accuracy_wilson"
    }
    if record.history and record.history[0].replicates:
        counts.add(len(record.history[0].replicates))
    if counts and isinstance(configured := record.config.get("replicates"), int):
        counts.add(configured)
    listed = ", ".join(map(str, sorted(counts)))
    _require(len(counts) <= 1, f"replicates: inconsistent numbers {listed}")
