"""Logits of a run on disk, `logits.safetensors`, from which all evidence is computed."""

import hashlib
import json
import math
from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from visionsweep.analysis.predictions import Predictions
from visionsweep.data.splits import CROSS_FIT
from visionsweep.runs.fields import MOST_REPLICATES, SPLITS, Digest
from visionsweep.runs.record import RecordSummary
from visionsweep.storage.files import why, write_atomically
from visionsweep.storage.untrusted import MB, check_regular, decode_json

FILE_NAME = "logits.safetensors"
SCORED = (*SPLITS, CROSS_FIT)
LARGEST = 4096 * MB  # of such a file, which is read tensor by tensor


def write(run_dir: Path, predictions: Mapping[str, Predictions]) -> None:
    """Write the predictions of each split to a run's directory."""
    tensors: dict[str, Any] = {}
    for split, found in predictions.items():
        # safetensors writes memory in its order, which differs for transposed arrays.
        tensors[f"{split}.logits"] = np.ascontiguousarray(found.logits)
        tensors[f"{split}.labels"] = np.ascontiguousarray(found.labels)
        if found.bootstrap is not None:
            tensors[f"{split}.bootstrap"] = np.ascontiguousarray(found.bootstrap)
    images = {split: json.dumps(found.images) for split, found in predictions.items()}
    write_atomically(run_dir / FILE_NAME, save(tensors, images))


def read(
    run_dir: Path, of: RecordSummary, splits: Collection[str] = SCORED
) -> dict[str, Predictions] | None:
    """Read the predictions of some splits, and check them against the record.

    Args:
        run_dir: directory of the run.
        of: record of the run.
        splits: names of the splits.

    Returns:
        Predictions by split; None if an earlier version wrote none.

    Raises:
        ValueError: if the file is damaged, or does not fit the record.
    """
    path = run_dir / FILE_NAME
    try:
        check_regular(path, LARGEST)
        with safe_open(path, framework="numpy") as opened:
            names, images = set(opened.keys()), opened.metadata() or {}
            if not images or not images.keys() <= set(SCORED):
                raise ValueError(f"holds splits called {', '.join(sorted(images)) or 'nothing'}")
            needed = {f"{split}.{kind}" for split in images for kind in ("logits", "labels")}
            if not needed <= names <= needed | {f"{split}.bootstrap" for split in images}:
                raise ValueError("holds other tensors than logits and labels of each split")
            return {
                split: _checked(
                    Predictions(
                        opened.get_tensor(f"{split}.logits"),
                        opened.get_tensor(f"{split}.labels"),
                        _images(images[split]),
                        opened.get_tensor(name)
                        if (name := f"{split}.bootstrap") in names
                        else None,
                    ),
                    split,
                    of,
                )
                for split in images
                if split in splits
            }
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ValueError(why(error)) from error
    except SafetensorError as error:
        raise ValueError(f"is damaged: {error}") from error
    except (TypeError, AttributeError, RecursionError) as error:  # numbers that numpy has not
        raise ValueError(f"holds other numbers than logits: {error}") from error


def _checked(found: Predictions, split: str, of: RecordSummary) -> Predictions:
    """Refuse predictions whose images, classes or replicates differ from the record's."""
    logits, labels = found.logits, found.labels
    data, evaluation = of.data, of.evaluation.get(split)
    if logits.dtype != np.float32 or logits.ndim != 3 or not logits.size:
        raise ValueError(f"{split}.logits: {logits.dtype}{list(logits.shape)} are no logits")
    _, images, classes = logits.shape
    if labels.dtype != np.int64 or labels.shape != (images,) or len(found.images) != images:
        raise ValueError(f"{split}.labels: not one of each of the {images} images")
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"{split}.labels: there are {classes} classes")
    losses = found.bootstrap
    if losses is not None and (
        losses.dtype != np.float32
        or losses.shape != (len(losses), images)
        or len(losses) > MOST_REPLICATES
        or (losses < 0).any()
    ):
        raise ValueError(f"{split}.bootstrap: {losses.dtype}{list(losses.shape)} are no losses")
    if data is None:
        return found
    if classes != len(data.classes) or images != data.counts.get(split):
        raise ValueError(
            f"{split}: of {images} images and {classes} classes, where the record has "
            f"{data.counts.get(split)} and {len(data.classes)}"
        )
    if _digest(found.images, labels.tobytes(), tuple(data.classes)) != data.digests.get(split):
        raise ValueError(f"{split}: of other images than the record's")
    if evaluation and "loss" in evaluation:
        replicates = evaluation["loss"].replicates
        if len(logits) != len(replicates):
            raise ValueError(f"{split}: {len(logits)} replicates; the record has {len(replicates)}")
        if all(map(math.isfinite, replicates)) and not found.finite.all():
            raise ValueError(f"{split}: logits that are no numbers; by the record none diverged")
    return found


@lru_cache(maxsize=8)
def _digest(images: tuple[str, ...], labels: bytes, classes: tuple[str, ...]) -> str:
    """Return the digest of images and their classes, as `data.splits.Splits.digest`."""
    pairs = zip(images, np.frombuffer(labels, np.int64).tolist(), strict=True)
    lines = sorted(f"{classes[label]}\t{image}" for image, label in pairs)
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()


@lru_cache(maxsize=8)
def _images(text: str) -> tuple[str, ...]:
    """Return the digests of images, cached since the runs of a sweep share them."""
    return tuple(decode_json(text, list[Digest]))
