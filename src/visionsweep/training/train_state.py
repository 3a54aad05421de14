"""The state of training: weights, optimizer, random number generators, micro-batch size."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from visionsweep.models.classifier import Classifier
from visionsweep.models.heads import Heads
from visionsweep.runs.scores import Epoch, best_epoch
from visionsweep.runtime.micro_batching import TRAINING_WARNING, AdaptiveMicroBatch


@dataclass(frozen=True)
class TrainState:
    """All that changes during training, so that a run can be resumed from its checkpoint.

    torch draws all random numbers of training: initialization, order, dropout, augmentation.

    Attributes:
        module: heads, or a classifier whose head they are.
        optimizer: optimizer of the module's trainable parameters.
        shuffle_generators: generator of the training order, per head.
        micro_batch: micro-batch size that device memory holds.
        average: moving average of the module, if there is one.
        best: weights of the best epoch so far by name; None if they are not kept.
    """

    module: nn.Module
    optimizer: torch.optim.Optimizer
    shuffle_generators: Sequence[torch.Generator]
    micro_batch: AdaptiveMicroBatch = field(
        default_factory=lambda: AdaptiveMicroBatch(warning=TRAINING_WARNING)
    )
    average: AveragedModel | None = None
    best: dict[str, torch.Tensor] | None = None

    @property
    def deployed(self) -> nn.Module:
        """What is scored and saved: the module, or its moving average."""
        return self.module if self.average is None else self.average.module

    def keep_best(self, history: Sequence[Epoch]) -> None:
        """Keep the weights if those of the best epoch are kept and the last one is the best."""
        if self.best is not None and best_epoch(history) is history[-1]:
            weights = _weights(self.deployed).items()
            self.best.update({name: weight.detach().clone() for name, weight in weights})

    def restore_best(self) -> None:
        """Deploy the weights of the best epoch, if they are kept."""
        with torch.no_grad():
            for name, weight in (self.best or {}).items():
                _weights(self.deployed)[name].copy_(weight)

    def weights(self) -> dict[str, torch.Tensor]:
        """Return what is saved by name: the replicates of the head, or the whole network."""
        weights = _weights(self.deployed)
        if isinstance(self.module, Classifier) and not self.module.frozen:
            return weights
        replicates = heads_of(self.module).replicates
        return {name: tensor[:replicates] for name, tensor in weights.items()}

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the whole state by name, as contiguous tensors on the CPU."""
        device = next(self.module.parameters()).device
        tensors = self._parameters() | _optimizer_tensors(self.optimizer)
        tensors |= {f"best.{name}": weight for name, weight in (self.best or {}).items()}
        tensors |= {f"random.{i}": source.get_state() for i, source in enumerate(self._generators)}
        tensors["random.torch"] = torch.get_rng_state()
        if device.type == "cuda":  # this device alone: asking others would occupy their memory
            tensors["random.cuda"] = torch.cuda.get_rng_state(device)
        elif device.type == "mps":
            tensors["random.mps"] = torch.mps.get_rng_state()
        return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Set the state to tensors that `tensors` returned.

        Raises:
            ValueError, KeyError: if they are not of a state like this one; nothing has changed.
            RuntimeError: if a random number generator does not accept its state.
        """
        reference = copy.deepcopy(self.optimizer)  # after a step, it has all keys of its state
        for group in reference.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.zeros_like(parameter)
        reference.step()
        moments = _optimizer_tensors(reference)
        own = self.tensors() | moments
        kept = {} if self.best is None else _weights(self.deployed)
        own |= {f"best.{name}": weight for name, weight in kept.items()}
        _check_like(own, tensors, optional={*moments, "random.cuda", "random.mps"})
        optimizer_state: dict[int, dict[str, Any]] = {}
        for i, values in reference.state_dict()["state"].items():
            names = {k: name for k in values if (name := f"optimizer.{i}.{k}") in moments}
            if not tensors.keys().isdisjoint(names.values()):  # else it had no gradient so far
                optimizer_state[i] = {k: _like(values[k], tensors[n]) for k, n in names.items()}

        for i, source in enumerate(self._generators):
            source.set_state(tensors[f"random.{i}"])
        torch.set_rng_state(tensors["random.torch"])
        device = next(self.module.parameters()).device
        if device.type == "cuda" and "random.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random.cuda"], device)
        elif device.type == "mps" and "random.mps" in tensors:
            torch.mps.set_rng_state(tensors["random.mps"])
        with torch.no_grad():
            for name, weight in self._parameters().items():
                weight.copy_(tensors[name])
        for name, weight in kept.items():
            assert self.best is not None
            self.best[name] = tensors[f"best.{name}"].to(weight.device, copy=True)
        groups = self.optimizer.state_dict()["param_groups"]
        for i, group in enumerate(groups):
            if (name := f"group.{i}.step") in tensors:
                group["step"] = int(tensors[name])
        self.optimizer.load_state_dict({"state": optimizer_state, "param_groups": groups})

    @property
    def heads(self) -> Heads:
        """Heads: the module, or those of the classifier."""
        return heads_of(self.module)

    def _parameters(self) -> dict[str, torch.Tensor]:
        """Return what steps of the optimizer change, by name: weights, and their average."""
        tensors = {f"weights.{name}": tensor for name, tensor in _weights(self.module).items()}
        if self.average is not None:
            averaged = _weights(self.average.module)
            tensors |= {f"average.{name}": tensor for name, tensor in averaged.items()}
            tensors["average.steps"] = self.average.n_averaged
        return tensors

    @property
    def _generators(self) -> list[torch.Generator]:
        return [*self.shuffle_generators, *self.heads.sources]


def heads_of(module: nn.Module) -> Heads:
    """Return the heads: the module, or those of a classifier."""
    return cast(Heads, module.head if isinstance(module, Classifier) else module)


def _weights(module: nn.Module) -> dict[str, torch.Tensor]:
    """Return the tensors of the heads, or of the whole network if its backbone is trained."""
    if isinstance(module, Classifier) and not module.frozen:
        return module.state_dict()
    return {f"head.{name}": tensor for name, tensor in heads_of(module).state_dict().items()}


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Return the state of each parameter, and the steps that optimizers of timm count per group."""
    steps = {
        f"group.{i}.step": torch.as_tensor(group["step"])
        for i, group in enumerate(optimizer.param_groups)
        if "step" in group
    }
    return steps | {
        f"optimizer.{i}.{key}": value
        if isinstance(value, torch.Tensor)
        else torch.tensor(value, dtype=torch.float64)
        for i, values in optimizer.state_dict()["state"].items()
        for key, value in values.items()
        if value is not None
    }


def _like(value: Any, tensor: torch.Tensor) -> Any:
    """Return a tensor as what an optimizer keeps: a tensor, or a number of the type of `value`."""
    if isinstance(value, torch.Tensor):
        return torch.empty_like(value).copy_(tensor)  # in its memory layout, which affects rounding
    return type(value)(tensor.item())


def _check_like(
    own: Mapping[str, torch.Tensor], tensors: Mapping[str, torch.Tensor], optional: set[str]
) -> None:
    """Refuse tensors of other names, shapes or types than a state's own, and NaN and infinity."""
    if missing := own.keys() - optional - tensors.keys():
        raise ValueError(f"{min(missing)} is missing")
    if unknown := tensors.keys() - own.keys() - optional:
        raise ValueError(f"{min(unknown)} is not part of this run")
    for name, tensor in tensors.items():
        like = own.get(name, tensor)
        if (tensor.shape, tensor.dtype) != (like.shape, like.dtype):
            raise ValueError(f"{name} is {tensor.dtype}{list(tensor.shape)}")
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ValueError(f"{name} is not finite")
