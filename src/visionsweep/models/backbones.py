"""Build backbones: classification networks whose last linear layer is removed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from visionsweep.errors import UserError
from visionsweep.models import (
    pretrained_weights,
    timm_models,
    torchvision_builders,
    weights_files,
)
from visionsweep.models.backbone_spec import RANDOM_WEIGHTS_SEED, BackboneSpec
from visionsweep.models.batchnorm_calibration import calibrate_batchnorm
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


def on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    """Return a network on the meta device, built without drawing its initial values.

    RegNets of torchvision read values while they are built, as do some models of timm: on the CPU.
    """
    with torch.random.fork_rng(devices=[]), _Uninitialized():
        try:
            with torch.device("meta"):
                return build()
        except (UserError, RuntimeError) as error:
            reason = error.__cause__ or error
            if not isinstance(reason, NotImplementedError) and "meta" not in str(reason):
                raise
        return build().to("meta")


class _Uninitialized(TorchFunctionMode):
    """Skip `torch.nn.init`, which takes most of the time of building a network."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Return the tensor as it is in place of initializing it."""
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


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
    except (RuntimeError, ValueError, AssertionError) as error:
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
    state = weights_files.read(spec.file) if spec.file is not None else None
    try:
        with _fixed_random_state():
            network = torchvision_builders.build(spec.name, spec.entry, size)
        if state is not None:
            torchvision_builders.load(network, spec.name, state)
    except (RuntimeError, ValueError, AssertionError) as error:
        where = f"model.name={spec.name}"
        if spec.file is not None:
            hint = f"Check that {spec.file.path} belongs to this model."
            raise UserError(f"cannot be built: {error}", where=where, hint=hint) from error
        what = f"cannot be built for images of {size}x{size} pixels: {error}"
        raise UserError(what, where=where, hint="Set another transform.size.") from error
    return torchvision_builders.without_auxiliary_heads(network)


def _from_hub(spec: BackboneSpec, size: int) -> nn.Module:
    state = None
    if spec.file is not None:
        state = weights_files.read(spec.file, follow_links=True)
    try:
        with _fixed_random_state():
            return timm_models.build(spec.name, state, size, spec.pooling)
    except (RuntimeError, ValueError, AssertionError, TypeError, KeyError) as error:
        raise UserError(
            f"timm cannot build it for images of {size}x{size} pixels: {error}",
            where=f"model.name={spec.name}",
            hint="Set another transform.size, or transform=pretrained for that of the weights"
            + (f". Check that {spec.file.path} belongs to this model." if spec.file else ""),
        ) from error


def _from_package(spec: BackboneSpec) -> nn.Module:
    timm = timm_models.import_timm(spec.name)
    with _fixed_random_state():
        network: nn.Module = timm.create_model(spec.name, pretrained=False)
    if spec.file is not None:
        state = weights_files.read(spec.file, follow_links=True)
        own = network.state_dict()
        network.load_state_dict(pretrained_weights.by_order(state, own, spec.file.path))
    return network


def remove_last_layer(network: nn.Module, name: str) -> tuple[nn.Module, int, float]:
    """Remove the last linear layer of a network in place, and the dropout directly before it.

    Returns:
        The network that ends in features, their number, and the probability of the dropout.

    Raises:
        UserError: if the network, whose architecture is called `name`, has no linear layer.
    """
    if name.startswith("squeezenet"):
        return _remove_convolution(network)
    leaves = [(path, m) for path, m in network.named_modules() if not list(m.children())]
    linear = [i for i, (_, module) in enumerate(leaves) if isinstance(module, nn.Linear)]
    if not linear:
        raise UserError("has no linear layer to replace by a head", where=f"model.name={name}")
    path, last = leaves[linear[-1]]
    assert isinstance(last, nn.Linear)
    network.set_submodule(path, nn.Identity())
    dropout_path, dropout = leaves[linear[-1] - 1]
    if not isinstance(dropout, nn.Dropout):
        return network, last.in_features, 0.0
    network.set_submodule(dropout_path, nn.Identity())
    return network, last.in_features, dropout.p


def _remove_convolution(network: nn.Module) -> tuple[nn.Module, int, float]:
    """Remove SqueezeNet's last layer, a 1x1 convolution before the pooling.

    Pooling first makes it linear in the features.
    """
    classifier = network.classifier
    assert isinstance(classifier, nn.Sequential)
    dropout, convolution = classifier[0], classifier[1]
    assert isinstance(dropout, nn.Dropout) and isinstance(convolution, nn.Conv2d)
    network.classifier = nn.AdaptiveAvgPool2d(1)
    return network, convolution.in_channels, dropout.p
