"""Weights files of one's own: found, kept in the cache by content, and compared with a network."""

from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch

from visionsweep.config.own_weights import FOLDER, kept_path, metadata_of
from visionsweep.errors import UserError
from visionsweep.models import weights_files
from visionsweep.models.pretrained_weights import WeightsUnavailableError
from visionsweep.models.weights_files import WeightsFile, check
from visionsweep.storage.cache import keep

_OF_HEAD = ("head.weight", "head.bias", "temperature")  # in the files of runs
# Put before all names by Lightning, wrappers of torch, and our classifiers.
_PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "network.")
_DIGITS = 12
_CONTENT = "content"  # metadata of a kept file: digest of the pickle that it was read from
_LISTED = 5  # names of tensors in a message


def find(path: Path, cache: Path) -> tuple[WeightsFile, str]:
    """Return a weights file, or its copy in the cache, and the digest of its content.

    Raises:
        WeightsUnavailableError: if there is no such file.
        UserError: if it is not a regular file, or too large.
    """
    if not path.exists():
        hint = (
            "It was kept in the cache by runs with model=local model.weights=FILE. Train one here, "
            "or copy the cache's folder of weights."
            if path.parent == cache / FOLDER
            else "Name your file: model.weights=FILE"
        )
        raise WeightsUnavailableError("no such weights file", where=path, hint=hint)
    file = check(path, None, follow_links=True)
    if path.parent == cache / FOLDER:
        return file, metadata_of(path).get(_CONTENT, file.digest)
    kept = kept_path(cache, file.digest[:_DIGITS])
    if path.suffix != ".safetensors" and metadata_of(kept).get(_CONTENT) == file.digest:
        return check(kept, None), file.digest
    return file, file.digest


def label(digest: str) -> str:
    """Return the label of weights in tables and records: it depends on their content alone."""
    return f"local@{digest[:_DIGITS]}"


def keep_copy(file: WeightsFile, cache: Path) -> None:
    """Keep a weights file in the cache, so that runs on it can predict when the file has gone.

    A pickle is kept as safetensors.
    """
    kept = kept_path(cache, file.digest[:_DIGITS])
    if kept.exists() or file.path.parent == kept.parent:
        return
    if file.path.suffix == ".safetensors":
        keep(kept, file.path.read_bytes())
        return
    tensors = {name: t.contiguous().clone() for name, t in read(file).items()}
    keep(kept, safetensors.torch.save(tensors, {_CONTENT: file.digest}))


def read(file: WeightsFile) -> dict[str, torch.Tensor]:
    """Read the tensors of a network, without the head of a run and without prefixes of wrappers.

    Raises:
        UserError: if the file is damaged, holds no tensors, or contains code.
    """
    state = weights_files.read(file, follow_links=True, wrapped=True)
    if all(name in _OF_HEAD or name.startswith("backbone.") for name in state):
        state = {name: tensor for name, tensor in state.items() if name not in _OF_HEAD}
        if not state:
            raise UserError("holds a head, and no backbone", where=file.path)
    while prefix := next((p for p in _PREFIXES if state and _all_start(state, p)), None):
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def _all_start(state: Mapping[str, torch.Tensor], prefix: str) -> bool:
    return all(name.startswith(prefix) for name in state)


def mismatch(state: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor]) -> str | None:
    """Describe how tensors differ from those of a network by name and shape; None if they fit.

    BatchNorm's counters of batches may be missing, as in old files.
    """
    missing = [k for k in own if k not in state and not k.endswith("num_batches_tracked")]
    unexpected = sorted(k for k in state if k not in own)
    others = [
        f"{k} {list(state[k].shape)}, not {list(own[k].shape)}"
        for k in own
        if k in state and state[k].shape != own[k].shape
    ]
    parts = [
        f"{len(names)} {what}: {', '.join(names[:_LISTED])}{', ...' * (len(names) > _LISTED)}"
        for names, what in (
            (missing, "missing"),
            (unexpected, "unexpected"),
            (others, "of another shape"),
        )
        if names
    ]
    return "; ".join(parts) or None
