"""Build torchvision models without weights, and load tensors that were read safely.

`torchvision.models.NAME(weights=...)` reads the weights file itself, with a loader that may execute
code in it. This module does the rest of that call: the options that belong to the weights, and the
tensor names of older files.
"""

import re
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch
import torchvision
from torch import nn
from torchvision.models import WeightsEnum
from torchvision.models.vision_transformer import interpolate_embeddings

from visionsweep.models.local_weights import mismatch

_RESCALING = ("googlenet", "inception_v3")  # rescale their input if built with weights
_AUXILIARY = ("aux1", "aux2", "AuxLogits")
# torchvision.models.densenet renames tensors of its files: `norm.1` is now `norm1`.
_OLD_DENSENET = re.compile(
    r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\.(?:weight|bias|running_mean|running_var))$"
)


def build(name: str, entry: WeightsEnum | None, size: int) -> nn.Module:
    """Build a network with random weights that an entry's weights can be loaded into.

    Raises:
        RuntimeError, ValueError, AssertionError: if torchvision cannot build it for this size.
    """
    options = _random_options(name, size) if entry is None else _options_of(name, entry)
    network: nn.Module = torchvision.models.get_model(name, weights=None, **options)
    return network


def _random_options(name: str, size: int) -> dict[str, Any]:
    if name.startswith("vit_"):
        return {"image_size": size}
    if name.startswith("maxvit"):
        return {"input_size": (size, size)}
    if name in _RESCALING:
        # As with weights, since a checkpoint of the whole network, trained from weights, is loaded
        # into one built without.
        return {"aux_logits": False, "init_weights": True, "transform_input": True}
    return {}


def _options_of(name: str, entry: WeightsEnum) -> dict[str, Any]:
    """Return the options that torchvision's builders set for weights."""
    meta: dict[str, Any] = entry.value.meta
    options: dict[str, Any] = {}
    if meta["categories"] is not None:  # as of VGG16's IMAGENET1K_FEATURES
        options["num_classes"] = len(meta["categories"])
    if name.startswith("vit_"):
        options["image_size"] = meta["min_size"][0]
    if name.startswith("maxvit"):
        options["input_size"] = meta["min_size"]
    if name.startswith("vgg"):
        options["init_weights"] = False
    if name in _RESCALING:
        options |= {"aux_logits": True, "init_weights": False, "transform_input": True}
    return options


def load(network: nn.Module, name: str, state: dict[str, torch.Tensor]) -> None:
    """Load tensors from `weights_files.read` into a network from `build`.

    In files without module versions, `num_batches_tracked` may be missing.

    Raises:
        RuntimeError: if a tensor is missing, unexpected, or of another shape.
        ValueError: if torchvision does not know the version of a module.
    """
    network.load_state_dict(_renamed(name, state))


def _renamed(name: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    if not name.startswith("densenet"):
        return state
    renamed = OrderedDict((_OLD_DENSENET.sub(r"\1\2", key), t) for key, t in state.items())
    if (versions := getattr(state, "_metadata", None)) is not None:
        renamed._metadata = versions  # type: ignore[attr-defined]
    return renamed


def load_own(
    network: nn.Module,
    name: str,
    state: dict[str, torch.Tensor],
    headless: Sequence[str],
    size: int,
) -> None:
    """Load tensors of one's own into a network from `build`, all but those of its head.

    Position embeddings of a vision transformer are resampled to images of `size` pixels per side.

    Args:
        network: network without auxiliary classifiers.
        name: its name in torchvision.
        state: tensors by name.
        headless: names of the network's tensors without its last layer.
        size: pixels per side.

    Raises:
        ValueError: names the tensors that are missing, unexpected, or of another shape.
    """
    whole: dict[str, torch.Tensor] = network.state_dict()
    if name.startswith("vit_"):
        with suppress(KeyError, ValueError, IndexError):  # reported below
            state = interpolate_embeddings(size, network.patch_size, OrderedDict(state))
    state = {
        key: tensor
        for key, tensor in _renamed(name, state).items()
        if key not in whole.keys() - set(headless)
        and not (hasattr(network, "aux_logits") and key.startswith(_AUXILIARY))
    }
    if difference := mismatch(state, {key: whole[key] for key in headless}):
        raise ValueError(difference)
    if name.startswith("mnasnet"):  # which reads no tensors of a version that it does not know
        state = OrderedDict(state)
        state._metadata = whole._metadata  # type: ignore[attr-defined]
    network.load_state_dict(state, strict=False)


def without_auxiliary_heads(network: nn.Module) -> nn.Module:
    """Remove the auxiliary classifiers of GoogLeNet and Inception."""
    if hasattr(network, "aux_logits"):
        setattr(network, "aux_logits", False)  # noqa: B010 (typed as a submodule)
        for part in _AUXILIARY:
            if hasattr(network, part):
                setattr(network, part, None)
    return network
