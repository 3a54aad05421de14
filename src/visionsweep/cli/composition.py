"""Compose the configurations of a command as Hydra will, and explain why one cannot be composed."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra import compose, errors, version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import compute_search_path_dir, create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException, ValidationError

from visionsweep.config.derived import GROUPS, settings
from visionsweep.config.overrides import Arguments, values_of
from visionsweep.errors import UserError, nearest


@contextmanager
def search_path(arguments: Arguments, config_dir: Path) -> Iterator[None]:
    """Initialize Hydra with the search path that it will have when it runs the command.

    Raises:
        UserError: if a folder that a flag names does not exist.
    """
    script = config_dir.resolve().parent / "src" / "train.py"
    flags = arguments.flags
    place: str | None = str(config_dir.resolve())
    if flags.config_path is not None:
        place = compute_search_path_dir(str(script), None, flags.config_path)
        if place is None or not (place.startswith("pkg://") or Path(place).is_dir()):
            raise UserError("no such folder", where=f"--config-path={flags.config_path}")
    path = create_config_search_path(place)
    if flags.config_dir is not None:
        more = Path(flags.config_dir)
        if not more.is_dir():
            raise UserError("no such folder", where=f"--config-dir={more}")
        before = SearchPathQuery(provider="schema")
        path.prepend("command-line", f"file://{more.absolute()}", anchor=before)
    version.setbase("1.3")
    GlobalHydra.instance().clear()
    Hydra.create_main_hydra2(task_name="train", config_search_path=path)
    try:
        yield
    finally:
        GlobalHydra.instance().clear()


def parse(overrides: list[str]) -> list[Override]:
    """Parse `key=value` texts.

    Raises:
        UserError: if one cannot be parsed, deletes a setting, or gives a group something other than
            the name of an option.
    """
    loader = GlobalHydra.instance().config_loader()
    try:
        parsed = OverridesParser.create(config_loader=loader).parse_overrides(overrides)
    except errors.OverrideParseException as error:
        raise UserError(
            "cannot be read; a value with spaces, commas, quotes or brackets wants quotes inside "
            "the shell's quotes: 'key=\"a, b\"'",
            where=error.override,
        ) from error
    for override in parsed:
        key, given = override.get_key_element(), override.value()
        if key.lstrip("~") in settings() and override.is_delete():
            valid = settings()[key[1:]].valid_values
            raise UserError(f"a setting cannot be deleted; should be {valid}", where=key)
        if key in GROUPS and not (override.is_sweep_override() or isinstance(given, str | dict)):
            raise UserError(
                f"should be one of {', '.join(loader.get_group_options(key))}; or leave it out, "
                f"or give several to a sweep: -m {key}=a,b",
                where=override.input_line,
            )
    return parsed


def lists_of(overrides: list[str]) -> dict[str, list[str]]:
    """Return the settings that each `key=value` text stands for, several if its value is a list."""
    return {override.get_key_element(): values_of(override) for override in parse(overrides)}


def lists_of_study(sweeper: DictConfig) -> dict[str, list[str]]:
    """Return what an experiment file sweeps, as `lists_of` does."""
    params = sweeper.get("params") or {}
    return lists_of([f"{key}={value}" for key, value in params.items()])


def compose_config(overrides: list[str], name: str) -> DictConfig:
    """Compose the primary configuration of a name with its `hydra` node, inside `search_path`.

    Raises:
        UserError: if it cannot be composed.
    """
    try:
        return compose(name, overrides=overrides, return_hydra_config=True)
    except errors.MissingConfigException as error:
        options = error.options or []
        group, _, option = (error.missing_cfg_file or "").rpartition("/")
        if not group:
            raise UserError("no such configuration", where=f"--config-name={name}") from error
        raise UserError(
            f"no such option{nearest(option, options)}\n  {group}: {', '.join(options)}",
            where=f"{group}={option}",
        ) from error
    except (errors.HydraException, OmegaConfBaseException) as error:
        raise UserError(_explain(error, overrides)) from error


def without_hydra(config: DictConfig) -> DictConfig:
    """Delete the `hydra` node of a composed configuration, and return the configuration."""
    with open_dict(config):
        del config["hydra"]
    return config


def with_value(config: DictConfig, text: str) -> DictConfig | None:
    """Return a copy of a configuration with `key=value`: 100 times faster than composing it.

    None if the value does not fit, for Hydra to explain.
    """
    override = OverridesParser.create().parse_override(text)
    changed = copy.deepcopy(config)
    try:
        OmegaConf.update(changed, override.get_key_element(), override.value())
    except OmegaConfBaseException:
        return None
    return changed


def _explain(error: Exception, overrides: list[str]) -> str:
    """Return which override Hydra could not use, and what would be valid."""
    cause = error.__cause__ or error
    full_key = getattr(cause, "full_key", None) or ""
    valid_keys = [*settings(), *GROUPS]
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        if key == full_key and key in settings():
            return f"{override}: should be {settings()[key].valid_values}"
        if key.endswith(".arguments") and full_key.startswith(f"{key}."):
            return f"{override}: give each argument by itself: +{full_key}=..."
        if key.startswith("hydra.") and key == full_key and isinstance(cause, ValidationError):
            return f"{override}: {str(cause).splitlines()[0]}"
        is_named = key == full_key or f"'{key}'" in str(error)
        if key not in valid_keys and override[0] != "~" and is_named:
            return f"{key}={value}: no such key{nearest(key, valid_keys)}"
        if override.startswith("~") and key == full_key:
            return f"{override}: cannot be deleted"
        if key in GROUPS and override.startswith("+"):
            return f"{override}: leave out the plus sign: {key}={value}"
    return str(error).strip() + (f"\n{cause}" if cause is not error else "")
