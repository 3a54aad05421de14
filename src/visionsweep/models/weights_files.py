"""Hash and read weights files, safetensors or pickles, without executing code in them."""

import hashlib
import io
import os
import re
import zipfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import safetensors
import safetensors.torch
import torch

from visionsweep.command_memory import remembered
from visionsweep.errors import UserError
from visionsweep.storage.files import open_regular, why

MAX_BYTES = 8 << 30  # torchvision's largest file has 2.6 GB

_BLAKE2B = partial(hashlib.blake2b, digest_size=16)
_TENSORS = (torch.Tensor, torch.nn.Parameter)
_FETCHED_AGAIN = "Delete it, and it is fetched or installed again"
# Where training programs put the weights in a checkpoint, averaged ones first, as timm reads them.
_WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model_state_dict", "model")
_SAVED_AGAIN = (
    "Save the tensors alone, with safetensors.torch.save_file or torch.save of a state_dict"
)
_AGAIN = "Run the same command again once nobody writes to it"


@dataclass(frozen=True)
class WeightsFile:
    """A weights file with the BLAKE2b digest of its verified content, 32 hexadecimal digits."""

    path: Path
    digest: str


@remembered()
def _checked() -> dict[tuple[object, ...], WeightsFile]:
    return {}


def check(path: Path, sha256: str | None, *, follow_links: bool = False) -> WeightsFile:
    """Hash a weights file, and compare it with the first digits of its SHA-256, or all 64.

    Results are cached until the command ends, by device, inode, size, and modification and change
    times of the file.

    Raises:
        UserError: if it is not a regular file, is too large, or has another hash.
    """
    try:
        with open_regular(path, follow_links=follow_links) as file:
            facts = os.fstat(file.fileno())
            key = (
                path, sha256, facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns,
                facts.st_ctime_ns,
            )  # fmt: skip
            if key not in _checked():
                _refuse_size(path, facts.st_size)
                sha, blake = hashlib.sha256(), _BLAKE2B()
                while block := file.read(1 << 20):
                    sha.update(block)
                    blake.update(block)
                if sha256 and not sha.hexdigest().startswith(sha256.lower()):
                    raise UserError(
                        "not the published weights: the SHA-256 hash is "
                        f"{sha.hexdigest()[: len(sha256)]}, and should be {sha256}",
                        where=path,
                        hint=_FETCHED_AGAIN,
                    )
                _checked()[key] = WeightsFile(path, blake.hexdigest())
    except OSError as error:
        raise _unreadable(path, error) from error
    return _checked()[key]


def read(
    file: WeightsFile, *, follow_links: bool = False, wrapped: bool = False
) -> dict[str, torch.Tensor]:
    """Read the tensors of a weights file without executing code in it.

    The file is read into memory once. The same bytes are hashed and then parsed (safetensors), or
    unpickled by torch with `weights_only=True`, so a replaced file is detected. If `wrapped`, a
    pickle may be a training checkpoint that holds them under a usual name.

    Returns:
        Tensors by name, with the module versions of the file if it has them (`_metadata`, which
        `load_state_dict` reads).

    Raises:
        UserError: if the file has changed, is damaged, contains code, or contains anything but
            tensors.
    """
    path = file.path
    try:
        with open_regular(path, follow_links=follow_links) as opened:
            _refuse_size(path, os.fstat(opened.fileno()).st_size)
            content = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise _unreadable(path, error) from error
    if _BLAKE2B(content).hexdigest() != file.digest:
        raise UserError("the file has changed while it was in use", where=path, hint=_AGAIN)
    if path.suffix == ".safetensors":
        return _parsed(path, content, _SAVED_AGAIN if wrapped else _FETCHED_AGAIN)
    return _unpickled(path, content, wrapped)


def _parsed(path: Path, content: bytes, hint: str) -> dict[str, torch.Tensor]:
    try:
        return safetensors.torch.load(content)
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise UserError(
            f"not a readable safetensors file ({error})", where=path, hint=hint
        ) from error


def _unpickled(path: Path, content: bytes, wrapped: bool) -> dict[str, torch.Tensor]:
    _refuse_inflation(path, content)
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and EOF errors of every kind
        name = type(error).__name__  # EOFError has no message, and a KeyError a key
        reason = name if isinstance(error, LookupError) else (str(error).splitlines() or [name])[0]
        if other := re.search(r"GLOBAL ([\w.]+)", str(error)):
            reason = f"it holds objects that are no tensors: {other[1]}"
        hint = _SAVED_AGAIN if wrapped else _FETCHED_AGAIN
        raise UserError(f"not a readable weights file ({reason})", where=path, hint=hint) from error
    if wrapped and isinstance(state, dict):
        inner = (state.get(name) for name in _WRAPPERS)
        state = next((value for value in inner if isinstance(value, dict)), state)
    if not isinstance(state, dict) or not state:
        raise UserError(f"holds no weights but {type(state).__name__}", where=path)
    odd = [repr(k) for k, v in state.items() if not (isinstance(k, str) and type(v) in _TENSORS)]
    if odd:
        raise UserError(f"holds something else than tensors: {', '.join(odd[:3])}", where=path)
    versions = getattr(state, "_metadata", None)
    if versions is not None and not (
        isinstance(versions, dict)
        and all(isinstance(k, str) and isinstance(v, dict) for k, v in versions.items())
    ):
        raise UserError("holds versions of modules that cannot be read", where=path)
    return state


def _unreadable(path: Path, error: OSError) -> UserError:
    return UserError(
        f"cannot be read as a weights file: {why(error)}",
        where=path,
        hint="It must be a regular file; its parent folders may be links.",
    )


def _refuse_size(path: Path, size: int) -> None:
    if size > MAX_BYTES:
        raise UserError(
            f"{size:,} bytes are more than any weights file has ({MAX_BYTES:,})", where=path
        )


def _refuse_inflation(path: Path, content: bytes) -> None:
    """Refuse a zip archive (torch's format) that unpacks to more than the limit.

    Damaged archives are left to `torch.load`.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return
    _refuse_size(path, size)
