"""Scores of the linear probe on the features of a sweep's runs, `linear_probes/KEY.json`.

They are a reference beside the leaderboard and are not ranked. Files may come from anybody.
"""

from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from visionsweep.command_memory import forget, remembered
from visionsweep.data.images import digest_of
from visionsweep.data.split_names import SPLITS
from visionsweep.runs.record import DataFacts, ModelFacts
from visionsweep.runs.scores import Interval
from visionsweep.storage.files import write_atomically
from visionsweep.storage.untrusted import decode_json, read_regular

FOLDER = "linear_probes"
_LARGEST = 10_000  # bytes


class Reference(Struct, frozen=True):
    """Loss and accuracy of a deployed linear probe with 95% confidence intervals."""

    val_loss: Interval
    val_accuracy: Interval
    test_loss: Interval
    test_accuracy: Interval


def path_of(folder: Path, model: ModelFacts, data: DataFacts, precision: str = "auto") -> Path:
    """Return the file of a linear probe in a sweep's directory or in the cache.

    Args:
        folder: that directory.
        model: facts about the backbone.
        data: facts about the images.
        precision: `features.precision`.
    """
    digests = [data.digests[split] for split in SPLITS]
    parts: tuple[Any, ...] = (model.fingerprint, model.preprocessing, digests)
    parts += () if precision == "auto" else (precision,)
    parts += (data.groups,) if data.groups else ()
    return folder / FOLDER / f"{digest_of(msgspec.json.encode(parts))}.json"


@remembered(maxsize=1000)
def read(path: Path) -> Reference | None:
    """Return what was written; None if there is nothing valid."""
    try:
        return decode_json(read_regular(path, _LARGEST), Reference)
    except (OSError, ValueError):
        return None


def write(path: Path, reference: Reference) -> None:
    """Write the scores of a linear probe."""
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, msgspec.json.encode(reference))
    forget(read)
