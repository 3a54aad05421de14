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
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from visionsweep.config.derived import flatten, keys, settings
from visionsweep.config.published_weights import torchvision_models
from visionsweep.config.schema import Config, register_schema
from visionsweep.errors import UserError
from visionsweep.runs import names
from visionsweep.runs.record import RecordSummary
from visionsweep.text import shell

CONF = Path(__file__).resolve().parents[3] / "conf"

PLACES = keys(place=True)
# Taken from this machine's `conf/`: paths, addresses, and settings that affect no number.
_LOCAL = PLACES | keys(role="runtime", recorded=False)


@dataclass(frozen=True)
class Recorded:
    """The configuration in a record, as this version understands it.

    Attributes:
        config: configuration, with defaults for keys that the record lacks and with this machine's
            paths; `data.root` of a folder is missing.
        unknown: values of keys that this version does not have; not in `config`.
        absent: keys that the record lacks.
        places: recorded paths and addresses that differ from this machine's, which are not used.
    """

    config: DictConfig
    unknown: dict[str, Any]
    absent: list[str]
    places: dict[str, str]


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
            _update(merged, key, values[key])
    for key in ("replicates", "training.replicates"):  # older versions trained a single head
        if OmegaConf.select(merged, key) is None:
            OmegaConf.update(merged, key, 1)
    _check_model(merged)
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
    config = OmegaConf.to_object(merged)
    assert isinstance(config, Config)
    return config


def uninterpolated(text: object) -> bool:
    """Return whether a value has no interpolation."""
    return "${" not in str(text)


def _as_setting(value: object) -> str:
    """Return a path or address as the value of a setting."""
    if isinstance(value, dict):
        items = (
            f"{shell.hydra_value(str(k))}: {shell.hydra_value(str(v))}" for k, v in value.items()
        )
        return "{" + ", ".join(items) + "}"
    return "null" if value is None else str(value)


def _update(merged: DictConfig, key: str, value: Any) -> None:
    if not uninterpolated(value):
        raise UserError(
            "contains ${; interpolations in a record are refused",
            where=f"config.{key} of the record",
        )
    try:
        OmegaConf.update(merged, key, value, merge=False, force_add=True)
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        raise UserError(reason, where=f"config.{key} of the record") from error


# -------------------------------------------------------------------- settings of this machine


def _own_settings(record: RecordSummary) -> dict[str, Any]:
    """Return this machine's values of the settings that are not read from records, by key."""
    data = record.config.get("data")
    data = data if isinstance(data, dict) else {}
    choice = _data_file(str(data.get("source")), data.get("name"), str(data.get("label")))
    return _composed(choice, os.environ.get("VISIONSWEEP_CACHE"))


@cache
def _composed(choice: str | None, cache_folder: str | None) -> dict[str, Any]:
    """Compose `conf/`, and return the local settings by dotted key.

    Args:
        choice: name of a file in `conf/data`, or None.
        cache_folder: value of the environment variable that `conf/` refers to.
    """
    register_schema()
    names.register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        composed = compose("config", [f"data={choice}"] if choice else [])
    local = {key for key in _LOCAL if choice or not key.startswith("data.")}
    values = {}
    for key in local - {"sweep_dir"}:  # not set before a sweep starts
        value = OmegaConf.select(composed, key)  # None where it is missing
        values[key] = OmegaConf.to_container(value) if isinstance(value, DictConfig) else value
    return values


def _data_file(source: str, name: Any, label: str) -> str | None:
    """Return the file in `conf/data` for the images of a record, by label or name, or None."""
    files = _files("data")
    if source != "archives":
        return source if source in files else None
    alike = [
        choice
        for choice, content in files.items()
        if content.get("source") == "archives" and content.get("name") == name
    ]
    return label if label in alike else next(iter(alike), None)


@cache
def _files(group: str) -> dict[str, dict[str, Any]]:
    """Read the files of a config group without resolving interpolations."""
    return {
        file.stem: OmegaConf.to_container(OmegaConf.load(file))  # type: ignore[misc]
        for file in sorted((CONF / group).glob("*.yaml"))
    }


def _check_model(config: DictConfig) -> None:
    """Refuse an unknown model, without importing anything."""
    model = config.model
    where = "config.model of the record"
    if model.source not in settings()["model.source"].choices:
        raise UserError(f"source: no such source {model.source}", where=where)
    if model.source == "torchvision" and model.name not in torchvision_models():
        raise UserError(f"name: torchvision has no classification model {model.name}", where=where)
    if model.source == "package":
        packages = {content.get("weights") for content in _files("model").values()} - {None}
        if model.weights is not None and model.weights not in packages:
            raise UserError(
                f"weights: no file in {CONF / 'model'} names the package {model.weights}",
                where=where,
                hint="Packages named only by a record are not loaded. If you trust it, describe "
                "the model in a file there.",
            )
        if not re.fullmatch(r"\w+(\.\w+)?", str(model.name)):  # timm fetches hf-hub:..., too
            raise UserError(f"name: timm has no model {model.name}", where=where)


def require_places(run_dir: Path, recorded: Recorded, settings: Sequence[str], script: str) -> None:
    """Refuse a run whose images are located only by its record.

    Args:
        run_dir: directory of the run.
        recorded: its configuration.
        settings: settings that the user gave, `key=value`.
        script: script whose command is suggested.

    Raises:
        UserError: names the settings to give, and their recorded values.
    """
    given = {setting.partition("=")[0] for setting in settings}
    data = recorded.config.data
    required = []
    if OmegaConf.is_missing(data, "root"):
        required.append("data.root")
    if data.source == "archives" and not data.archives:
        required += ["data.root", "data.base_url", "data.archives"]
    if "data.splits" in recorded.places:
        required.append("data.splits")
    required = [key for key in dict.fromkeys(required) if key not in given]
    if not required:
        return
    places = {key: recorded.places[key] for key in required if key in recorded.places}
    hint: str | None = None
    if all(map(uninterpolated, places.values())):
        again = [
            shell.setting(k, Path(v)) if k in keys(path=True) else f"{k}={v}"
            for k, v in places.items()
        ]
        command = shell.command("python", shell.script(script), run_dir, *settings, *again)
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
