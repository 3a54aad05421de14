"""Networks without values: built on the meta device, or without drawing initial values."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from visionsweep.errors import UserError


class Uninitialized(TorchFunctionMode):
    """Skip `torch.nn.init`, which takes most of the time of building a network.

    For networks whose values do not matter, or are all loaded afterwards.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Return the tensor as it is in place of initializing it."""
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    """Return a network on the meta device, built without drawing its initial values.

    RegNets of torchvision read values while they are built, as do some models of timm: on the CPU.
    """
    with torch.random.fork_rng(devices=[]), Uninitialized():
        try:
            with torch.device("meta"):
                return build()
        except (UserError, RuntimeError) as error:
            reason = error.__cause__ or error
            if not isinstance(reason, NotImplementedError) and "meta" not in str(reason):
                raise
        return build().to("meta")


def with_values(network: nn.Module) -> nn.Module:
    """Return a network of the meta device on the CPU, all of whose values are zero.

    It takes as much time as with its weights (within 2% for six architectures).
    """
    tensors = [*network.parameters(), *network.buffers()]
    if not any(tensor.is_meta for tensor in tensors):
        return network
    network = network.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in (*network.parameters(), *network.buffers()):
            tensor.zero_()
    return network
