"""The checkpoint of a run in progress: one safetensors file, written atomically.

It holds the tensors of the training state and, as JSON in its metadata, how far the run has come.
It may come from anybody, so it is validated, and nothing in it is unpickled.
"""

import logging
from pathlib import Path

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from visionsweep.runs.fields import Digest, Natural, Tree
from visionsweep.runs.scores import Epoch
from visionsweep.runs.validation import check_config, check_history
from visionsweep.storage.files import write_atomically
from visionsweep.storage.untrusted import check_regular, decode_json

log = logging.getLogger(__name__)


class Progress(msgspec.Struct, frozen=True):
    """How far a run has come.

    Attributes:
        fingerprint: fingerprint of the run.
        config: its configuration, to report what changed if the fingerprint differs.
        history: scores of the epochs so far.
        resumed_after: epochs after which the run was resumed.
        images_at_once: micro-batch size that device memory held; None: a whole batch.
    """

    fingerprint: Digest
    config: Tree
    history: list[Epoch] = []
    resumed_after: list[Natural] = []
    images_at_once: Natural | None = None


def write_checkpoint(path: Path, tensors: dict[str, torch.Tensor], progress: Progress) -> None:
    """Write a checkpoint.

    Args:
        path: the file.
        tensors: training state, `TrainState.tensors()`.
        progress: progress of the run.
    """
    write_atomically(path, save(tensors, {"progress": msgspec.json.encode(progress).decode()}))


def read_progress(path: Path) -> Progress | None:
    """Return how far a run in progress has come, or None where no usable checkpoint is."""
    try:
        check_regular(path)
        with safe_open(path, framework="pt") as file:
            return _progress(file.metadata())
    except (OSError, SafetensorError, ValueError):
        return None  # read_checkpoint warns


def _progress(metadata: dict[str, str] | None) -> Progress:
    progress = decode_json((metadata or {}).get("progress", ""), Progress)
    check_config(progress.config)
    check_history(progress.history)
    return progress


def read_checkpoint(path: Path) -> tuple[dict[str, torch.Tensor], Progress] | None:
    """Return what was written, or None, with a warning, where no usable checkpoint is."""
    try:
        check_regular(path)
        with safe_open(path, framework="pt") as file:
            progress = _progress(file.metadata())
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        return None
    except (OSError, SafetensorError, ValueError) as error:
        warn_unusable(path, error)
        return None
    return tensors, progress


def warn_unusable(path: Path, error: object) -> None:
    """Warn that a checkpoint is not used."""
    log.warning("%s is unusable, so the run starts anew: %s", path, error)
