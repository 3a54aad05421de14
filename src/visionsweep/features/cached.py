"""Features of images: out of the store, and extracted now where the store has none."""

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import torch

from visionsweep.config.schema import FeaturesConfig, parse_size
from visionsweep.data.images import ImageFile, digest_of
from visionsweep.data.transforms import Preprocessing
from visionsweep.features.device_backbone import DeviceBackbone, feature_dtype
from visionsweep.features.extraction import BATCH_SIZE, Extractor
from visionsweep.features.store import FeatureStore
from visionsweep.models.lazy_model import LazyModel
from visionsweep.runtime import provenance
from visionsweep.runtime.devices import device_facts
from visionsweep.storage.cache import cache_folder
from visionsweep.text.paths import as_path, as_text

# Packages whose release may change a feature's last bits.
_DECIDE_NUMBERS = ("torch", "torchvision", "timm", "pillow")


def cache_dir(config: FeaturesConfig) -> Path:
    """Return the cache folder: features, model summaries, image digests."""
    return cache_folder(config.cache_dir)


def image_memory(config: FeaturesConfig, root: str) -> Path:
    """Return the file that remembers what the images below a data set's root hold."""
    place = as_text(as_path(root).absolute())
    return cache_dir(config) / "images" / f"{digest_of(place.encode())}.json"


@cache
def _store(
    cache: Path, max_size: str, key: str, about: tuple[tuple[str, str], ...]
) -> FeatureStore:
    """Return the store of a key, one object for the life of the process: its shards stay mapped."""
    return FeatureStore(cache / "features" / key, key, dict(about), parse_size(max_size))


def cached_features(
    files: Sequence[ImageFile],
    network: LazyModel,
    preprocessing: Preprocessing,
    device: torch.device,
    config: FeaturesConfig,
) -> torch.Tensor:
    """Return the features of images under a frozen backbone.

    The backbone is built and images are opened only if the store lacks something.

    Args:
        files: the images; copies of one image share an entry.
        network: whose backbone.
        preprocessing: how an image becomes a tensor.
        device: where to compute what is missing.
        config: where the store is, and how large it may grow.

    Returns:
        `float32[N, width]` on the CPU, in the order of the files.
    """
    spec = network.spec
    versions = provenance.versions() | {"torch": torch.__version__}  # with its build, as +cu130
    about = {
        "model": spec.name,
        "weights": spec.weights,
        "fingerprint": spec.fingerprint,
        "transform": repr(preprocessing.facts()),
        "device": ", ".join([*_kernels(device), f"batches of {BATCH_SIZE[device.type]}"]),
        "versions": ", ".join(f"{p} {versions[p]}" for p in _DECIDE_NUMBERS if p in versions),
    }
    key = digest_of(repr(sorted(about.items())).encode())
    store = _store(cache_dir(config), config.max_size, key, tuple(about.items()))
    by_digest = {file.digest: file for file in files}

    def extract(missing: list[str]) -> Iterator[tuple[list[str], torch.Tensor]]:
        backbone = DeviceBackbone(network.backbone.module, preprocessing, device, spec.name)
        return Extractor(backbone).extract([by_digest[digest] for digest in missing])

    return store.get([file.digest for file in files], extract)


def _kernels(device: torch.device) -> list[str]:
    """List what of a device decides the last bits of features."""
    if device.type == "cpu":
        return ["cpu"]
    facts = device_facts(device)
    named = ("name", "capability", "cuda", "cudnn", "tf32")
    precision = str(feature_dtype(device)).removeprefix("torch.")
    return [device.type, precision, *(f"{name} {facts[name]}" for name in named if name in facts)]
