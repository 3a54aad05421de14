"""Validate the whole command of `train.py` before Hydra writes anything."""

import itertools
import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig

from visionsweep.cli import composition, placement, preflight
from visionsweep.cli.composition import compose_config, without_hydra
from visionsweep.config.derived import keys, settings
from visionsweep.config.overrides import Arguments, read, values_of
from visionsweep.config.schema import Config
from visionsweep.config.targets import is_standard, optimizer_arguments, optimizer_target
from visionsweep.config.validation import validate_config
from visionsweep.errors import UserError
from visionsweep.sweeps.callback import tries_all
from visionsweep.sweeps.launchers import refuse_impossible

_MOST_CROSSED = 100  # combinations of a model's settings; composing one takes 10 ms


def validate_overrides(
    arguments: list[str], config_dir: Path, *, require_weights: bool = False
) -> list[str]:
    """Validate a command, and return its arguments for Hydra.

    Each value of a sweep is validated once, together with the first values of the other keys, so
    that the time grows with the sum of the lists' lengths and not with their product. Commands that
    only print (`--help`, `--cfg`, ...) are left to Hydra.

    Args:
        arguments: command-line arguments after the script's name.
        config_dir: folder of `config.yaml`.
        require_weights: whether pretrained weights of a sweep are downloaded now if they are
            missing, and the sweep is refused if they cannot be.

    Returns:
        Flags first, paths quoted for Hydra, and `resume` replaced by the directory it stands for.

    Raises:
        UserError: if the command cannot be run.
    """
    command = read(arguments)
    if command.only_prints:
        return command.for_hydra()
    with composition.search_path(command, config_dir):
        config, sweeping, configs = _validate_values(command, crossing=require_weights)
    placed = placement.placed(command.settings, config, sweeping=sweeping)
    if require_weights and (sweeping or config.model.source == "local"):
        preflight.refuse_unavailable_weights(configs)
    for note in command.notes:
        print(note, file=sys.stderr)
    return replace(command, settings=placed).for_hydra()


def asks_for_plan(arguments: list[str]) -> bool:
    """Return whether a command is to be planned and not run.

    Raises:
        UserError: if its arguments cannot be parsed.
    """
    given = dict(text.partition("=")[::2] for text in read(arguments).settings)
    return given.get("plan", "").lower() in ("true", "yes", "on", "1")


def _refuse_too_many(config: DictConfig, lists: dict[str, list[str]]) -> None:
    """Refuse a sweep of more runs than `max_runs`."""
    runs = math.prod(map(len, lists.values()))
    if config.max_runs is not None and runs > config.max_runs:
        raise UserError(
            f"this sweep has {runs:,} runs",
            where=f"max_runs={config.max_runs}",
            hint="Leave values out, or raise it.",
        )


def _validate_values(
    command: Arguments, *, crossing: bool
) -> tuple[DictConfig, bool, list[Config]]:
    """Validate every value of a command; if `crossing`, a model's in all combinations.

    Returns:
        The configuration of the first run; whether the command sweeps; the validated
        configurations, none if the launcher runs elsewhere.
    """
    name = command.flags.config_name or "config"
    parsed = composition.parse(command.settings)
    lists = {o.get_key_element(): values_of(o) for o in parsed}
    for override in parsed:
        if not lists[override.get_key_element()]:
            raise UserError("holds no value at all", where=override.input_line)
    config = compose_config([values[0] for values in lists.values()], name)
    placement.refuse_elsewhere(config.hydra)
    sweeping = command.flags.multirun or config.hydra.mode == RunMode.MULTIRUN
    for override in parsed:
        values = lists[override.get_key_element()]
        _refuse_wrong_list(override, values, config.hydra.sweeper, name, sweeping=sweeping)
    refuse_impossible(config)

    study = composition.lists_of_study(config.hydra.sweeper)
    lists = study | lists
    if sweeping and tries_all(config.hydra.sweeper):
        _refuse_too_many(config, lists)
    first = {key: values[0] for key, values in lists.items()}
    local = preflight.runs_here(config.hydra.launcher)

    def composed(changes: dict[str, str]) -> DictConfig:
        return without_hydra(compose_config(list((first | changes).values()), name))

    config = composed({}) if study else without_hydra(config)
    configs = [validate_config(config)]
    for group in ("model", "data") if crossing and sweeping and local else ():
        configs += [validate_config(composed(changes)) for changes in _crossed(lists, group)]
    for key, values in lists.items():
        for text in values[1:]:
            changed = composition.with_value(config, text) if key in settings() else None
            configs.append(validate_config(composed({key: text}) if changed is None else changed))
    _refuse_unbuildable(configs)
    return config, sweeping, configs if local else []


def _refuse_unbuildable(configs: list[Config]) -> None:
    """Try what only torch can refuse, without importing it where nothing unusual is chosen."""
    unusual = {
        (repr(config.optimizer), config.replicates, config.evidence.name): config
        for config in configs
        if not is_standard(
            optimizer_target(config.optimizer), optimizer_arguments(config.optimizer)
        )
    }
    if unusual:
        from visionsweep.training.optimizers import refuse_optimizer

        for config in unusual.values():
            together = config.replicates > 1 or config.evidence.name == "cross_fit"
            refuse_optimizer(config.optimizer, together=together)
    if of_timm := [config for config in configs if config.model.source == "timm"]:
        _refuse_timm(of_timm)
    if any(c.batch_size == 1 and not c.training.freeze_backbone for c in configs):
        from visionsweep.models.single_image import refuse_single_images

        for config in configs:
            refuse_single_images(config)


def _refuse_timm(configs: list[Config]) -> None:
    """Refuse models of timm that cannot be built, and transforms that are not supported."""
    from visionsweep.models.backbone_spec import shape_spec
    from visionsweep.models.backbones import outline
    from visionsweep.models.single_image import image_size
    from visionsweep.models.timm_models import refuse_transform

    for config in configs:
        if config.transform.name != "resize":
            refuse_transform(config.model.name)
    networks = [(shape_spec(c.model), image_size(c.model, c.transform)) for c in configs]
    for spec, size in dict.fromkeys(networks):
        if size is not None:
            outline(spec, size)


def _crossed(lists: dict[str, list[str]], group: str) -> Iterator[dict[str, str]]:
    """Yield up to 100 combinations of the settings of a group if several of them are swept."""
    swept = {k: v for k, v in lists.items() if k.partition(".")[0] == group and len(v) > 1}
    if len(swept) > 1:
        for values in itertools.islice(itertools.product(*swept.values()), _MOST_CROSSED):
            yield dict(zip(swept, values, strict=True))


def _refuse_wrong_list(
    override: Override, values: list[str], sweeper: DictConfig, name: str, *, sweeping: bool
) -> None:
    """Refuse several values where there can be one only."""
    key, where = override.get_key_element(), override.input_line
    add_m = "add -m: python src/train.py -m ..."
    if key in keys(of_sweep=True) and len(values) > 1:
        raise UserError("one value for the whole sweep", where=where)
    if override.is_sweep_override() and not sweeping:
        raise UserError(f"several values make a sweep; {add_m}", where=where)
    if key == "hydra/launcher" and not sweeping:
        raise UserError(f"spreads the runs of a sweep; {add_m}", where=where)
    if override.is_interval_sweep() and tries_all(sweeper):
        raise UserError(
            f"an interval wants a sweeper that searches; list the values, {key}=0.001,0.01, or "
            "choose one with hydra/sweeper=...",
            where=where,
        )
    if key == "experiment" and len(values) > 1:
        for value in values:
            if compose_config([value], name).hydra.sweeper.get("params"):
                raise UserError("is a sweep of its own; run one after the other", where=value)
