"""Directory names of runs: readable, and different for different settings."""

import hashlib
import re
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from visionsweep.config.derived import always_shown, group_labels, keys, neutral_keys, settings
from visionsweep.config.schema import Config
from visionsweep.runs.paths import CLAIM, RECORD

_LONGEST = 120  # characters; file systems allow 255 bytes per name


def run_name(
    choices: dict[str, str], epochs: int | None, overrides: list[str], *, study: bool
) -> str:
    """Return the name of a run: model, data, epochs, and every other setting of the command.

    Args:
        choices: option of each config group, `{"model": "effnetb0", ...}`.
        epochs: number of epochs; None if the head is solved. Settings of training in steps,
            which do not matter then, are left out.
        overrides: settings of the command line or of the experiment file, `key=value`.
        study: True if an experiment file sweeps; its name is then left out.

    Returns:
        `effnetb0_10pct_5-epochs`, `effnetb0_10pct_5-epochs_lr-0.01_seed-3`, ...: letters, digits
        and `.+-_` only. A hash of all settings is appended if a value needs other characters.
    """
    given = dict(o.lstrip("+~").partition("=")[::2] for o in overrides)
    hidden = {*neutral_keys(), *always_shown()} | ({"experiment"} if study else set())
    if choices.get("data") != "folder":
        hidden.add("data.root")
    if epochs is None:
        in_steps = keys(in_steps=True)
        hidden |= in_steps | {group for group, label in group_labels().items() if label in in_steps}
    shown = {k: v for k, v in given.items() if k not in hidden}
    last_parts = [key.rpartition(".")[2] for key in settings()]
    first = [choices["model"], choices["data"], *([] if epochs is None else [f"{epochs}-epochs"])]
    parts, exact = [*first], True
    for key, value in sorted(shown.items()):
        if key in choices:  # an option is a file name, and safe
            parts.append(f"{key}-{value}")
            continue
        if value.startswith("{"):  # the hash tells mappings apart
            exact = False
            continue
        text = re.sub(r"[^A-Za-z0-9.+-]+", "-", value.rpartition("/")[2]).strip("-.")
        exact &= text == value
        short = key.rpartition(".")[2]
        alone = key in settings() and last_parts.count(short) == 1
        parts.append(f"{short if alone else key}-{text}")
    whole = "_".join(parts)
    name = re.sub(r"[^A-Za-z0-9.+_-]", "-", whole)
    if exact and name == whole and len(name) <= _LONGEST:
        return name
    settings_in_full = [*first, *(f"{k}={v}" for k, v in sorted(shown.items()))]
    digest = hashlib.sha256(repr(settings_in_full).encode())
    return f"{name[:_LONGEST]}_{digest.hexdigest()[:8]}"


def name_of(config: DictConfig, hydra: DictConfig) -> str:
    """Return the name of the run of a composed configuration with its node of Hydra's settings."""
    return run_name(
        {k: v for k, v in hydra.runtime.choices.items() if v is not None and "/" not in k},
        None if config.training.linear_probe == "only" else config.epochs,
        list(hydra.overrides.task),
        study=bool(hydra.sweeper.get("params")),
    )


def relabel(config: Config, overrides: list[str]) -> None:
    """Correct the labels of a configuration whose model or fraction was overridden.

    `model=effnetb0 model.name=resnet34` is a resnet34; `data=10pct data.fraction=0.05` is 5%;
    `data=torchvision data.name=Food101` is Food101.
    """
    given = {o.lstrip("+~").partition("=")[0] for o in overrides}
    if "model.name" in given and "model.label" not in given:
        config.model.label = config.model.name
    if config.data.source == "torchvision" and "data.label" not in given:
        config.data.label = str(config.data.name)
    if "data.fraction" in given and "data.label" not in given:
        part = f"{config.data.fraction * 100:g}pct"
        config.data.label = (
            part if config.data.source == "archives" else f"{config.data.label}-{part}"
        )


def unused(directory: Path) -> Path:
    """Return a directory without a run: this one, or the first of `..._again-2`, `-3`, ..."""
    candidate, number = directory, 1
    while any((candidate / name).exists() for name in (CLAIM, RECORD)):
        number += 1
        candidate = directory.with_name(f"{directory.name}_again-{number}")
    return candidate


def register_resolvers() -> None:
    """Register OmegaConf resolvers of the directory of the run that is being composed.

    `${run_name:}` is the name of its directory in a sweep, `${run_dir:}` its directory outside a
    sweep. With `force=true`, both refer to a directory without a run.
    """

    def run_name(*, _root_: DictConfig) -> str:
        name = name_of(_root_, _root_.hydra)
        return unused(Path(_root_.sweep_dir) / name).name if _root_.force else name

    def run_dir(*, _root_: DictConfig) -> str:
        directory = str(_root_.sweep_dir)
        return str(unused(Path(directory))) if _root_.force else directory

    OmegaConf.register_new_resolver("run_name", run_name, replace=True)
    OmegaConf.register_new_resolver("run_dir", run_dir, replace=True)
