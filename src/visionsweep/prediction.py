"""Rebuilds the model of a run, and lets it look at new images."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file

from visionsweep.config import ModelConfig
from visionsweep.data.images import UnreadableImageError, list_images, open_rgb
from visionsweep.data.transforms import Preprocessing
from visionsweep.errors import UserError
from visionsweep.models import backbones, classifier
from visionsweep.models.backbones import identify
from visionsweep.models.classifier import Classifier
from visionsweep.tracking import record
from visionsweep.tracking.runs import Run, comparable, completed, find_runs

BATCH_SIZE = 16


@dataclass(frozen=True)
class Predictor:
    """The model of a run with all that is needed to use it.

    Attributes:
        run: where it comes from.
        model: from `float32[N, 3, size, size]` to logits, in evaluation mode.
        classes: class names, in the order of the logits.
        transform: from a PIL image to the model's input.
        device: where the model lies.
    """

    run: Run
    model: Classifier
    classes: list[str]
    transform: Any
    device: torch.device


@dataclass(frozen=True)
class Prediction:
    """What a model makes of one image.

    Attributes:
        path: the image.
        thumbnail: the image as RGB, at most 320 pixels a side.
        probabilities: class name and probability, most probable first.
    """

    path: Path
    thumbnail: Image.Image
    probabilities: list[tuple[str, float]]


def choose_run(folder: Path) -> tuple[Run, str]:
    """Choose the best run below a folder, by validation loss.

    Runs that were scored on other validation images cannot be compared: where there are several
    kinds, those of the latest run's kind take part.

    Args:
        folder: a run's directory, a sweep's, or all outputs.

    Returns:
        The run, and a sentence on how it was chosen.

    Raises:
        UserError: if there is no completed run.
    """
    finished = completed(find_runs([folder]).runs)
    if not finished:
        raise UserError(f"{folder}: holds no completed run; train one with python src/train.py")
    latest = max(finished, key=lambda run: run.record.started)
    group = next(group for group in comparable(finished) if latest in group)
    if (folder / record.FILE_NAME).is_file():
        return group[0], "as named"
    if len(finished) == 1:
        return group[0], "the only completed run"
    others = len(finished) - len(group)
    return group[0], f"lowest validation loss of {len(group)} runs on {group[0].record.dataset}" + (
        f"; {others} runs on other images left out" if others else ""
    )


def load_predictor(run: Run, device: torch.device) -> Predictor:
    """Rebuild a run's model from its record and its checkpoint.

    Args:
        run: a completed run.
        device: where to put the model.

    Raises:
        UserError: if the backbone cannot be had or is not the one that was trained on, or if the
            checkpoint is damaged.
    """
    facts, data = run.record.model, run.record.data
    if run.record.status != "completed" or facts is None or data is None:
        raise UserError(f"{run.directory}: this run is {run.record.status}; it has no model")
    whole = facts.checkpoint == "model.safetensors"
    config = ModelConfig(**run.record.config["model"])
    if whole or run.record.weights == "random":
        config.weights = None  # all tensors come from the checkpoint, or from the fixed seed
    preprocessing = Preprocessing(**facts.preprocessing)
    identity = identify(config, random_if_unavailable=False)
    if not whole and identity.fingerprint != facts.fingerprint:
        raise UserError(
            f"{run.directory}: the head was trained on another backbone than {config.name} with "
            f"{identity.weights} weights is today (fingerprint {facts.fingerprint}, now "
            f"{identity.fingerprint}); put the weights file of that time back, or train again"
        )
    backbone = backbones.build(identity, preprocessing.size)
    model = classifier.build(backbone, len(data.classes), dropout=facts.dropout, frozen=not whole)
    path = run.directory / facts.checkpoint
    try:
        found = model.load_state_dict(load_file(path), strict=False)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise UserError(f"{path}: the checkpoint cannot be read: {error}") from error
    lacking = [name for name in found.missing_keys if whole or name.startswith("head.")]
    if lacking or found.unexpected_keys:
        raise UserError(
            f"{path}: not the checkpoint of this run: {', '.join(lacking + found.unexpected_keys)}"
        )
    return Predictor(run, model.to(device).eval(), data.classes, preprocessing.build(), device)


def expand(paths: Sequence[Path]) -> list[Path]:
    """List the images that are meant: files as they are, folders with all images below them.

    Raises:
        UserError: if a folder holds no image.
    """
    found: list[Path] = []
    for path in paths:
        inside = list_images(path) if path.is_dir() else [path]
        if not inside:
            raise UserError(f"{path}: this folder holds no image")
        found += inside
    return found


def predict(
    predictor: Predictor, paths: Sequence[Path]
) -> Iterator[Prediction | UnreadableImageError]:
    """Classify images.

    Args:
        predictor: the model to ask.
        paths: image files.

    Yields:
        For each path, in order, the prediction, or why the file cannot be read.
    """
    for start in range(0, len(paths), BATCH_SIZE):
        opened = [_try_open(path) for path in paths[start : start + BATCH_SIZE]]
        images = [image for image in opened if isinstance(image, Image.Image)]
        rows = iter(_probabilities(predictor, images) if images else [])
        for path, image in zip(paths[start:], opened, strict=False):
            if isinstance(image, UnreadableImageError):
                yield image
                continue
            ordered = sorted(zip(predictor.classes, next(rows), strict=True), key=lambda p: -p[1])
            image.thumbnail((320, 320))
            yield Prediction(path, image, ordered)


def _try_open(path: Path) -> Image.Image | UnreadableImageError:
    try:
        return open_rgb(path)
    except UnreadableImageError as error:
        return error


@torch.inference_mode()
def _probabilities(predictor: Predictor, images: list[Image.Image]) -> list[list[float]]:
    batch = torch.stack([predictor.transform(image) for image in images])
    rows: list[list[float]] = predictor.model(batch.to(predictor.device)).softmax(1).tolist()
    return rows
