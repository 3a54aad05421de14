"""Which settings a group of runs swept: what differs between them and is not a mere consequence."""

from collections.abc import Mapping, Sequence
from typing import Any

from visionsweep.names import WHERE
from visionsweep.tracking.runs import Run

# What stands for all keys of its group: with `model=effnetb2` come a name, weights and a dropout.
_STANDS_FOR = {
    "model": "model.label",
    "data": "data.label",
    "transform": "transform.name",
    "augmentation": "augmentation.name",
    "optimizer": "optimizer.name",
    "training": "training.name",
}
_SHORT = {label: group for group, label in _STANDS_FOR.items()}
ALWAYS = ("model", "data", "epochs")


def settings_of(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return what each run was given: `model`, `data`, `epochs`, and whatever else was swept.

    Keys that say where a run is made are left out, and those that follow from another: the learning
    rate where `optimizer=adam,sgd` brought it along stays out, where it was swept it stays in.

    Args:
        runs: completed runs, at least one.

    Returns:
        A mapping a run, all with the same keys in the same order; groups go by their short names
        (`optimizer`, not `optimizer.name`), single keys by their dotted ones (`optimizer.lr`).
    """
    flat = [dict(_leaves(run.record.config)) for run in runs]
    keys = {key: None for settings in flat for key in settings if key not in WHERE}
    swept = [key for key in keys if len({repr(s.get(key)) for s in flat}) > 1]
    own = [key for key in swept if not _follows(key, flat) and _SHORT.get(key, key) not in ALWAYS]
    return [
        {short: settings.get(_STANDS_FOR.get(short, short)) for short in ALWAYS}
        | {_SHORT.get(key, key): settings.get(key) for key in own}
        for settings in flat
    ]


def _leaves(config: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found = []
    for name, value in config.items():
        if isinstance(value, Mapping) and f"{prefix}{name}" in _STANDS_FOR.keys() | {"features"}:
            found += _leaves(value, f"{prefix}{name}.")
        else:
            found.append((f"{prefix}{name}", value))
    return found


def _follows(key: str, flat: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the choice in the key's own group, or of the kind of training, decides the key."""
    deciders = {_STANDS_FOR.get(key.partition(".")[0]), "training.name"} - {key, None}
    return any(_decides(str(decider), key, flat) for decider in deciders)


def _decides(decider: str, key: str, flat: Sequence[Mapping[str, Any]]) -> bool:
    pairs = {(repr(settings.get(decider)), repr(settings.get(key))) for settings in flat}
    return len(pairs) == len({first for first, _ in pairs})
