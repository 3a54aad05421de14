"""Read and validate trained weights, `head.safetensors` or `model.safetensors`."""

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
_OLD = {"head.1.weight": "head.weight", "head.1.bias": "head.bias"}  # 0.1.0 had a single head


@dataclass(frozen=True)
class TrainedWeights:
    """Parameters and buffers of a classifier by name.

    `head.weight` is `float32[R, classes, width]`, `head.bias` `float32[R, classes]`. In files, the
    former is float16 where that holds it.
    """

    tensors: dict[str, torch.Tensor]
    temperature: float  # divisor of the logits for a calibrated confidence


def read(path: Path, of: RecordSummary) -> TrainedWeights:
    """Read the weights of a run, and validate them against its record.

    Raises:
        UserError: if the file is damaged, or does not fit the record.
    """
    try:
        check_regular(path)
        with safe_open(path, framework="pt") as opened:
            names = list(opened.keys())
            shapes = {}
            for name in names:
                shape = opened.get_slice(name).get_shape()
                shapes[_OLD.get(name, name)] = [1, *shape] if name in _OLD else shape
            _check_head(shapes, of)
            tensors = {_OLD.get(name, name): opened.get_tensor(name) for name in names}
    except OSError as error:
        raise UserError(f"the checkpoint cannot be read: {why(error)}", where=path) from error
    except (SafetensorError, ValueError) as error:
        raise UserError(f"the checkpoint cannot be read: {error}", where=path) from error
    for name in HEAD if _OLD.keys() & names else ():
        tensors[name] = tensors[name].unsqueeze(0)
    if tensors["head.weight"].dtype == torch.float16:
        tensors["head.weight"] = tensors["head.weight"].float()
    try:
        temperature = _temperature(tensors.pop("temperature", None), path)
        _check_finite(tensors, of)
    except ValueError as error:
        raise UserError(f"not the checkpoint of this run: {error}", where=path) from error
    return TrainedWeights(tensors, temperature)


def _check_head(shapes: dict[str, list[int]], of: RecordSummary) -> None:
    """Refuse other tensors than those of a frozen backbone's head, and a head of other shape."""
    assert of.model is not None and of.data is not None
    if missing := [name for name in HEAD if name not in shapes]:
        raise ValueError(f"not the checkpoint of this run: {', '.join(missing)} missing")
    others = sorted(shapes.keys() - {*HEAD, "temperature"})
    if of.model.checkpoint == "head.safetensors" and others:
        raise ValueError(f"not the checkpoint of this run: {', '.join(others[:5])}")
    weight, bias = (shapes[name] for name in HEAD)
    classes, width = len(of.data.classes), of.model.width
    measured = (of.evaluation.get("val") or {}).get("loss")
    replicates = len(measured.replicates) if measured else weight[0] if weight else 0
    fits = weight == [replicates, classes, width] and bias == [replicates, classes]
    if not fits or not 1 <= replicates <= MOST_REPLICATES:
        raise ValueError(
            f"does not fit its run: head.weight {weight} and head.bias {bias}, where the record "
            f"has {replicates} replicates, {classes} classes and {width} features"
        )


def _temperature(tensor: torch.Tensor | None, path: Path) -> float:
    if tensor is None:
        log.warning(
            "%s: written by an older version without a temperature; confidence is not calibrated",
            path,
        )
        return 1.0
    if tensor.numel() != 1 or not tensor.is_floating_point():
        raise ValueError("temperature is not a floating-point number")
    temperature = float(tensor)
    if not (0 < temperature < math.inf):
        raise ValueError(f"temperature is {temperature}")
    return temperature


def _check_finite(tensors: dict[str, torch.Tensor], of: RecordSummary) -> None:
    """Refuse a head that is not finite, unless the record says that training diverged."""
    assert of.metrics is not None
    for name in HEAD:
        if tensors[name].dtype != torch.float32:
            raise ValueError(f"{name} is {tensors[name].dtype}")
        if math.isfinite(of.metrics.final.val.loss) and not tensors[name].isfinite().all():
            raise ValueError(f"{name} is not finite, but the record shows no divergence")


def load(model: nn.Module, tensors: dict[str, torch.Tensor], path: Path, *, whole: bool) -> None:
    """Load the weights of the whole model or of its head, with its names, shapes, and types.

    Raises:
        UserError: if the weights belong to another model.
    """

    def kinds(weights: dict[str, torch.Tensor]) -> dict[str, str]:
        return {name: f"{tensor.dtype}{list(tensor.shape)}" for name, tensor in weights.items()}

    expected, actual = kinds(model.state_dict()), kinds(tensors)
    names = expected.keys() if whole else {name for name in expected if name.startswith("head.")}
    if wrong := sorted(names ^ actual.keys()):
        raise UserError(f"not the checkpoint of this run: {', '.join(wrong[:5])}", where=path)
    for name, kind in actual.items():
        if kind != expected[name]:
            reason = f"does not fit its run: {name} is {kind}, expected {expected[name]}"
            raise UserError(reason, where=path)
    model.load_state_dict(tensors, strict=False)
