"""Build backbones: classification networks whose last linear layer is removed."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from visionsweep.command_memory import remembered
from visionsweep.config.published_weights import torchvision_models
from visionsweep.errors import UserError
from visionsweep.models import (
    local_weights,
    pretrained_weights,
    timm_models,
    torchvision_builders,
    weights_files,
)
from visionsweep.models.backbone_spec import RANDOM_WEIGHTS_SEED, BackboneSpec
from visionsweep.models.batchnorm_calibration import calibrate_batchnorm
from visionsweep.models.last_layer import remove_last_layer
from visionsweep.models.meta import Uninitialized, on_meta
from visionsweep.models.summary import ForwardPass, forward_pass


@dataclass(frozen=True)
class Backbone:
    """A network that turns images into features.

    Attributes:
        module: maps `float32[N, 3, size, size]` to `float32[N, width]`, in evaluation mode.
        dropout: dropout probability before the last layer of the original network.
    """

    module: nn.Module
    width: int
    dropout: float
    spec: BackboneSpec


def build(spec: BackboneSpec, size: int) -> Backbone:
    """Build a backbone for images of `size` pixels per side, and load its weights.

    Raises:
        UserError: if it cannot be built, or does not accept images of this size.
    """
    network = _build_network(spec, size)
    if spec.weights == "random":
        with _sizes_explained(spec.name, size):
            calibrate_batchnorm(network, size)
    return _without_last_layer(network, spec, size)


def outline(spec: BackboneSpec, size: int) -> tuple[Backbone, ForwardPass]:
    """Build a backbone without weights or values, on the meta device, in a fraction of the time.

    Returns:
        The backbone, and a forward pass of one image through it.

    Raises:
        UserError: if it cannot be built, or does not accept images of this size.
    """
    bare, passes = replace(spec, file=None), list[ForwardPass]()

    def observed(module: nn.Module, images: torch.Tensor) -> torch.Tensor:
        passes.append(forward_pass(module, images))
        return passes[-1].output

    network = on_meta(lambda: _build_network(bare, size))
    return _without_last_layer(network, bare, size, observed), passes[-1]


def _without_last_layer(
    network: nn.Module,
    spec: BackboneSpec,
    size: int,
    run: Callable[[nn.Module, torch.Tensor], torch.Tensor] = nn.Module.__call__,
) -> Backbone:
    with _sizes_explained(spec.name, size):
        if spec.source == "timm":  # built without a last layer
            module, width, dropout = network.eval(), None, 0.0
        else:
            module, width, dropout = remove_last_layer(network.eval(), spec.name)
        with torch.no_grad():
            device = next(network.parameters()).device
            features = run(module, torch.zeros(1, 3, size, size, device=device)).flatten(1)
        width = width or features.shape[1]
    if features.shape != (1, width):
        raise UserError(
            f"the features have shape {tuple(features.shape)}, but the last layer takes {width}; "
            "no head fits on this model",
            where=f"model.name={spec.name}",
        )
    return Backbone(module, width, dropout, spec)


@contextmanager
def _sizes_explained(name: str, size: int) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ValueError, AssertionError, TypeError) as error:
        raise UserError(
            f"cannot take images of {size}x{size} pixels: {error}",
            where=f"model.name={name}",
            hint="Set transform.size, or transform=pretrained for the size of the weights.",
        ) from error


def build_untrained(name: str, source: str, size: int) -> nn.Module:
    """Build a whole network with random parameters and without auxiliary classifiers.

    Raises:
        UserError: if it cannot be built for images of `size` pixels per side.
    """
    return _build_network(BackboneSpec(name, source, "random", "", None, None), size)


def _build_network(spec: BackboneSpec, size: int) -> nn.Module:
    match spec.source:
        case "timm":
            return _from_hub(spec, size)
        case "package":
            return _from_package(spec)
        case _:
            return _from_torchvision(spec, size)


@contextmanager
def _fixed_random_state() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(RANDOM_WEIGHTS_SEED)
        yield


def _from_torchvision(spec: BackboneSpec, size: int) -> nn.Module:
    state = _state(spec)
    try:
        with _initial_values(needed=state is None):
            network = torchvision_builders.build(spec.name, spec.entry, size)
        if state is None or not spec.own:
            if state is not None:
                torchvision_builders.load(network, spec.name, state)
            return torchvision_builders.without_auxiliary_heads(network)
        network = torchvision_builders.without_auxiliary_heads(network)
        headless, _, _ = remove_last_layer(copy.deepcopy(network).to("meta"), spec.name)
        names = list(headless.state_dict())
        torchvision_builders.load_own(network, spec.name, state, names, size)
    except (RuntimeError, ValueError, AssertionError) as error:
        where = f"model.name={spec.name}"
        if spec.file is not None:
            raise _not_of(spec, error) from error
        what = f"cannot be built for images of {size}x{size} pixels: {error}"
        raise UserError(what, where=where, hint="Set another transform.size.") from error
    return network


def _not_of(spec: BackboneSpec, error: Exception) -> UserError:
    """Return the error of a weights file that does not fit its model."""
    assert spec.file is not None
    if not spec.own:
        hint = f"Check that {spec.file.path} belongs to this model."
        return UserError(f"cannot be built: {error}", where=f"model.name={spec.name}", hint=hint)
    other = "timm" if spec.source == "torchvision" else "torchvision"
    in_both = other == "timm" or spec.name in torchvision_models()
    return UserError(
        f"these tensors are not those of {spec.name} in {spec.source}: {error}",
        where=f"model.weights={spec.file.path}",
        hint="Name the architecture of the file, model.name=NAME"
        + (f", or its library, model.library={other}" if in_both else ""),
    )


def _state(spec: BackboneSpec) -> dict[str, torch.Tensor] | None:
    """Return the tensors of a backbone's weights file; None for random weights."""
    if spec.file is None:
        return None
    if spec.own:
        return local_weights.read(spec.file)
    return weights_files.read(spec.file, follow_links=spec.source != "torchvision")


@contextmanager
def _initial_values(*, needed: bool) -> Iterator[None]:
    """Draw initial values from the fixed seed, or leave them out if all are loaded."""
    with _fixed_random_state(), nullcontext() if needed else Uninitialized():
        yield


def _from_hub(spec: BackboneSpec, size: int) -> nn.Module:
    state = _state(spec)
    try:
        with _initial_values(needed=state is None):
            return timm_models.build(spec.name, state, size, spec.pooling, own=spec.own)
    except (RuntimeError, ValueError, AssertionError, TypeError, KeyError) as error:
        if spec.own and spec.file is not None and "pixels" not in str(error):
            raise _not_of(spec, error) from error
        raise UserError(
            f"timm cannot build it for images of {size}x{size} pixels: {error}",
            where=f"model.name={spec.name}",
            hint="Set another transform.size, or transform=pretrained for that of the weights"
            + (f". Check that {spec.file.path} belongs to this model." if spec.file else ""),
        ) from error


@remembered()
def admit(spec: BackboneSpec, cache: Path) -> None:
    """Refuse a weights file of one's own that does not fit its model; keep a copy of one that does.

    Raises:
        UserError: names the tensors that are missing, unexpected, or of another shape.
    """
    if not spec.own or spec.file is None:
        return
    size = 224 if spec.preprocessing is None else spec.preprocessing.size
    _build_network(spec, size)
    local_weights.keep_copy(spec.file, cache)


def _from_package(spec: BackboneSpec) -> nn.Module:
    timm, state = timm_models.import_timm(spec.name), _state(spec)
    with _initial_values(needed=state is None):
        network: nn.Module = timm.create_model(spec.name, pretrained=False)
    if state is not None and spec.file is not None:
        own = network.state_dict()
        network.load_state_dict(pretrained_weights.by_order(state, own, spec.file.path))
    return network
