"""Refuses a mistyped command before Hydra makes a directory: key, value and remedy."""

import copy
import itertools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra import compose, version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import compute_search_path_dir, create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    MissingConfigException,
    OverrideParseException,
)
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException, ValidationError

from visionsweep.cli import placement, preflight
from visionsweep.config import overrides as command_arguments
from visionsweep.config.derived import GROUPS, keys, settings
from visionsweep.config.overrides import Arguments, values_of
from visionsweep.config.schema import Config
from visionsweep.config.targets import STANDARD, optimizer_target
from visionsweep.config.validation import validate_config
from visionsweep.errors import UserError, nearest
from visionsweep.sweep.launchers import refuse_impossible
from visionsweep.text import shell
from visionsweep.text.escaping import visible

_MOST_CROSSED = 100  # combinations of a model's settings; composing one takes 10 ms


def refuse_mistakes(
    arguments: list[str], config_dir: Path, *, make_sure_of_weights: bool = False
) -> list[str]:
    """End the program with a message if a command asks for something that cannot be run.

    Every value of a sweep is tried once, in the company of the first values of the other keys; that
    takes as long as the lists are together, not as their product. Commands that only print
    (`--help`, `--cfg`, ...) are left to Hydra.

    Args:
        arguments: what stands behind the script's name.
        config_dir: the folder of `config.yaml`.
        make_sure_of_weights: whether pretrained weights of a sweep are fetched where they are not
            here, and the sweep is refused if that cannot be.

    Returns:
        What Hydra is to be given: the same with flags first, paths as Hydra reads them, and the
        directory that `resume` means.
    """
    try:
        return checked(arguments, config_dir, make_sure_of_weights=make_sure_of_weights)
    except UserError as error:
        message = f"{error}\nNothing was run. The manual: python src/train.py --help"
        print(visible(message, lines=True), file=sys.stderr)
        raise SystemExit(1) from None


def checked(
    arguments: list[str], config_dir: Path, *, make_sure_of_weights: bool = False
) -> list[str]:
    """Return what Hydra is to be given, as `refuse_mistakes` does.

    Raises:
        UserError: if the command asks for something that cannot be run.
    """
    found = command_arguments.read(arguments)
    if found.only_prints:
        return found.for_hydra()
    with configurations(found, config_dir):
        name = found.flags.config_name or "config"
        config, sweeping, configs = _check_all(
            found.settings, name, sweeping=found.flags.multirun, crossing=make_sure_of_weights
        )
    given = [text.partition("=")[0] for text in found.settings]
    changed = placement.homes_expanded(config, given)
    resume = OmegaConf.select(config, "resume")
    if resume is not None:
        if "sweep_dir" in given:
            raise UserError(f"resume={resume}: sweep_dir is given too; leave one out")
        outputs = Path(shell.expanded(config.outputs_dir))
        directory = placement.earlier(shell.expanded(resume), outputs, sweeping=sweeping)
        found.settings[:] = [t for t in found.settings if t.partition("=")[0] != "resume"]
        changed = [*changed, shell.setting("sweep_dir", directory)]
    else:
        directory = Path(shell.expanded(config.sweep_dir))
    placement.refuse_unwritable(directory)
    if make_sure_of_weights and sweeping:
        preflight.refuse_unavailable_weights(configs)
    command_arguments.say(found.notes)
    found.settings.extend(changed)
    return found.for_hydra()


@contextmanager
def configurations(found: Arguments, config_dir: Path) -> Iterator[None]:
    """Let Hydra look for configurations where it will look for them when it runs the command."""
    script = config_dir.resolve().parent / "src" / "train.py"
    flags = found.flags
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


def _check_all(
    overrides: list[str], name: str, *, sweeping: bool, crossing: bool
) -> tuple[DictConfig, bool, list[Config]]:
    """Check every value of a command.

    Args:
        overrides: the command's settings.
        name: of the primary configuration.
        sweeping: whether the command has the flag of a sweep.
        crossing: whether settings of models, and those of data, are tried in all combinations.

    Returns:
        Its configuration, of a sweep the first; whether it sweeps; what was checked, those on
        launchers that run elsewhere left out.
    """
    parsed = _parse(overrides)
    lists = {o.get_key_element(): values_of(o) for o in parsed}
    for override in parsed:
        if not lists[override.get_key_element()]:
            raise UserError(f"{override.input_line}: holds no value at all")
    config = compose_named([values[0] for values in lists.values()], name)
    placement.refuse_elsewhere(config.hydra)
    sweeping = sweeping or config.hydra.mode == RunMode.MULTIRUN
    _refuse_wrong_lists(parsed, lists, config.hydra.sweeper, name, sweeping=sweeping)
    refuse_impossible(config)

    params = config.hydra.sweeper.get("params") or {}
    study = _parse([f"{key}={value}" for key, value in params.items()])
    lists = {o.get_key_element(): values_of(o) for o in study} | lists
    first = {key: values[0] for key, values in lists.items()}
    if study:
        config = compose_named(list(first.values()), name)
    local = preflight.runs_here(config.hydra.launcher)
    config = _without_hydra(config)
    found = [_validated(config)]
    for group in ("model", "data") if crossing and sweeping and local else ():
        for choice in _crossed(lists, group):
            found.append(
                _validated(_without_hydra(compose_named(list((first | choice).values()), name)))
            )
    for key, values in lists.items():
        for text in values[1:]:
            changed = _with_value(config, text) if key in settings() else None
            if changed is None:
                changed = _without_hydra(compose_named(list((first | {key: text}).values()), name))
            found.append(_validated(changed))
    return config, sweeping, found if local else []


def _validated(config: DictConfig) -> Config:
    """Validate a configuration, including an optimizer that is not one of torch's usual ones."""
    valid = validate_config(config)
    if optimizer_target(valid.optimizer) not in STANDARD:
        from visionsweep.training.optimizers import refuse_optimizer  # imports torch

        refuse_optimizer(valid.optimizer, valid.replicates)
    return valid


def _crossed(lists: dict[str, list[str]], group: str) -> Iterator[dict[str, str]]:
    """Give the combinations of the settings of a group where several are swept, 100 at most."""
    swept = {k: v for k, v in lists.items() if k.partition(".")[0] == group and len(v) > 1}
    if len(swept) > 1:
        for values in itertools.islice(itertools.product(*swept.values()), _MOST_CROSSED):
            yield dict(zip(swept, values, strict=True))


def _refuse_wrong_lists(
    parsed: list[Override],
    lists: dict[str, list[str]],
    sweeper: DictConfig,
    name: str,
    *,
    sweeping: bool,
) -> None:
    for override in parsed:
        key, values = override.get_key_element(), lists[override.get_key_element()]
        if key in keys(of_sweep=True) and len(values) > 1:
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
                if compose_named([value], name).hydra.sweeper.get("params"):
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
    known = [*settings(), *GROUPS]
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
        if key.lstrip("~") in settings() and override.is_delete():
            raise UserError(
                f"{key}: a key cannot be taken away; should be {settings()[key[1:]].valid_values}"
            )
        if key in GROUPS and not (override.is_sweep_override() or isinstance(value, str | dict)):
            options = GlobalHydra.instance().config_loader().get_group_options(key)
            raise UserError(
                f"{override.input_line}: should be one of {', '.join(options)}; or leave it out, "
                f"or give several to a sweep: -m {key}=a,b"
            )
    return parsed


def compose_named(overrides: list[str], name: str) -> DictConfig:
    """Compose a configuration, Hydra's node included, while `configurations` are open.

    Raises:
        UserError: if it cannot be composed.
    """
    try:
        return compose(name, overrides=overrides, return_hydra_config=True)
    except MissingConfigException as error:
        options = error.options or []
        group, _, option = (error.missing_cfg_file or "").rpartition("/")
        if not group:
            raise UserError("no such configuration", where=f"--config-name={name}") from error
        raise UserError(
            f"{group}={option}: no such option{nearest(option, options)}"
            f"\n  {group}: {', '.join(options)}"
        ) from error
    except (ConfigCompositionException, HydraException, OmegaConfBaseException) as error:
        raise UserError(_explain(error, overrides)) from error


def _explain(error: Exception, overrides: list[str]) -> str:
    cause = error.__cause__ or error
    full_key = getattr(cause, "full_key", None) or ""
    known = [*settings(), *GROUPS]
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        if key == full_key and key in settings():
            return f"{override}: should be {settings()[key].valid_values}"
        if key.endswith(".arguments") and full_key.startswith(f"{key}."):
            return f"{override}: give each argument by itself: +{full_key}=..."
        if key.startswith("hydra.") and key == full_key and isinstance(cause, ValidationError):
            return f"{override}: {str(cause).splitlines()[0]}"
        if (
            key not in known
            and override[0] != "~"
            and (key == full_key or f"'{key}'" in str(error))
        ):
            return f"{key}={value}: no such key{nearest(key, known)}"
        if override.startswith("~") and key == full_key:
            return f"{override}: cannot be taken away"
        if key in GROUPS and override.startswith("+"):
            return f"{override}: leave out the plus sign: {key}={value}"
    return str(error).strip() + (f"\n{cause}" if cause is not error else "")


def _without_hydra(config: DictConfig) -> DictConfig:
    with open_dict(config):
        del config["hydra"]
    return config
