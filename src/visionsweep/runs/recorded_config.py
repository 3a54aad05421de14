"""Read the configuration in a record. Imports no torch.

Records are untrusted: nothing in them is interpolated, and their paths and addresses are replaced
by those of this machine or of the user.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from visionsweep.config.derived import flatten, keys, settings
from visionsweep.config.own_weights import kept_path, library_of
from visionsweep.config.published_weights import torchvision_models
from visionsweep.config.schema import Config, register_schema
from visionsweep.errors import UserError
from visionsweep.installation import CONF
from visionsweep.runs import names
from visionsweep.runs.record import RecordSummary
from visionsweep.storage.cache import cache_folder
from visionsweep.text import shell

PLACES = keys(place=True)
# Taken from this machine's `conf/`: paths, addresses, and settings that affect no number.
_LOCAL = PLACES | keys(role="runtime", recorded=False)


@dataclass(frozen=True)
class Recorded:
    """The configuration in a record, as this version understands it.

    It has defaults for keys that the record lacks, and this machine's paths; `data.root` of a
    folder is missing.
    """

    config: DictConfig
    unknown: dict[str, Any]  # values of keys that this version does not have
    absent: list[str]  # keys that the record lacks
    places: dict[str, str]  # recorded paths and addresses that are not this machine's, nor used


def read_back(record: RecordSummary) -> Recorded:
    """Read a record's configuration.

    Raises:
        UserError: if a value holds an interpolation, has another type, or names a package that no
            file in `conf/model` names.
    """
    declared = settings()
    values = flatten(record.config)
    own = _own_settings(record)
    merged = OmegaConf.structured(Config)
    places = {}
    for key in declared:
        if key in _LOCAL:
            located = key in PLACES - keys(of_sweep=True) and key in values
            if located and values[key] != own.get(key):
                places[key] = _as_setting(values[key])
            if own.get(key) is not None:
                OmegaConf.update(merged, key, own[key], merge=False, force_add=True)
        elif key in values:
            update(merged, key, values[key], where=f"config.{key} of the record", merge=False)
    for key in ("replicates", "training.replicates"):  # older versions trained a single head
        if OmegaConf.select(merged, key) is None:
            OmegaConf.update(merged, key, 1)
    if merged.model.source == "local":  # a file of the same content, kept by this machine's runs
        kept = kept_path(cache_folder(own["features.cache_dir"]), record.weights)
        merged.model.weights = str(kept)
    _check_model(merged.model)
    unknown = {key: value for key, value in values.items() if key not in declared}
    absent = [key for key, item in declared.items() if key not in values and item.implied is None]
    return Recorded(merged, unknown, absent, places)


def config_of(record: RecordSummary) -> Config:
    """Return the configuration of a run, with defaults for keys that its record lacks.

    Paths and addresses are this machine's; if it has none, as for the images of a folder, they are
    empty.
    """
    merged = read_back(record).config
    for key in ("data.root", "sweep_dir"):
        if OmegaConf.select(merged, key) is None:
            OmegaConf.update(merged, key, "")
    return cast(Config, OmegaConf.to_object(merged))


def update(
    config: DictConfig, key: str, value: object, *, where: object, merge: bool = True
) -> None:
    """Change a value of a configuration; see `OmegaConf.update`.

    Raises:
        UserError: says `where` a value has another type or holds an interpolation. The text of a
            path is literal, and has none.
    """
    if key not in keys(path=True) and "${" in str(value):
        raise UserError("contains ${, and nothing is interpolated here", where=where)
    try:
        OmegaConf.update(config, key, value, merge=merge, force_add=True)
    except OmegaConfBaseException as error:
        raise UserError(str(error).splitlines()[0], where=where) from error


def _as_setting(value: object) -> str:
    """Return a path or address as the value of a setting."""
    if isinstance(value, dict):
        items = (map(shell.hydra_value, map(str, item)) for item in value.items())
        return "{" + ", ".join(map(": ".join, items)) + "}"
    return "null" if value is None else str(value)


def composed(*overrides: str) -> DictConfig:
    """Compose `conf/`.

    Raises:
        UserError: if it has no such option.
    """
    register_schema()
    names.register_resolvers()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return compose("config", list(overrides))
    except HydraException as error:
        raise UserError(str(error).partition("Config search path")[0].rstrip()) from error


def _own_settings(record: RecordSummary) -> dict[str, Any]:
    """Return this machine's values of the settings that are not read from records, by key."""
    values = flatten(record.config)
    source, files = values.get("data.source"), _files("data")
    choice = source if source in files else None
    if source == "archives":  # the file with the record's label, or another of the same images
        images = {"source": source, "name": values.get("data.name")}
        alike = [choice for choice, content in files.items() if images.items() <= content.items()]
        label = values.get("data.label")
        choice = label if label in alike else next(iter(alike), None)
    return _local_settings(choice, os.environ.get("VISIONSWEEP_CACHE"))


@cache
def _local_settings(choice: str | None, cache_folder: str | None) -> dict[str, Any]:
    """Return the local settings in `conf/`, which refers to the variable of the cache folder."""
    config = composed(*([f"data={choice}"] if choice else []))
    values = {}
    for key in _LOCAL - {"sweep_dir"}:  # not set before a sweep starts
        if choice or not key.startswith("data."):
            value = OmegaConf.select(config, key)  # None where it is missing
            values[key] = OmegaConf.to_container(value) if isinstance(value, DictConfig) else value
    return values


@cache
def _files(group: str) -> dict[str, dict[str, Any]]:
    """Read the files of a config group without resolving interpolations."""
    return {
        file.stem: OmegaConf.to_container(OmegaConf.load(file))  # type: ignore[misc]
        for file in sorted((CONF / group).glob("*.yaml"))
    }


def _check_model(model: DictConfig) -> None:
    """Refuse an unknown model, without importing anything."""
    packages = {None, *(content.get("weights") for content in _files("model").values())}
    hint = None
    library = library_of(model)
    if model.source not in settings()["model.source"].choices:
        reason = f"source: no such source {model.source}"
    elif model.source == "local" and library not in settings()["model.library"].choices:
        reason = f"library: no such library {library}"
    elif library == "torchvision" and model.name not in torchvision_models():
        reason = f"name: torchvision has no classification model {model.name}"
    elif model.source == "package" and model.weights not in packages:
        reason = f"weights: no file in {CONF / 'model'} names the package {model.weights}"
        hint = (
            "Packages named only by a record are not loaded. If you trust it, describe the model "
            "in a file there."
        )
    elif library != "torchvision" and not re.fullmatch(r"\w+(\.\w+)?", str(model.name)):
        reason = f"name: timm has no model {model.name}"  # it fetches hf-hub:..., too
    else:
        return
    raise UserError(reason, where="config.model of the record", hint=hint)


def require_places(run_dir: Path, recorded: Recorded, settings: Sequence[str], name: str) -> None:
    """Refuse a run whose images are located by its record and not by the settings given.

    Raises:
        UserError: names the settings to give, their recorded values, and the command to run again.
    """
    given = {setting.partition("=")[0] for setting in settings}
    data = recorded.config.data
    required = ["data.root"] if OmegaConf.is_missing(data, "root") else []
    if data.source == "archives" and not data.archives:
        required += ["data.root", "data.base_url", "data.archives"]
    required += [key for key in ("data.file", "data.splits") if key in recorded.places]
    required = [key for key in dict.fromkeys(required) if key not in given]
    if not required:
        return
    places = {key: recorded.places[key] for key in required if key in recorded.places}
    hint: str | None = None
    if not any("${" in place for place in places.values()):
        again = [
            shell.setting(k, Path(v)) if k in keys(path=True) else f"{k}={v}"
            for k, v in places.items()
        ]
        command = shell.run(name, run_dir, *settings, *again)
        hint = f"If you trust the record:\n  {command}"
    listed = ", ".join(f"{key}={value}" for key, value in places.items()) or "nothing"
    raise UserError(
        f"its images are located only by its record ({listed}), whose paths and addresses are not "
        f"used; give {', '.join(required)}",
        where=run_dir,
        hint=hint,
    )


def not_followed(recorded: Recorded, settings: Sequence[str]) -> str | None:
    """Return a note on recorded paths and addresses that are not used, or None."""
    given = {setting.partition("=")[0] for setting in settings}
    unused = [f"{key}={value}" for key, value in recorded.places.items() if key not in given]
    return f"Not used, since records are untrusted: {', '.join(unused)}" if unused else None
