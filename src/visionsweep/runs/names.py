"""What a run is called: a readable directory name, different for different settings."""

import hashlib
import re
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from visionsweep.config.schema import Config, leaf_keys
from visionsweep.runs.paths import CLAIM, RECORD

# Keys that say where, on what and how a run is made, not what it is. Two runs that differ in
# nothing else are the same experiment; should one sweep hold both, the second finds it finished.
WHERE = {
    "outputs_dir",
    "sweep_dir",
    "device",
    "threads",
    "num_workers",
    "histograms",
    "data.base_url",
    "data.checksums",
    "model.weights_url",
    "data.if_unreachable",
    "data.verify",
    "features.cache_dir",
    "features.max_size",
    "checkpoint_seconds",
    "resume",
    "force",
    "reuse",
    "fail_fast",
}
_ALWAYS_SHOWN = {"model", "data", "epochs"}
_LONGEST = 120  # characters; file systems allow 255 bytes a name


def run_name(choices: dict[str, str], epochs: int, overrides: list[str], *, study: bool) -> str:
    """Name a run after its model, its data, its epochs and all else that was asked for.

    Args:
        choices: the option chosen in each config group, `{"model": "effnetb0", ...}`.
        epochs: number of epochs.
        overrides: what the command line (or the study) set for this run, `key=value`.
        study: whether an `experiment` file sweeps, which then goes without saying in each name.

    Returns:
        `effnetb0_10pct_5-epochs`, `effnetb0_10pct_5-epochs_lr-0.01_seed-3`, ...: letters, digits
        and `.+-_` only. Where that loses something of a value, a hash of all settings is appended.
    """
    settings = dict(o.lstrip("+~").partition("=")[::2] for o in overrides)
    folder = choices.get("data") == "folder"
    hidden = WHERE | _ALWAYS_SHOWN | ({"experiment"} if study else set())
    shown = {k: v for k, v in settings.items() if k not in hidden}
    if not folder:
        shown.pop("data.root", None)
    keys = leaf_keys()
    last_parts = [key.rpartition(".")[2] for key in keys]
    parts = [choices["model"], choices["data"], f"{epochs}-epochs"]
    exact = True
    for key, value in sorted(shown.items()):
        short = key.rpartition(".")[2]
        text = re.sub(r"[^A-Za-z0-9.+-]+", "-", value.rpartition("/")[2]).strip("-.")
        exact &= text == value or key in choices  # an option is a file name: safe as it is
        if key in choices:
            text = value
        alone = key in keys and last_parts.count(short) == 1
        parts.append(f"{short if alone or key in choices else key}-{text}")
    whole = "_".join(parts)
    name = re.sub(r"[^A-Za-z0-9.+_-]", "-", whole)
    if exact and name == whole and len(name) <= _LONGEST:
        return name
    settings_in_full = [*parts[:3], *(f"{k}={v}" for k, v in sorted(shown.items()))]
    digest = hashlib.sha256(repr(settings_in_full).encode())
    return f"{name[:_LONGEST]}_{digest.hexdigest()[:8]}"


def name_of(config: DictConfig, hydra: DictConfig) -> str:
    """Name the run of a composed configuration.

    Args:
        config: the experiment's own keys.
        hydra: Hydra's node of the same configuration.
    """
    return run_name(
        {k: v for k, v in hydra.runtime.choices.items() if v is not None and "/" not in k},
        config.epochs,
        list(hydra.overrides.task),
        study=bool(hydra.sweeper.get("params")),
    )


def relabel(config: Config, overrides: list[str]) -> None:
    """Correct the labels of a configuration whose model or fraction was set by hand.

    `model=effnetb0 model.name=resnet34` is a resnet34, and `data=10pct data.fraction=0.05` is 5 %.
    """
    settings = {o.lstrip("+~").partition("=")[0] for o in overrides}
    if "model.name" in settings and "model.label" not in settings:
        config.model.label = config.model.name
    if "data.fraction" in settings and "data.label" not in settings:
        part = f"{config.data.fraction * 100:g}pct"
        config.data.label = (
            part if config.data.source == "archives" else f"{config.data.label}-{part}"
        )


def unused(directory: Path) -> Path:
    """Return a directory that no run has: this one, or the first of `..._again-2`, `-3`, ..."""
    candidate, number = directory, 1
    while any((candidate / name).exists() for name in (CLAIM, RECORD)):
        number += 1
        candidate = directory.with_name(f"{directory.name}_again-{number}")
    return candidate


def register_resolvers() -> None:
    """Make known to OmegaConf where the run that is being composed goes.

    `${run_name:}` is its name, in a sweep that of its directory; `${run_dir:}` its directory
    outside a sweep. With `force=true` both are of a directory that no run has yet.
    """

    def run_name(*, _root_: DictConfig) -> str:
        name = name_of(_root_, _root_.hydra)
        return unused(Path(_root_.sweep_dir) / name).name if _root_.force else name

    def run_dir(*, _root_: DictConfig) -> str:
        directory = str(_root_.sweep_dir)
        return str(unused(Path(directory))) if _root_.force else directory

    OmegaConf.register_new_resolver("run_name", run_name, replace=True)
    OmegaConf.register_new_resolver("run_dir", run_dir, replace=True)
