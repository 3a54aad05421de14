"""The configuration of a run, read back from its record. Imports no torch.

A record may come from anybody, so nothing in it is interpolated, and no path or address in it is
used: this machine's own, or those that the user gives, replace them.
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
        config: the configuration, with defaults for keys that the record's version lacked and with
            this machine's own paths; `data.root` of a folder is missing.
        unknown: keys unknown to this version with their values, not in `config`.
        absent: keys that the record lacks.
        places: recorded paths and addresses that differ from this machine's; not used.
    """

    config: DictConfig
    unknown: dict[str, Any]
    absent: list[str]
    places: dict[str, str]


def read_back(record: RecordSummary) -> Recorded:
    """Read a record's configuration.

    Raises:
        UserError: if a value would be interpolated, is of another type, or names a package that
            `conf/model` does not.
    """
    known = settings()
    kept = flatten(record.config)
    own = _own_settings(record)
    merged = OmegaConf.structured(Config)
    places = {}
    for key in known:
        if key in _LOCAL:
            if key in PLACES - keys(of_sweep=True) and key in kept and kept[key] != own.get(key):
                places[key] = _as_setting(kept[key])
            if own.get(key) is not None:
                OmegaConf.update(merged, key, own[key], merge=False, force_add=True)
        elif key in kept:
            _take(merged, key, kept[key])
    for key in ("replicates", "training.replicates"):  # an older version trained one head
        if OmegaConf.select(merged, key) is None:
            OmegaConf.update(merged, key, 1)
    _check_model(merged)
    unknown = {key: value for key, value in kept.items() if key not in known}
    absent = [key for key, item in known.items() if key not in kept and item.implied is None]
    return Recorded(merged, unknown, absent, places)


def config_of(record: RecordSummary) -> Config:
    """Return the configuration of a run; a key that its version did not know has its default.

    Places are this machine's own; where it has none, as of a folder's images, they are empty.
    """
    read = read_back(record).config
    for key in ("data.root", "sweep_dir"):
        if OmegaConf.select(read, key) is None:
            OmegaConf.update(read, key, "")
    config = OmegaConf.to_object(read)
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


def _take(merged: DictConfig, key: str, value: Any) -> None:
    if not uninterpolated(value):
        raise UserError(
            "holds ${, and nothing in a record is interpolated", where=f"config.{key} of the record"
        )
    try:
        OmegaConf.update(merged, key, value, merge=False, force_add=True)
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        raise UserError(reason, where=f"config.{key} of the record") from error


# ------------------------------------------------------------------------------- this machine's own


def _own_settings(record: RecordSummary) -> dict[str, Any]:
    """Return this machine's values of the settings that no record decides, by dotted key."""
    data = record.config.get("data")
    data = data if isinstance(data, dict) else {}
    choice = _data_file(str(data.get("source")), data.get("name"), str(data.get("label")))
    return _composed(choice, os.environ.get("VISIONSWEEP_CACHE"))


@cache
def _composed(choice: str | None, cache_folder: str | None) -> dict[str, Any]:
    """Compose `conf/` with an option of data, or None.

    Args:
        choice: name of a file in `conf/data`.
        cache_folder: value of the environment variable that `conf/` refers to.
    """
    register_schema()
    names.register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        composed = compose("config", [f"data={choice}"] if choice else [])
    local = {key for key in _LOCAL if choice or not key.startswith("data.")}
    values = {}
    for key in local - {"sweep_dir"}:  # of a sweep that has not started
        value = OmegaConf.select(composed, key)  # None where it is missing
        values[key] = OmegaConf.to_container(value) if isinstance(value, DictConfig) else value
    return values


def _data_file(source: str, name: Any, label: str) -> str | None:
    """Return the file in `conf/data` of a record's images, by label or by name."""
    files = _files("data")
    if source != "archives":
        return source if source in files else None
    alike = [
        choice
        for choice, found in files.items()
        if found.get("source") == "archives" and found.get("name") == name
    ]
    return label if label in alike else next(iter(alike), None)


@cache
def _files(group: str) -> dict[str, dict[str, Any]]:
    """Read the files of a config group without resolving anything."""
    return {
        file.stem: OmegaConf.to_container(OmegaConf.load(file))  # type: ignore[misc]
        for file in sorted((CONF / group).glob("*.yaml"))
    }


def _check_model(config: DictConfig) -> None:
    """Refuse a model whose name is unknown here; nothing is imported for it."""
    model = config.model
    where = "config.model of the record"
    if model.source not in settings()["model.source"].choices:
        raise UserError(f"source: {model.source} is none", where=where)
    if model.source == "torchvision" and model.name not in torchvision_models():
        raise UserError(f"name: torchvision has no classification model {model.name}", where=where)
    if model.source == "package":
        packages = {found.get("weights") for found in _files("model").values()} - {None}
        if model.weights is not None and model.weights not in packages:
            raise UserError(
                f"weights: no file in {CONF / 'model'} names the package {model.weights}",
                where=where,
                hint="Packages that only a record names are not looked into. If you trust it, "
                "describe the model in a file there, as its neighbors are.",
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
    wanted = []
    if OmegaConf.is_missing(data, "root"):
        wanted.append("data.root")
    if data.source == "archives" and not data.archives:
        wanted += ["data.root", "data.base_url", "data.archives"]
    if "data.splits" in recorded.places:
        wanted.append("data.splits")
    wanted = [key for key in dict.fromkeys(wanted) if key not in given]
    if not wanted:
        return
    said = {key: recorded.places[key] for key in wanted if key in recorded.places}
    hint: str | None = None
    if all(map(uninterpolated, said.values())):
        again = [
            shell.setting(k, Path(v)) if k in keys(path=True) else f"{k}={v}"
            for k, v in said.items()
        ]
        command = shell.command("python", shell.script(script), run_dir, *settings, *again)
        hint = f"If you trust what the record says:\n  {command}"
    listed = ", ".join(f"{key}={value}" for key, value in said.items()) or "nothing"
    raise UserError(
        f"where its images are is only said by its record ({listed}), and a record's places are "
        f"not followed; give {', '.join(wanted)}",
        where=run_dir,
        hint=hint,
    )


def not_followed(recorded: Recorded, settings: Sequence[str]) -> str | None:
    """Return which recorded paths and addresses are not used, or None."""
    given = {setting.partition("=")[0] for setting in settings}
    left = [f"{key}={value}" for key, value in recorded.places.items() if key not in given]
    if not left:
        return None
    return f"Not followed, for a record may come from anybody: {', '.join(left)}"
