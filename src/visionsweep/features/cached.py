"""Return features of images: from the feature store, or extracted if it lacks them."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from visionsweep.command_memory import remembered
from visionsweep.config.schema import FeaturesConfig
from visionsweep.config.values import parse_size
from visionsweep.data.images import ImageFile, digest_of
from visionsweep.data.transforms import Augmentation, Preprocessing
from visionsweep.data.views import View, views_of
from visionsweep.features.device_backbone import DeviceBackbone, feature_dtype
from visionsweep.features.extraction import BATCH_SIZE, ROUND, extract
from visionsweep.features.store import FeatureStore
from visionsweep.models.lazy_model import LazyModel
from visionsweep.runtime import provenance
from visionsweep.runtime.devices import device_facts
from visionsweep.storage.cache import cache_folder
from visionsweep.storage.rates import keep_rate, read_rate
from visionsweep.text.paths import as_path, as_text

_FEWEST_TIMED = 64  # images of an extraction whose rate is kept
# Packages whose releases may change the last bits of features.
_NUMERIC_PACKAGES = ("torch", "torchvision", "timm", "pillow")


def cache_dir(config: FeaturesConfig) -> Path:
    """Return the cache folder: features, model summaries, image digests."""
    return cache_folder(config.cache_dir)


def image_cache_file(config: FeaturesConfig, root: str) -> Path:
    """Return the file with the cached facts about the images below a root folder."""
    absolute = as_text(as_path(root).absolute())
    return cache_dir(config) / "images" / f"{digest_of(absolute.encode())}.json"


@remembered()
def _store(
    cache: Path, max_size: str, key: str, about: tuple[tuple[str, str], ...]
) -> FeatureStore:
    """Return the store of a key. There is one per command, so that its shards stay mapped."""
    return FeatureStore(cache / "features" / key, key, dict(about), parse_size(max_size))


def cached_features(
    files: Sequence[ImageFile | View],
    network: LazyModel,
    preprocessing: Preprocessing,
    device: torch.device,
    config: FeaturesConfig,
    augmentation: Augmentation | None = None,
) -> torch.Tensor:
    """Return the features of images, or of views under an augmentation, of a frozen backbone.

    The backbone is built, and images are opened, only if the store lacks features. Copies of an
    image share an entry.

    Returns:
        `float32[N, width]` on the CPU, in the order of the files.
    """
    store = store_of(network, preprocessing, device, config, augmentation)
    by_digest = {file.digest: file for file in files}

    def extract_missing(missing: Iterator[str]) -> Iterator[tuple[list[str], torch.Tensor]]:
        start, count = time.perf_counter(), 0
        module, dtype = network.backbone.module, feature_dtype(device, config.precision)
        backbone = DeviceBackbone(module, preprocessing, device, network.spec.name, dtype)
        for batch, features in extract(backbone, (by_digest[digest] for digest in missing)):
            count += len(batch)
            yield batch, features
        if count >= _FEWEST_TIMED:
            rate = count / (time.perf_counter() - start)
            keep_rate(cache_dir(config), *rate_of(network, device, config), rate, _cost(network))

    digests = [file.digest for file in files]
    return store.get(digests, extract_missing, part=ROUND * BATCH_SIZE[device.type])


def rate_of(network: LazyModel, device: torch.device, config: FeaturesConfig) -> tuple[str, str]:
    """Return kind and name of the rate of extraction, images per second, as in `rates`."""
    kind = f"extraction on {device.type}, {feature_dtype(device, config.precision)}"
    return kind, f"{network.spec.fingerprint} {network.size}"


def extraction_rate(
    network: LazyModel, device: torch.device, config: FeaturesConfig
) -> tuple[float, bool] | None:
    """Return images per second of earlier extractions on this machine, as `read_rate` does."""
    return read_rate(cache_dir(config), *rate_of(network, device, config), _cost(network))


def _cost(network: LazyModel) -> float:
    return float(network.summary.multiply_adds)


def store_of(
    network: LazyModel,
    preprocessing: Preprocessing,
    device: torch.device,
    config: FeaturesConfig,
    augmentation: Augmentation | None = None,
) -> FeatureStore:
    """Return the store of the features of a backbone; arguments as of `cached_features`."""
    spec = network.spec
    dtype = feature_dtype(device, config.precision)
    versions = provenance.versions() | {"torch": torch.__version__}  # with its build, as +cu130
    about = {
        "model": spec.name,
        "weights": spec.weights,
        "fingerprint": spec.fingerprint,
        "transform": repr(preprocessing.facts()),
        "device": ", ".join([*_kernels(device, dtype), f"batches of {BATCH_SIZE[device.type]}"]),
        "versions": ", ".join(f"{p} {versions[p]}" for p in _NUMERIC_PACKAGES if p in versions),
    }
    if augmentation is not None:
        about["augmentation"] = augmentation.name
    key = digest_of(repr(sorted(about.items())).encode())
    return _store(cache_dir(config), config.max_size, key, tuple(about.items()))


def cached_views(
    features: torch.Tensor,
    files: Sequence[ImageFile],
    count: int,
    augmentation: Augmentation | None,
    network: LazyModel,
    preprocessing: Preprocessing,
    device: torch.device,
    config: FeaturesConfig,
) -> torch.Tensor:
    """Return the features of `count` views of each image, `float32[N, count, width]` on the CPU.

    The first view is the image, whose features are given. Other arguments as of `cached_features`.
    """
    first = features.unsqueeze(1)
    if count == 1 or augmentation is None:
        return first
    views = [view for file in files for view in views_of(file, augmentation, count)]
    random = cached_features(views, network, preprocessing, device, config, augmentation)
    return torch.cat([first, random.unflatten(0, (len(files), -1))], dim=1)


def _kernels(device: torch.device, dtype: torch.dtype) -> list[str]:
    """Return the properties of a device that affect the last bits of features."""
    precision = str(dtype).removeprefix("torch.")
    if device.type == "cpu":
        return ["cpu"] if dtype == torch.float32 else ["cpu", precision]
    facts = device_facts(device)
    named = ("name", "capability", "cuda", "cudnn", "tf32")
    return [device.type, precision, *(f"{name} {facts[name]}" for name in named if name in facts)]
