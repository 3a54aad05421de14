"""Logits of a run on disk, `logits.safetensors`, from which all evidence is computed.

Of many classes, those of the most probable ones are stored (`analysis.top_logits`).
"""

import hashlib
import json
import math
from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from visionsweep.analysis.groups import numbered
from visionsweep.analysis.predictions import MANY_CLASSES, Predictions
from visionsweep.analysis.top_logits import TopLogits
from visionsweep.data.split_names import CROSS_FIT
from visionsweep.runs.fields import MOST_REPLICATES, SPLITS, Digest
from visionsweep.runs.record import RecordSummary
from visionsweep.storage.files import why, write_atomically
from visionsweep.storage.untrusted import MB, check_regular, decode_json

FILE_NAME = "logits.safetensors"
SCORED = (*SPLITS, CROSS_FIT)
LARGEST = 4096 * MB  # of such a file, which is read tensor by tensor, and of its logits
_TOP = ("classes", "others")  # fields of `TopLogits` beside the logits
_OPTIONAL = ("bootstrap", "groups", *_TOP)


def write(run_dir: Path, predictions: Mapping[str, Predictions], temperature: float) -> None:
    """Write the predictions of each split to a run's directory.

    Args:
        run_dir: directory of the run.
        predictions: predictions by split.
        temperature: that of the deployed predictor.
    """
    tensors: dict[str, Any] = {}
    for split, found in predictions.items():
        if found.logits.shape[2] < MANY_CLASSES:
            tensors[f"{split}.logits"] = found.logits
        else:
            top = TopLogits.of(found, temperature)
            tensors |= {f"{split}.{name}": getattr(top, name) for name in ("logits", *_TOP)}
        tensors[f"{split}.labels"] = found.labels
        if found.bootstrap is not None:
            tensors[f"{split}.bootstrap"] = found.bootstrap
        if found.groups is not None:
            tensors[f"{split}.groups"] = found.groups.astype(np.int32)
    # safetensors writes memory in its order, which differs for transposed arrays.
    tensors = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    images = {split: json.dumps(found.images) for split, found in predictions.items()}
    write_atomically(run_dir / FILE_NAME, save(tensors, images))


def read(
    run_dir: Path,
    of: RecordSummary,
    splits: Collection[str] = SCORED,
    *,
    deployed: bool = True,
) -> dict[str, Predictions] | None:
    """Read the predictions of some splits, and check them against the record.

    Args:
        run_dir: directory of the run.
        of: record of the run.
        splits: names of the splits.
        deployed: whether logits will be divided by the temperature of the deployed predictor, for
            which those of many classes are then exact.

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
            optional = {f"{split}.{kind}" for split in images for kind in _OPTIONAL}
            if not needed <= names <= needed | optional:
                raise ValueError("holds other tensors than logits and labels of each split")

            def tensors(split: str, kinds: Collection[str]) -> dict[str, Any]:
                stored = {kind: f"{split}.{kind}" for kind in kinds}
                return {k: opened.get_tensor(name) for k, name in stored.items() if name in names}

            return {
                split: _checked(
                    Predictions(
                        _logits(tensors(split, ("logits", *_TOP)), split, of, deployed),
                        images=_images(images[split]),
                        **tensors(split, ("labels", "bootstrap", "groups")),
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


def _logits(tensors: dict[str, Any], split: str, of: RecordSummary, deployed: bool) -> Any:
    """Return the logits of all classes of a split."""
    logits = tensors["logits"]
    if len(tensors) == 1:
        return logits
    count = 0 if of.data is None else len(of.data.classes)
    classes, others = (tensors.get(name, np.empty(0)) for name in _TOP)
    fits = (
        logits.ndim == 3
        and logits.dtype == others.dtype == np.float32
        and classes.dtype == np.int32
        and classes.shape == logits.shape[1:]
        and others.shape == (2, *logits.shape[:2])
        and math.prod(others.shape) * count <= LARGEST / 2
    )
    if not fits or not classes.size or classes.min() < 0 or classes.max() >= count:
        raise ValueError(f"{split}.logits: not those of some of {count} classes")
    return TopLogits(logits, classes, others).all_classes(count, deployed=deployed)


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
    groups = found.groups
    if groups is not None:
        fits = groups.dtype == np.int32 and groups.shape == (images,)
        if not fits or not np.array_equal(np.unique(groups), np.arange(groups.max() + 1)):
            raise ValueError(f"{split}.groups: not the number of a group of each of the images")
        found = replace(found, groups=numbered(groups.astype(np.int64)))
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
