"""Refuses a mistyped command before Hydra makes a directory: key, value and remedy."""

import copy
import os
import re
import sys
from pathlib import Path
from typing import cast

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    MissingConfigException,
    OverrideParseException,
)
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException, ValidationError

from visionsweep.checks import check, what_is_right
from visionsweep.config import leaf_keys
from visionsweep.errors import UserError, nearest
from visionsweep.launchers import refuse_impossible
from visionsweep.tracking.folders import last_entered

_ONCE = ("outputs_dir", "sweep_dir", "resume", "force", "reuse", "fail_fast")  # not to be swept
_GROUPS = ("model", "data", "transform", "augmentation", "optimizer", "training", "experiment")


def refuse_mistakes(arguments: list[str], config_dir: Path) -> list[str]:
    """End the program with a message if a command asks for something that cannot be run.

    Every value of a sweep is tried once, in the company of the first values of the other keys; that
    takes as long as the lists are together, not as their product. Commands that only print
    (`--help`, `--cfg`, ...) are left to Hydra.

    Args:
        arguments: what stands behind the script's name.
        config_dir: the folder of `config.yaml`.

    Returns:
        What Hydra is to be given: the same, with the directory that `resume` means.
    """
    flags = {a for a in arguments if a.startswith("-")}
    overrides = [a for a in arguments if not a.startswith("-")]
    try:
        for flag in flags:
            if (key := flag.lstrip("-").partition("=")[0]) in [*leaf_keys(), *_GROUPS]:
                raise UserError(f"{flag}: settings have no dashes; write {key}=...")
        if flags - {"-m", "--multirun"}:
            return arguments
        with initialize_config_dir(str(config_dir.resolve()), version_base="1.3"):
            config, sweeping = _check_all(overrides, sweeping=bool(flags))
        if config.resume is not None:
            if any(o.partition("=")[0] == "sweep_dir" for o in overrides):
                raise UserError(f"resume={config.resume}: sweep_dir is given too; leave one out")
            earlier = _earlier(config.resume, Path(config.outputs_dir), sweeping=sweeping)
            arguments = [a for a in arguments if a.partition("=")[0] != "resume"]
            arguments.append(f"sweep_dir={_quoted(earlier)}")
        else:
            earlier = Path(config.sweep_dir)
        refuse_unwritable(earlier)
    except UserError as error:
        print(f"{error}\nNothing was run. The manual: python src/train.py --help", file=sys.stderr)
        raise SystemExit(1) from None
    return arguments


def _earlier(named: str, outputs: Path, *, sweeping: bool) -> Path:
    """Return the directory that `resume` means."""
    if named != "last":
        if not Path(named).is_dir():
            raise UserError(f"resume={named}: no such directory; name an earlier sweep, or `last`")
        return Path(named)
    last = last_entered(outputs, sweep=sweeping)
    if last is None:
        kind = "sweep" if sweeping else "run outside a sweep"
        raise UserError(f"resume=last: there is no {kind} under {outputs} yet; leave it out")
    return last


def _quoted(path: Path) -> str:
    """Write a path as Hydra's grammar wants a value: quoted where it is more than letters."""
    text = str(path)
    plain = re.fullmatch(r"[\w./:+-]+", text, re.ASCII)
    return text if plain else "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def refuse_unwritable(directory: Path) -> None:
    """Refuse a directory that could not be made or written to.

    Raises:
        UserError: if its nearest existing parent is a file, or may not be written to.
    """
    place = directory.absolute()
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        raise UserError(f"sweep_dir={directory}: {place} is a file, and runs want a directory")
    if not os.access(place, os.W_OK | os.X_OK):
        raise UserError(
            f"sweep_dir={directory}: {place} may not be written to; change its permissions, or "
            "choose another place with outputs_dir="
        )


def _check_all(overrides: list[str], *, sweeping: bool) -> tuple[DictConfig, bool]:
    """Check a command; return its configuration, of a sweep the first, and whether it sweeps."""
    parsed = _parse(overrides)
    lists = {o.get_key_element(): values_of(o) for o in parsed}
    for override in parsed:
        if not lists[override.get_key_element()]:
            raise UserError(f"{override.input_line}: holds no value at all")
    config = _compose([values[0] for values in lists.values()])
    sweeping = sweeping or config.hydra.mode == RunMode.MULTIRUN
    _refuse_wrong_lists(parsed, lists, config.hydra.sweeper, sweeping=sweeping)
    refuse_impossible(config)

    params = config.hydra.sweeper.get("params") or {}
    study = _parse([f"{key}={value}" for key, value in params.items()])
    lists = {o.get_key_element(): values_of(o) for o in study} | lists
    first = {key: values[0] for key, values in lists.items()}
    if study:
        config = _compose(list(first.values()))
    config = _without_hydra(config)
    check(config)
    for key, values in lists.items():
        for text in values[1:]:
            changed = _with_value(config, text) if key in leaf_keys() else None
            check(changed or _without_hydra(_compose(list((first | {key: text}).values()))))
    return config, sweeping


def _refuse_wrong_lists(
    parsed: list[Override], lists: dict[str, list[str]], sweeper: DictConfig, *, sweeping: bool
) -> None:
    for override in parsed:
        key, values = override.get_key_element(), lists[override.get_key_element()]
        if key in _ONCE and len(values) > 1:
            raise UserError(f"{override.input_line}: one value for the whole sweep")
        if override.is_sweep_override() and not sweeping:
            raise UserError(
                f"{override.input_line}: several values make a sweep; add -m: "
                "python src/train.py -m ..."
            )
        if key == "hydra/launcher" and not sweeping:
            raise UserError(
                f"{override.input_line}: spreads the runs of a sweep; add -m: "
                "python src/train.py -m ..."
            )
        if override.is_interval_sweep() and sweeper._target_.endswith(".BasicSweeper"):
            raise UserError(
                f"{override.input_line}: an interval wants a sweeper that searches; list the "
                f"values, {key}=0.001,0.01, or choose one with hydra/sweeper=..."
            )
        if key == "experiment" and len(values) > 1:
            for value in values:
                if _compose([value]).hydra.sweeper.get("params"):
                    raise UserError(f"{value}: is a sweep of its own; run one after the other")


def _with_value(config: DictConfig, text: str) -> DictConfig | None:
    """Put one plain value into a composed configuration, a hundred times faster than composing.

    Returns:
        The changed copy; None where Hydra had better look at it, and word the refusal.
    """
    override = OverridesParser.create().parse_override(text)
    changed = copy.deepcopy(config)
    try:
        OmegaConf.update(changed, override.get_key_element(), override.value())
    except OmegaConfBaseException:
        return None
    return changed


def _parse(overrides: list[str]) -> list[Override]:
    known = [*leaf_keys(), *_GROUPS]
    for text in overrides:
        key, equals, right_side = text.partition("=")
        if not equals and not text.startswith("~"):
            remedy = f"; write {key}=..." if key in known else nearest(key, known)
            raise UserError(f"{text}: no value; settings are key=value{remedy}")
        if equals and not key.strip("+~"):
            raise UserError(f"{text}: no key; settings are key=value, without spaces around =")
        if right_side.endswith(","):
            raise UserError(f"{text}: ends in a comma; write lists without spaces: epochs=5,10")
    try:
        parsed = OverridesParser.create(
            config_loader=GlobalHydra.instance().config_loader()
        ).parse_overrides(overrides)
    except OverrideParseException as error:
        raise UserError(
            f"{error.override}: cannot be read; a value with spaces, commas, quotes or brackets "
            "wants quotes inside the shell's quotes: 'key=\"a, b\"'"
        ) from error
    for override in parsed:
        key, value = override.get_key_element(), override.value()
        if key.lstrip("~") in leaf_keys() and override.is_delete():
            raise UserError(
                f"{key}: a key cannot be taken away; should be {what_is_right(key[1:])}"
            )
        if key in _GROUPS and not (override.is_sweep_override() or isinstance(value, str | dict)):
            options = GlobalHydra.instance().config_loader().get_group_options(key)
            raise UserError(
                f"{override.input_line}: should be one of {', '.join(options)}; or leave it out, "
                f"or give several to a sweep: -m {key}=a,b"
            )
    return parsed


def values_of(override: Override) -> list[str]:
    """List what a sweep would set one after the other; of an interval, its ends."""
    key = override.get_key_element()
    if override.is_discrete_sweep():
        return [f"{key}={value}" for value in override.sweep_string_iterator()]
    if override.is_interval_sweep():
        interval = cast(IntervalSweep, override.value())
        return [f"{key}={interval.start}", f"{key}={interval.end}"]
    return [override.input_line or ""]


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
    known = [*leaf_keys(), *_GROUPS]
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        if key == full_key and key in leaf_keys():
            return f"{override}: should be {what_is_right(key)}"
        if key.startswith("hydra.") and key == full_key and isinstance(cause, ValidationError):
            return f"{override}: {str(cause).splitlines()[0]}"
        if key not in known and (key == full_key or f"'{key}'" in str(error)):
            return f"{key}={value}: no such key{nearest(key, known)}"
        if key in _GROUPS and override.startswith("+"):
            return f"{override}: leave out the plus sign: {key}={value}"
    return str(error).strip() + (f"\n{cause}" if cause is not error else "")


def _without_hydra(config: DictConfig) -> DictConfig:
    with open_dict(config):
        del config["hydra"]
    return config
