"""A run half-done, on disk: trained on from there, it ends with the weights it would have had.

One file, written whole or not at all: what is trained, the optimizer's state, every source of
random numbers, and the epochs so far. It goes when the run is completed.
"""

import json
import logging
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import torch
from msgspec import Meta
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from visionsweep.models.classifier import Classifier
from visionsweep.runs.fields import Digest, Natural, Tree
from visionsweep.runs.paths import CHECKPOINT
from visionsweep.runs.scores import Epoch
from visionsweep.runs.validation import check_config, check_history
from visionsweep.storage.files import write_atomically
from visionsweep.storage.untrusted import check_regular, decode_json

log = logging.getLogger(__name__)

_MOMENTS = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer")
_OptimizerKey = Annotated[str, Meta(pattern=r"\A\d{1,6}\.[a-z_]{1,40}\Z")]
_MersenneTwister = Annotated[
    tuple[Annotated[int, Meta(ge=0, lt=2**32)], ...], Meta(min_length=625, max_length=625)
]


class Progress(msgspec.Struct):
    """How far a half-done run has come.

    Attributes:
        fingerprint: of the experiment.
        config: its configuration, to say what has changed where the fingerprint is another.
        history: the epochs so far.
        continued_after: epochs after which the run was taken up again before.
        images_at_once: what device memory held of a batch; None: all of it.
    """

    fingerprint: Digest
    config: Tree
    history: list[Epoch] = []
    continued_after: list[Natural] = []
    images_at_once: Natural | None = None


@dataclass(frozen=True)
class Trained:
    """All that changes while a run trains.

    Attributes:
        module: heads, or a classifier with them.
        optimizer: of its parameters.
        orders: sources of the order in which training images come.
    """

    module: nn.Module
    optimizer: torch.optim.Optimizer
    orders: Sequence[torch.Generator]

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return what is trained by name: the heads', or with a trained backbone all of them."""
        if isinstance(self.module, Classifier) and not self.module.frozen:
            named = self.module.state_dict()
        else:
            named = {f"head.{name}": each for name, each in self._heads.state_dict().items()}
        return {name: tensor.detach().cpu().contiguous() for name, tensor in named.items()}

    @property
    def _device(self) -> torch.device:
        return next(self.module.parameters()).device

    @property
    def _heads(self) -> Any:
        return self.module.head if isinstance(self.module, Classifier) else self.module

    @property
    def _generators(self) -> list[torch.Generator]:
        return [*self.orders, *self._heads.sources]

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """Return all of it: tensors, and what is no tensor, fit for JSON."""
        tensors = {f"trained.{name}": tensor for name, tensor in self.tensors().items()}
        plain: dict[str, Any] = {"optimizer": {}}
        for parameter, values in self.optimizer.state_dict()["state"].items():
            for key, value in values.items():
                if isinstance(value, torch.Tensor):
                    tensors[f"optimizer.{parameter}.{key}"] = value.detach().cpu().contiguous()
                else:
                    plain["optimizer"][f"{parameter}.{key}"] = value
        for number, source in enumerate(self._generators):
            tensors[f"random.{number}"] = source.get_state()
        tensors["random.torch"] = torch.get_rng_state()
        if (device_state := _random_state(self._device)) is not None:
            tensors["random.device"] = device_state
        kind, keys, *rest = np.random.get_state(legacy=True)
        tensors["random.numpy"] = torch.from_numpy(np.asarray(keys).astype(np.int64))
        plain["numpy"] = [kind, *rest]
        plain["python"] = random.getstate()
        return tensors, plain

    def restore(self, tensors: Mapping[str, torch.Tensor], plain: "_Plain") -> None:
        """Put everything back as it was when `state` was called.

        Raises:
            ValueError: if it was the state of something else; nothing is changed then.
        """
        self._check(tensors)
        named = {k.partition(".")[2]: t for k, t in tensors.items() if k.startswith("trained.")}
        whole = self.module if isinstance(self.module, Classifier) else _Holding(self.module)
        whole.load_state_dict(named, strict=False)
        state: dict[int, dict[str, Any]] = {}
        kept = {k.partition(".")[2]: t for k, t in tensors.items() if k.startswith("optimizer.")}
        for key, value in (kept | plain.optimizer).items():
            parameter, _, name = key.partition(".")
            state.setdefault(int(parameter), {})[name] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        for index, source in enumerate(self._generators):
            source.set_state(tensors[f"random.{index}"])
        torch.set_rng_state(tensors["random.torch"])
        if "random.device" in tensors:
            _set_random_state(self._device, tensors["random.device"])
        keys = tensors["random.numpy"].numpy().astype(np.uint32)
        np.random.set_state((plain.numpy[0], keys, *plain.numpy[1:]))
        random.setstate(plain.python)

    def _check(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Refuse tensors of other names, shapes or types than those that `state` returns."""
        wanted = {f"trained.{name}": tensor for name, tensor in self.tensors().items()}
        for number, source in enumerate(self._generators):
            wanted[f"random.{number}"] = source.get_state()
        wanted["random.torch"] = torch.get_rng_state()
        wanted["random.numpy"] = torch.zeros(624, dtype=torch.int64)
        for name, tensor in tensors.items():
            if name not in wanted and not self._is_state(name, tensor):
                raise ValueError(f"it holds {name}, which this run does not train")
        for name, right_one in wanted.items():
            found = tensors.get(name)
            if found is None or found.shape != right_one.shape or found.dtype != right_one.dtype:
                raise ValueError(f"it holds other tensors than this run trains: {name}")
        for name, parameter in self.module.named_parameters():
            found = tensors.get(f"trained.{name}", tensors.get(f"trained.head.{name}", parameter))
            if not found.isfinite().all():
                raise ValueError(f"{name} is not finite")

    def _is_state(self, name: str, tensor: torch.Tensor) -> bool:
        """Say whether a tensor may be of the optimizer, or of a GPU's random numbers."""
        kind, _, rest = name.partition(".")
        index, _, key = rest.partition(".")
        if kind == "random":
            return index in ("device", "cuda") and tensor.dtype == torch.uint8 and tensor.ndim == 1
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        if kind != "optimizer" or not index.isdecimal() or int(index) >= len(parameters):
            return False
        shape = torch.Size() if key == "step" else parameters[int(index)].shape
        alike = tensor.shape == shape and tensor.dtype == torch.float32
        return key in (*_MOMENTS, "step") and alike and bool(tensor.isfinite().all())


class _Plain(msgspec.Struct):
    """What of a state is no tensor: of the optimizer, of NumPy's and of Python's random numbers."""

    optimizer: dict[_OptimizerKey, Annotated[float, Meta(ge=0)] | bool | None]
    numpy: tuple[Literal["MT19937"], Annotated[int, Meta(ge=0, le=624)], Literal[0, 1], float]
    python: tuple[Literal[3], _MersenneTwister, float | None]


class _Holding(nn.Module):
    """Gives heads the names that they have in a classifier."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head


def _random_state(device: torch.device) -> torch.Tensor | None:
    """Return the state of a device's random numbers; asking other GPUs would occupy them."""
    if device.type == "cuda":
        return torch.cuda.get_rng_state(device)
    return torch.mps.get_rng_state() if device.type == "mps" else None


def _set_random_state(device: torch.device, state: torch.Tensor) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    elif device.type == "mps":
        torch.mps.set_rng_state(state)


class Checkpoint:
    """The checkpoint of one run.

    Args:
        run_dir: the run's directory.
        every: seconds from one writing to the next, at least; 0 writes after each epoch.
    """

    def __init__(self, run_dir: Path, every: float = 0.0) -> None:
        self.path = run_dir / CHECKPOINT
        self._every = every
        self._written = time.monotonic()

    def read(self) -> Progress | None:
        """Return how far the run has come, or None where no checkpoint can be read."""
        try:
            check_regular(self.path)
            with safe_open(self.path, framework="pt") as opened:
                progress = decode_json((opened.metadata() or {}).get("progress", ""), Progress)
            check_config(progress.config)
            check_history(progress.history)
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError, ValueError) as error:
            self._unusable(error)
            return None
        return progress

    def restore(self, trained: Trained) -> bool:
        """Put what is trained into the state that was written; say whether that was possible."""
        try:
            check_regular(self.path)
            with safe_open(self.path, framework="pt") as opened:
                tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
                plain = decode_json((opened.metadata() or {}).get("plain", ""), _Plain)
            trained.restore(tensors, plain)
        except (OSError, SafetensorError, KeyError, RuntimeError, ValueError) as error:
            self._unusable(error)
            return False
        return True

    def _unusable(self, error: Exception) -> None:
        log.warning("%s cannot be used, so the run begins anew: %s", self.path, error)

    @property
    def due(self) -> bool:
        """Whether the last writing is long enough ago."""
        return time.monotonic() - self._written >= self._every

    def write(self, trained: Trained, progress: Progress) -> None:
        """Write the state at the end of an epoch."""
        tensors, plain = trained.state()
        facts = {"progress": msgspec.json.encode(progress).decode(), "plain": json.dumps(plain)}
        write_atomically(self.path, save(tensors, facts))
        self._written = time.monotonic()

    def remove(self) -> None:
        """Forget it: the run is completed."""
        self.path.unlink(missing_ok=True)
