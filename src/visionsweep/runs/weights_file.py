"""Read and check the trained weights of a run, `head.safetensors` or `model.safetensors`."""

import logging
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from visionsweep.errors import UserError
from visionsweep.runs.fields import MOST_REPLICATES
from visionsweep.runs.record import RecordSummary
from visionsweep.storage.files import why
from visionsweep.storage.untrusted import check_regular

log = logging.getLogger(__name__)

HEAD = ("head.weight", "head.bias")
_OLD = {"head.1.weight": "head.weight", "head.1.bias": "head.bias"}  # 0.1.0 kept one head


@dataclass(frozen=True)
class TrainedWeights:
    """Trained weights.

    Attributes:
        tensors: parameters and buffers of a classifier by name; `head.weight` is
            `float32[R, classes, width]`, `head.bias` `float32[R, classes]`.
        temperature: divisor of the logits for a calibrated confidence.
    """

    tensors: dict[str, torch.Tensor]
    temperature: float


def read(path: Path, of: RecordSummary) -> TrainedWeights:
    """Read the weights of a run, and check them against its record.

    Args:
        path: path of the file.
        of: record of a completed run.

    Raises:
        UserError: if the file is damaged, or does not fit the record.
    """
    try:
        check_regular(path)
        with safe_open(path, framework="pt") as opened:
            names = list(opened.keys())
            shapes = {name: opened.get_slice(name).get_shape() for name in names}
            _check_names(names, of)
            _check_head(shapes, of)
            tensors = {_OLD.get(name, name): opened.get_tensor(name) for name in names}
    except OSError as error:
        raise UserError(f"the checkpoint cannot be read: {why(error)}", where=path) from error
    except (SafetensorError, ValueError) as error:
        raise UserError(f"the checkpoint cannot be read: {error}", where=path) from error
    for name in HEAD if set(names) & _OLD.keys() else ():
        tensors[name] = tensors[name].unsqueeze(0)
    try:
        temperature = _temperature(tensors.pop("temperature", None), path)
        _check_finite(tensors, of)
    except ValueError as error:
        raise UserError(f"not the checkpoint of this run: {error}", where=path) from error
    return TrainedWeights(tensors, temperature)


def _check_names(names: list[str], of: RecordSummary) -> None:
    """Refuse a file that lacks a head, or, of a frozen backbone, has further tensors."""
    assert of.model is not None
    kept = {_OLD.get(name, name) for name in names} - {"temperature"}
    if missing := [name for name in HEAD if name not in kept]:
        raise ValueError(f"not the checkpoint of this run: {', '.join(missing)} missing")
    if of.model.checkpoint == "head.safetensors" and (more := sorted(kept - set(HEAD))):
        raise ValueError(f"not the checkpoint of this run: {', '.join(more[:5])}")


def _check_head(shapes: dict[str, list[int]], of: RecordSummary) -> None:
    """Refuse a head whose classes, features or replicates differ from the record's."""
    assert of.model is not None and of.data is not None
    by_name = {_OLD.get(name, name): shape for name, shape in shapes.items()}
    weight, bias = ([1, *by_name[n]] if n not in shapes else by_name[n] for n in HEAD)
    classes, width = len(of.data.classes), of.model.width
    measured = (of.evaluation.get("val") or {}).get("loss")
    replicates = len(measured.replicates) if measured else weight[0] if weight else 0
    fits = weight == [replicates, classes, width] and bias == [replicates, classes]
    if not fits or not 1 <= replicates <= MOST_REPLICATES:
        raise ValueError(
            f"does not fit its run: head.weight {weight} and head.bias {bias}, where the record "
            f"has {replicates} replicates, {classes} classes and {width} features"
        )


def _temperature(found: torch.Tensor | None, path: Path) -> float:
    if found is None:
        log.warning(
            "%s: an older version wrote this checkpoint and fitted no temperature, so confidence "
            "is as the model gives it, not calibrated",
            path,
        )
        return 1.0
    if found.numel() != 1 or not found.is_floating_point():
        raise ValueError("temperature is no number")
    temperature = float(found)
    if not (0 < temperature < math.inf):
        raise ValueError(f"temperature is {temperature}")
    return temperature


def _check_finite(tensors: dict[str, torch.Tensor], of: RecordSummary) -> None:
    """Refuse a head that is no number, unless training diverged by the record."""
    assert of.metrics is not None
    for name in HEAD:
        if tensors[name].dtype != torch.float32:
            raise ValueError(f"{name} is {tensors[name].dtype}")
        if math.isfinite(of.metrics.final.val.loss) and not tensors[name].isfinite().all():
            raise ValueError(f"{name} is not finite, and by the record training did not diverge")


def load(model: nn.Module, tensors: dict[str, torch.Tensor], path: Path, *, whole: bool) -> None:
    """Put weights into a model: all that belong there, of its shapes and types, and no others.

    Args:
        model: a classifier.
        tensors: by name.
        path: their file, for the message.
        whole: whether all of the model is in the file, or its head.

    Raises:
        UserError: if they are of another model.
    """
    wanted = {
        name: tensor
        for name, tensor in model.state_dict().items()
        if whole or name.startswith("head.")
    }
    if wrong := sorted(wanted.keys() ^ tensors.keys()):
        raise UserError(f"not the checkpoint of this run: {', '.join(wrong[:5])}", where=path)
    for name, tensor in tensors.items():
        given, right = (tensor.dtype, tensor.shape), (wanted[name].dtype, wanted[name].shape)
        if given != right:
            raise UserError(
                f"does not fit its run: {name} is {given[0]}{list(given[1])}, should be "
                f"{right[0]}{list(right[1])}",
                where=path,
            )
    model.load_state_dict(tensors, strict=False)
