"""Tables derived from the declarations of the schema."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from functools import cache
from types import SimpleNamespace
from typing import Any, cast, get_type_hints

from visionsweep.config.schema import Config
from visionsweep.config.setting import Setting
from visionsweep.config.targets import is_augmented


@cache
def settings() -> dict[str, Setting]:
    """Return the declaration of every setting by its dotted key."""
    return _declared(Config, "")


def _declared(schema: type, prefix: str) -> dict[str, Setting]:
    hints = get_type_hints(schema)
    declared: dict[str, Setting] = {}
    for item in fields(schema):
        annotation = hints[item.name]
        if is_dataclass(annotation):
            declared |= _declared(cast(type, annotation), f"{prefix}{item.name}.")
        else:
            key = prefix + item.name
            declared[key] = replace(item.metadata["setting"], key=key, type=annotation)
    return declared


@cache
def keys(**attributes: Any) -> frozenset[str]:
    """Return the dotted keys of the settings whose attributes have these values.

    Example: `keys(role="runtime", of_sweep=False)`.
    """
    return frozenset(
        key
        for key, item in settings().items()
        if all(getattr(item, name) == value for name, value in attributes.items())
    )


@cache
def neutral_keys() -> frozenset[str]:
    """Return the dotted keys of the settings that change no number of a run."""
    return keys(role="runtime") | keys(role="evidence")


SECTIONS = tuple(item.name for item in fields(Config) if "setting" not in item.metadata)
GROUPS = (*(name for name in SECTIONS if name != "features"), "experiment")


def flatten(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a nested configuration by dotted key; unknown keys are kept."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if name in SECTIONS and isinstance(value, Mapping):
            flat |= {f"{name}.{key}": item for key, item in value.items()}
        else:
            flat[str(name)] = value
    return flat


@cache
def group_labels() -> dict[str, str]:
    """Return, for each config group, the key whose value names its option in tables."""
    return {key.partition(".")[0]: key for key, item in settings().items() if item.names_group}


@cache
def short_names() -> dict[str, str]:
    """Return the name of each setting in tables: `model` for `model.label`, `optimizer.lr`."""
    labels = {key: group for group, key in group_labels().items()}
    return {key: labels.get(key, key) for key in settings()}


def always_shown() -> tuple[str, ...]:
    """Return the table names of the settings that tables show even if they were not swept."""
    return tuple(short_names()[key] for key, item in settings().items() if item.always_shown)


def unused_keys(config: Mapping[str, Any]) -> frozenset[str]:
    """Return the settings without effect.

    Those of training in steps, if the head is solved, and of views, if all would be equal.
    """
    flat = flatten(config)
    solved = flat.get("training.linear_probe") == "only"
    augmentation = SimpleNamespace(
        name=flat.get("augmentation.name"),
        _target_=flat.get("augmentation._target_"),
        crop_scale=flat.get("augmentation.crop_scale", 1.0),
    )
    views = {"augmentation.views", "augmentation.test_views"}
    return (keys(in_steps=True) if solved else frozenset()) | (
        frozenset() if is_augmented(augmentation) else views
    )


def result_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that determine a run's numbers, by dotted key.

    A setting with the value that older records imply is left out, so that fingerprints stay valid,
    and so is one without effect.
    """
    flat = flatten(config)
    unused = set(unused_keys(config))
    if flat.get("model.source") == "local":
        unused.add("model.weights")  # the content of the file counts, not its path

    def is_implied(item: Setting) -> bool:
        name = flat.get(f"{item.key.partition('.')[0]}.name")
        return item.implied is not None and flat[item.key] in (None, item.implied(name))

    return {
        key: flat[key]
        for key, item in settings().items()
        if item.role == "result" and key in flat and not is_implied(item) and key not in unused
    }
