"""Refuse invalid configurations, and say what is valid. Imports no torch."""

from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    InterpolationToMissingValueError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)

from visionsweep.config.combinations import wrong_combinations
from visionsweep.config.derived import flatten, settings
from visionsweep.config.own_weights import filled_in
from visionsweep.config.schema import Config
from visionsweep.errors import UserError, nearest
from visionsweep.text.shell import expanded


def validate_config(config: DictConfig, *, look_at_files: bool = True) -> Config:
    """Refuse a configuration that cannot work, and return it as typed objects.

    Args:
        config: composed configuration with every key of the schema.
        look_at_files: True to require that folders and packages exist. A run checks them later, and
            records the error.

    Raises:
        UserError: names each wrong key, its value, and what would be valid.
    """
    declared = settings()
    config = filled_in(config)
    # Hydra adds any key that is given with a plus sign, though nothing reads it.
    given = flatten(cast(dict[str, Any], OmegaConf.to_container(config, resolve=False)))
    problems = [
        f"{key}={value}: no such key{nearest(key, declared)}"
        for key, value in given.items()
        if key not in declared
    ]
    problems = problems or [p for key in declared if (p := _problem_with(config, key))]
    problems = problems or wrong_combinations(config, look_at_files)
    if problems:
        raise UserError("\n".join(problems))
    valid = cast(Config, OmegaConf.to_object(config))
    valid.data.root = expanded(valid.data.root)
    if valid.model.source == "local":
        valid.model.weights = expanded(str(valid.model.weights))
    valid.outputs_dir = expanded(valid.outputs_dir)
    valid.sweep_dir = expanded(valid.sweep_dir)
    if valid.training.linear_probe == "only":
        valid.epochs = 1  # of the record, which has the scores of the solved head
        valid.training.ema = 0.0
    return valid


def _problem_with(config: DictConfig, key: str) -> str | None:
    declared = settings()[key]
    valid = declared.valid_values
    try:
        value = OmegaConf.select(config, key, throw_on_missing=True)
    except InterpolationToMissingValueError:
        return None  # reported for the key that it refers to
    except MissingMandatoryValue:
        return None if key == "sweep_dir" else f"{key}: a value is needed; give {key}=... ({valid})"
    except OmegaConfBaseException as error:
        return f"{key}: {str(error).splitlines()[0]}; should be {valid}"
    if value is None and not declared.optional:
        return f"{key}=null: should be {valid}"
    if value == "":
        return f"{key}=: the value is empty; should be {valid}"
    if declared.accepts(value):
        return None
    if declared.choices:
        return f"{key}={value}: not {valid}{nearest(str(value), declared.choices)}"
    return f"{key}={value}: should be {valid}"
