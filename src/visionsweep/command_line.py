"""Refuses a mistyped command before Hydra makes a directory: key, value and remedy."""

import itertools
import sys
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from visionsweep.config import check, leaf_keys, nearest
from visionsweep.errors import UserError


def refuse_mistakes(arguments: list[str], config_dir: Path) -> None:
    """End the program with a message if a command asks for something that cannot be run.

    Every value of a sweep is tried once, in the company of the first values of the other keys; that
    takes as long as the lists are together, not as their product. Commands that only print
    (`--help`, `--cfg`, ...) are left to Hydra.

    Args:
        arguments: what stands behind the script's name.
        config_dir: the folder of `config.yaml`.
    """
    flags = {a for a in arguments if a.startswith("-")}
    if flags - {"-m", "--multirun"}:
        return
    overrides = [a for a in arguments if not a.startswith("-")]
    try:
        with initialize_config_dir(str(config_dir.resolve()), version_base="1.3"):
            _check_all(overrides, sweeping=bool(flags))
    except UserError as error:
        print(f"{error}\nNothing was run. The manual: python src/train.py --help", file=sys.stderr)
        raise SystemExit(1) from None


def _check_all(overrides: list[str], *, sweeping: bool) -> None:
    parsed = _parse(overrides)
    lists = {o.get_key_element(): list(_values(o)) for o in parsed}
    first = {key: values[0] for key, values in lists.items()}
    config = _compose(list(first.values()))
    params = config.hydra.sweeper.get("params") or {}
    sweeping = sweeping or str(config.hydra.mode) == "RunMode.MULTIRUN"
    for key, values in list(lists.items()):
        if len(values) > 1 and not sweeping:
            raise UserError(
                f"{key}: {len(values)} values make a sweep; add -m: python src/train.py -m ..."
            )
    from_study = {
        o.get_key_element(): list(_values(o))
        for o in _parse([f"{key}={value}" for key, value in params.items()])
    }
    lists = from_study | lists
    first = {key: values[0] for key, values in lists.items()}
    check(_without_hydra(_compose(list(first.values()))))
    for key, values in lists.items():
        for value in itertools.islice(values, 1, None):
            check(_without_hydra(_compose(list((first | {key: value}).values()))))


def _parse(overrides: list[str]) -> list[Override]:
    try:
        return OverridesParser.create().parse_overrides(overrides)
    except OverrideParseException as error:
        raise UserError(
            f"{error.override}: cannot be read ({str(error).splitlines()[0]}); settings are "
            "key=value, and values with spaces, commas or brackets want quotes: 'key=\"a, b\"'"
        ) from error


def _values(override: Override) -> Any:
    key = override.get_key_element()
    if override.is_sweep_override() and override.is_discrete_sweep():
        return [f"{key}={value}" for value in override.sweep_string_iterator()]
    return [override.input_line]


def _compose(overrides: list[str]) -> DictConfig:
    try:
        return compose("config", overrides=overrides, return_hydra_config=True)
    except MissingConfigException as error:
        options = error.options or []
        group, _, option = (error.missing_cfg_file or "").rpartition("/")
        raise UserError(
            f"{group}={option}: no such option{nearest(option, options)}"
            f"\n  {group}: {', '.join(options)}"
        ) from error
    except (ConfigCompositionException, HydraException, OmegaConfBaseException) as error:
        raise UserError(_explain(error, overrides)) from error


def _explain(error: Exception, overrides: list[str]) -> str:
    cause = error.__cause__ or error
    full_key = getattr(cause, "full_key", None) or ""
    known = [*leaf_keys(), "model", "data", "transform", "augmentation", "optimizer", "training"]
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        if key == full_key and key in leaf_keys():
            kinds = str(cause).splitlines()[0]
            return f"{override}: {kinds}"
        if key not in known and (key == full_key or f"'{key}'" in str(error)):
            return f"{key}={value}: no such key{nearest(key, known)}"
    return str(error).strip() + (f"\n{cause}" if cause is not error else "")


def _without_hydra(config: DictConfig) -> DictConfig:
    from omegaconf import open_dict

    with open_dict(config):
        del config["hydra"]
    return config
