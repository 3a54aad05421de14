"""Milliseconds per image of the models of a sweep, `costs.json`, timed together.

A run times its own model, but under the load of that moment, and the result is cached. Numbers to
be compared are timed together, in turns, when the sweep ends.
"""

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from visionsweep.command_memory import forget, remembered
from visionsweep.errors import UserError
from visionsweep.runs.discovery import Run
from visionsweep.runs.fields import Name
from visionsweep.runs.record import ModelFacts
from visionsweep.runs.recorded_config import config_of
from visionsweep.storage.files import write_atomically
from visionsweep.storage.untrusted import decode_json, read_regular

log = logging.getLogger(__name__)

FILE_NAME = "costs.json"
_LARGEST = 1_000_000  # bytes
_Milliseconds = Annotated[float, Meta(gt=0, le=1e9)]


def key_of(model: ModelFacts) -> str:
    """Return the key of a model's time: its backbone and the size of its images."""
    return f"{model.fingerprint}-{size_of(model)}"


def size_of(model: ModelFacts) -> int:
    """Return the size of the model's images in pixels; 0 if the record does not say."""
    resize = model.preprocessing.get("resize")
    first = resize[0] if isinstance(resize, list) and resize else 0
    size = model.preprocessing.get("crop") or first
    return size if isinstance(size, int) else 0


@remembered(maxsize=64)
def read(sweep_dir: Path) -> dict[str, float]:
    """Return milliseconds per image by `key_of`; empty if the sweep has none that are valid."""
    try:
        content = read_regular(sweep_dir / FILE_NAME, _LARGEST)
        return decode_json(content, dict[Name, _Milliseconds])
    except (OSError, ValueError):
        return {}


def write(sweep_dir: Path, milliseconds: Mapping[str, float]) -> None:
    """Write the milliseconds per image of the models of a sweep."""
    content = json.dumps(dict(sorted(milliseconds.items())), indent=2)
    write_atomically(sweep_dir / FILE_NAME, content.encode())
    forget(read)


def time_models(sweep_dir: Path, runs: Iterable[Run]) -> None:
    """Time a forward pass of each model of a sweep, and write `costs.json`.

    Nothing is done if the sweep has a single model, or if all were timed together before.
    """
    models = {key_of(run.record.model): run.record for run in runs if run.record.model is not None}
    if len(models) < 2 or models.keys() <= read(sweep_dir).keys():
        return
    from visionsweep.models.backbone_spec import shape_spec  # these import torch
    from visionsweep.models.backbones import outline
    from visionsweep.models.meta import with_values
    from visionsweep.models.summary import forward_milliseconds

    built = {}
    for key, record in models.items():
        config, size = config_of(record).model, int(key.rpartition("-")[2])
        try:
            built[key] = with_values(outline(shape_spec(config), size)[0].module), size
        except UserError as error:
            log.warning("%s: not timed: %s", config.label, error)
            return
    write(sweep_dir, forward_milliseconds(built))
