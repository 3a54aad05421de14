"""Weights files of one's own (`model=local`): which architecture they are of. Imports no torch."""

from pathlib import Path
from typing import Annotated, Any, Literal, cast

import msgspec
from msgspec import Meta, Struct
from omegaconf import DictConfig, OmegaConf

from visionsweep.config.published_weights import torchvision_models
from visionsweep.errors import UserError
from visionsweep.storage.files import open_regular
from visionsweep.text.paths import as_path
from visionsweep.text.shell import expanded

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
FOLDER = "weights"  # in the cache, for copies by content
METADATA = "visionsweep"  # key of `OwnFacts` in the metadata of the files that runs write
_LONGEST = 16 << 20  # bytes of the header of a safetensors file


class OwnFacts(Struct, frozen=True):
    """What a weights file of a run says of its backbone.

    Attributes:
        name, library, pooling: as in the group `model`.
        preprocessing: `data.transforms.Preprocessing` as a mapping.
    """

    name: Annotated[str, Meta(pattern=r"^\w+(\.\w+)?$")]
    library: Literal["torchvision", "timm"]
    pooling: Literal["default", "cls", "avg", "cls+avg"]
    preprocessing: dict[str, Any]


class _Header(Struct):
    metadata: dict[str, str] = msgspec.field(name="__metadata__", default_factory=dict)


def metadata_of(path: Path) -> dict[str, str]:
    """Return the metadata of a safetensors file; nothing of other and of damaged files."""
    try:
        with open_regular(path, follow_links=True) as file:
            length = int.from_bytes(file.read(8), "little")
            if path.suffix != ".safetensors" or length > _LONGEST:
                return {}
            return msgspec.json.decode(file.read(length), type=_Header).metadata
    except (OSError, ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return {}


def facts_of(path: Path) -> OwnFacts | None:
    """Return what a run's weights file says of its backbone; None for any other file."""
    try:
        return msgspec.json.decode(metadata_of(path).get(METADATA, ""), type=OwnFacts)
    except (ValueError, RecursionError):
        return None


def library_of(model: Any) -> str:
    """Return the library that builds a model: its source, or that of `model=local`."""
    return cast(str, model.library if model.source == "local" else model.source)


def filled_in(config: DictConfig) -> DictConfig:
    """Return a configuration with the architecture of its weights file, if it is one's own.

    What the file of a run says is used where the command says nothing. Otherwise the library is
    torchvision if it has a model of this name, and timm if not.
    """
    model = config.model
    weights = OmegaConf.select(config, "model.weights")
    if model.source != "local":
        return config
    if weights in (None, "DEFAULT"):
        where = f"model.weights={'null' if weights is None else weights}"
        raise UserError(
            "model=local needs a weights file", where=where, hint="Name it: model.weights=FILE"
        )
    path = as_path(expanded(weights))
    facts = facts_of(path)
    filled = config.copy()
    if OmegaConf.is_missing(model, "name") and facts is None:
        reason = "this file does not name its architecture" if path.is_file() else "no such file"
        hint = "Give it: model.name=resnet50" if path.is_file() else None
        raise UserError(reason, where=f"model.weights={weights}", hint=hint)
    if OmegaConf.is_missing(model, "name") and facts is not None:
        OmegaConf.update(filled, "model.name", facts.name)
    name = filled.model.name
    if facts is not None and facts.name != name:
        facts = None
    if model.library is None:
        by_name = "torchvision" if name in torchvision_models() else "timm"
        OmegaConf.update(filled, "model.library", facts.library if facts else by_name)
    if model.pooling == "default" and facts is not None:
        OmegaConf.update(filled, "model.pooling", facts.pooling)
    return filled


def problems_with(model: DictConfig, look_at_files: bool) -> list[str]:
    """Return what is wrong with the settings of weights of one's own."""
    if model.source != "local":
        return [f"model.library={model.library}: only for model=local"] if model.library else []
    path = as_path(expanded(model.weights))
    if path.suffix not in SUFFIXES:
        kinds = ", ".join(SUFFIXES)
        return [f"model.weights={model.weights}: not a weights file by its name; one of {kinds}"]
    if look_at_files and not path.is_file():
        return [f"model.weights={model.weights}: no such file"]
    return []


def kept_path(cache: Path, label: str | None) -> Path:
    """Return where the weights with a label, `local@0123456789ab`, are kept in a cache folder."""
    return cache / FOLDER / f"{(label or '').rpartition('@')[2]}.safetensors"
