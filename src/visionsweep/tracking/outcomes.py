"""The outcomes of a run on disk, `logits.safetensors`: what evidence is computed from later."""

import json
from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from visionsweep.analysis.outcomes import Outcomes
from visionsweep.files import write_atomically

FILE_NAME = "logits.safetensors"


def write(run_dir: Path, outcomes: Mapping[str, Outcomes]) -> None:
    """Write the outcomes of each split into a run's directory."""
    tensors: dict[str, Any] = {}
    for split, found in outcomes.items():
        # safetensors writes memory as it lies, and transposed arrays lie otherwise.
        tensors[f"{split}.logits"] = np.ascontiguousarray(found.logits)
        tensors[f"{split}.labels"] = np.ascontiguousarray(found.labels)
    images = {split: json.dumps(found.images) for split, found in outcomes.items()}
    write_atomically(run_dir / FILE_NAME, save(tensors, images))


def read(run_dir: Path, splits: Collection[str] | None = None) -> dict[str, Outcomes] | None:
    """Read the outcomes of each split, or of some.

    Returns:
        None where there are none that can be read: a run of an earlier version, a damaged file.
    """
    try:
        with safe_open(run_dir / FILE_NAME, framework="numpy") as opened:
            return {
                split: Outcomes(
                    opened.get_tensor(f"{split}.logits"),
                    opened.get_tensor(f"{split}.labels"),
                    _images(images),
                )
                for split, images in (opened.metadata() or {}).items()
                if splits is None or split in splits
            }
    except (OSError, ValueError, SafetensorError):
        return None


@lru_cache(maxsize=8)
def _images(text: str) -> tuple[str, ...]:
    """Return the digests of images; the runs of a sweep have them in common, and share them."""
    return tuple(json.loads(text))
