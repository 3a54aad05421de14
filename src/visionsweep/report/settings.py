"""Which settings a group of runs swept: what differs between them and is not a mere consequence."""

from collections.abc import Mapping, Sequence
from typing import Any

from visionsweep.config.derived import (
    always_shown,
    flatten,
    group_labels,
    neutral_keys,
    short_names,
    unused_keys,
)
from visionsweep.runs.discovery import Run

ALWAYS = always_shown()


def settings_of(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return what each run was given: `model`, `data`, `epochs`, and whatever else was swept.

    Keys that say where a run is made are left out, and those that follow from another: the learning
    rate where `optimizer=adam,sgd` brought it along stays out, where it was swept it stays in.

    Returns:
        One mapping per run, with keys in the same order; those without effect on a run are left
        out. Groups go by their short names (`optimizer`, not `optimizer.name`), single keys by
        their dotted ones (`optimizer.lr`).
    """
    columns = _columns([run.record.config for run in runs])
    unused = [unused_keys(run.record.config) for run in runs]
    for key in frozenset().union(*unused) & columns.keys():
        has = zip(columns[key], unused, strict=True)
        columns[key] = [_MISSING if key in without else cell for cell, without in has]
    missing = [_MISSING] * len(runs)
    labels, names = group_labels(), short_names()
    shown = {name: columns.get(labels.get(name, name), missing) for name in ALWAYS}
    hidden = neutral_keys()
    swept = [
        key
        for key, column in columns.items()
        if key not in hidden and len({text for _, text in column}) > 1
    ]
    shown |= {
        names.get(key, key): columns[key]
        for key in swept
        if not _follows(key, columns) and names.get(key, key) not in ALWAYS
    }
    return [
        {
            key: value
            for key, (value, _) in zip(shown, row, strict=True)
            if labels.get(key, key) not in without
        }
        for without, row in zip(unused, zip(*shown.values(), strict=True), strict=True)
    ]


_Column = list[tuple[Any, str]]  # what each run has there, and how that is written
_MISSING = (None, "None")


def _columns(configs: Sequence[Mapping[str, Any]]) -> dict[str, _Column]:
    """Return what all runs have for each key of their configurations.

    Runs have most of it in common: each part is taken to pieces once for all that share it.
    """
    columns: dict[str, _Column] = {}
    for name in dict.fromkeys(name for config in configs for name in config):
        written = [repr(config[name]) if name in config else "" for config in configs]
        parts = {text: config[name] for text, config in zip(written, configs, strict=True) if text}
        pieces = {
            text: {key: _cell(value) for key, value in flatten({name: part}).items()}
            for text, part in parts.items()
        }
        alike = len(set(written)) == 1
        for key in dict.fromkeys(key for each in pieces.values() for key in each):
            has = {text: each.get(key, _MISSING) for text, each in pieces.items()}
            column = [has.get(text, _MISSING) for text in (written[:1] if alike else written)]
            columns[key] = column * len(written) if alike else column
    return columns


def _cell(value: Any) -> tuple[Any, str]:
    return (repr(value) if isinstance(value, Mapping | list) else value), repr(value)


def _follows(key: str, columns: Mapping[str, _Column]) -> bool:
    """Whether the choice in the key's own group, or of the kind of training, decides the key."""
    deciders = {group_labels().get(key.partition(".")[0], ""), "training.name"} - {key}
    return any(
        _decides(columns[decider], columns[key]) for decider in deciders if decider in columns
    )


def _decides(decider: _Column, decided: _Column) -> bool:
    """Whether runs that are alike in one column are alike in another, which varies."""
    pairs = {(first, second) for (_, first), (_, second) in zip(decider, decided, strict=True)}
    return len(pairs) == len({first for first, _ in pairs})
