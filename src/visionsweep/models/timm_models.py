"""Build models of timm, and load pretrained weights or one's own."""

import logging
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from visionsweep.data.transforms import Preprocessing
from visionsweep.errors import UserError, nearest
from visionsweep.models.local_weights import mismatch
from visionsweep.models.meta import on_meta
from visionsweep.models.pretrained_weights import WeightsUnavailableError


def import_timm(name: str) -> Any:
    """Import and return timm, for a model of this name.

    Raises:
        WeightsUnavailableError: if timm is not installed.
    """
    try:
        import timm
    except ImportError as error:
        raise WeightsUnavailableError(
            "this model comes from timm, which is not installed",
            where=f"model.name={name}",
            hint="Install it with: pip install -e '.[timm]'",
        ) from error
    return timm


def pretrained_config(name: str) -> Any:
    """Return timm's facts about a model and its pretrained weights.

    Args:
        name: architecture, and after a dot the tag of its weights if there are several:
            `vit_small_patch14_dinov2.lvd142m`.

    Raises:
        UserError: if timm has no such architecture, or no such weights of it.
    """
    timm = import_timm(name)
    architecture, _, tag = name.partition(".")
    where = f"model.name={name}"
    if not re.fullmatch(r"\w+", architecture) or not timm.is_model(architecture):
        suggestion = nearest(architecture, timm.list_models())
        raise UserError(f"timm has no such model{suggestion}", where=where)
    tags = timm.models.list_pretrained(f"{architecture}.*") or []
    if tag and name not in tags:
        listed = ", ".join(other.partition(".")[2] for other in tags) or "none"
        raise UserError(f"timm has no such weights of {architecture}: {listed}", where=where)
    return timm.get_pretrained_cfg(name)


def preprocessing_of(name: str) -> Preprocessing:
    """Return the transform with which the weights of a model were evaluated, as timm makes it.

    Of an input that is not square, the transform is that of a square; see `refuse_transform`.
    """
    pretrained = pretrained_config(name)
    size = int(pretrained.input_size[-1])
    squashed = pretrained.crop_mode == "squash"
    return Preprocessing(
        (size, size) if squashed else (math.floor(size / pretrained.crop_pct),),
        None if squashed else size,
        pretrained.interpolation,
        tuple(pretrained.mean),
        tuple(pretrained.std),
    )


def refuse_transform(name: str) -> None:
    """Refuse `transform=pretrained` for weights whose transform is not one of squares here.

    Raises:
        UserError: if their input is not square, or keeps its aspect ratio on a border.
    """
    pretrained = pretrained_config(name)
    height, width = pretrained.input_size[1:]
    reason = None
    if height != width:
        reason = (
            f"the input of {name} has {height} x {width} pixels, and only squares are supported"
        )
    elif pretrained.crop_mode == "border":
        reason = f"{name} takes whole images on a border, which is not supported"
    if reason is not None:
        raise UserError(reason, where="transform=pretrained", hint="Use transform=resize.")


def build(
    name: str,
    state: dict[str, torch.Tensor] | None,
    size: int,
    pooling: str,
    *,
    own: bool = False,
) -> nn.Module:
    """Build a network from images to features, and load weights into it.

    Position embeddings are resampled to the image size, as timm does.

    Args:
        name: name of the model in timm.
        state: pretrained tensors by name, or None for random weights.
        size: pixels per side.
        pooling: `default` is timm's for the weights; of a transformer's last tokens, `cls` takes
            the class token, `avg` the mean of those of patches, `cls+avg` both, one after the
            other (Oquab et al. 2023).
        own: whether the tensors are one's own, with any head or none, and no others.

    Raises:
        UserError: if the network has no such tokens.
        RuntimeError, ValueError, AssertionError: if it cannot be built for this size.
    """
    timm = import_timm(name)
    options: dict[str, Any] = {"num_classes": 0}
    if pretrained_config(name).fixed_input_size:
        options["img_size"] = size
    if state is None:
        network: nn.Module = _created(timm, name, options)
    elif own:
        network = _with_own(timm, name, state, options)
    else:
        network, missing, _ = _with_pretrained(timm, name, state, options)
        if missing:
            raise ValueError(f"the file lacks tensors of this model: {missing[0][:80]}...")
    patch = getattr(getattr(network, "patch_embed", None), "patch_size", (1, 1))[-1]
    if size % patch:
        below = size - size % patch
        raise ValueError(f"its patches have {patch} pixels; {below} or {below + patch} would fit")
    return network if pooling == "default" else _TokenPooling(network, pooling, name)


def _with_pretrained(
    timm: Any, name: str, state: dict[str, torch.Tensor], options: dict[str, Any]
) -> tuple[nn.Module, list[str], list[str]]:
    """Return a network with tensors as timm converts them, and what is missing and unexpected."""
    overlay = {"state_dict": state}
    with _logged_tensors() as logged:
        network = _created(timm, name, options, pretrained=True, pretrained_cfg_overlay=overlay)
    getattr(network, "pretrained_cfg", {}).pop("state_dict", None)  # it would stay in memory
    return network, logged["Missing"], logged["Unexpected"]


def _with_own(
    timm: Any, name: str, state: dict[str, torch.Tensor], options: dict[str, Any]
) -> nn.Module:
    """Return a network with tensors of one's own: as they are, or else as timm converts them.

    Raises:
        ValueError: names the tensors that are missing, unexpected, or of another shape.
    """
    network = _created(timm, name, options)
    own = network.state_dict()
    whole = on_meta(lambda: timm.create_model(name, num_classes=2)).state_dict()
    state = {key: state[key] for key in state if key in own or key not in whole}
    difference = mismatch(state, own)
    if difference is None:
        network.load_state_dict(state, strict=False)
        return network
    try:
        network, missing, unexpected = _with_pretrained(timm, name, dict(state), options)
    except (RuntimeError, ValueError, AssertionError, TypeError, LookupError) as error:
        raise ValueError(difference) from error
    if missing or unexpected:
        raise ValueError(difference)
    return network


def _created(timm: Any, name: str, options: dict[str, Any], **more: Any) -> nn.Module:
    """Return a network; some families take their image size as one number, others as two."""
    try:
        network: nn.Module = timm.create_model(name, **options, **more)
    except TypeError:
        if "img_size" not in options:
            raise
        size = options["img_size"]
        network = timm.create_model(name, **options | {"img_size": (size, size)}, **more)
    return network


@contextmanager
def _logged_tensors() -> Iterator[dict[str, list[str]]]:
    """Collect what timm logs of tensors that a file lacks, which stay random, or has besides."""
    logged: dict[str, list[str]] = {"Missing": [], "Unexpected": []}

    def collect(record: logging.LogRecord) -> bool:
        kind, _, text = record.getMessage().partition(" keys (")
        if kind in logged:
            logged[kind].append(text)
        return False

    logger = logging.getLogger("timm.models._builder")
    level = logger.level
    logger.addFilter(collect)
    logger.setLevel(logging.INFO)
    try:
        yield logged
    finally:
        logger.removeFilter(collect)
        logger.setLevel(level)


class _TokenPooling(nn.Module):
    """A transformer whose features are its class token, the mean of its patches, or both."""

    def __init__(self, network: nn.Module, pooling: str, name: str) -> None:
        super().__init__()
        prefix = getattr(network, "num_prefix_tokens", None)
        where = f"model.pooling={pooling}"
        if prefix is None:
            raise UserError(f"{name} is no transformer with tokens; use default", where=where)
        if "cls" in pooling and not prefix:
            raise UserError(f"{name} has no class token; use avg or default", where=where)
        self.network, self.pooling, self.prefix = network, pooling, int(prefix)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return features, `float32[N, width]`, of `float32[N, 3, size, size]`."""
        tokens: torch.Tensor = self.network.forward_features(images)  # type: ignore[operator]
        parts = {"cls": tokens[:, 0], "avg": tokens[:, self.prefix :].mean(1)}
        return torch.cat([parts[part] for part in self.pooling.split("+")], dim=1)
