"""Small pictures with labels, and networks that are quick to build."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from visionsweep.config import FeaturesConfig, ModelConfig
from visionsweep.data.images import ImageFile, inspect
from visionsweep.data.transforms import Preprocessing, resized
from visionsweep.features import cached, extraction
from visionsweep.models.backbones import identify
from visionsweep.models.network import Network

SIZE = 64  # pixels a side


@pytest.fixture(autouse=True)
def _fresh_process() -> None:
    """Forget what is remembered for the life of a process: mapped shards, decoded images."""
    cached._store.cache_clear()
    extraction._pixels.clear()


def draw(path: Path, seed: int) -> Path:
    """Write a picture of a few coloured rectangles."""
    random = np.random.default_rng(seed)
    pixels = np.full((80, 72, 3), random.integers(0, 256, 3), np.uint8)
    for _ in range(5):
        top, left = random.integers(0, 60, 2)
        pixels[top : top + 24, left : left + 24] = random.integers(0, 256, 3)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def as_files(paths: list[Path]) -> list[ImageFile]:
    """Look at images as an experiment does."""
    return [ImageFile(path, 0, str(found)) for path, found in inspect(paths).items()]


@pytest.fixture
def files(tmp_path: Path) -> list[ImageFile]:
    """Twelve different pictures."""
    return as_files([draw(tmp_path / "images" / f"{i:02d}.png", seed=i) for i in range(12)])


@pytest.fixture
def make_network(tmp_path: Path) -> Callable[..., Network]:
    """Name a frozen network with random weights; nothing is built yet."""

    def make(name: str = "resnet18", size: int = SIZE) -> Network:
        identity = identify(
            ModelConfig(label=name, name=name, weights=None), random_if_unavailable=False
        )
        return Network(identity, size, 3, True, tmp_path / "cache" / "networks")

    return make


@pytest.fixture
def features(tmp_path: Path) -> Callable[..., torch.Tensor]:
    """Ask for features as a new process would, of a store below `tmp_path / "cache"`."""

    def ask(
        files: list[ImageFile],
        network: Network,
        preprocessing: Preprocessing | None = None,
        cache: str = "cache",
        max_size: str = "1 GB",
    ) -> torch.Tensor:
        cached._store.cache_clear()
        config = FeaturesConfig(str(tmp_path / cache), max_size)
        preprocessing = preprocessing or resized(SIZE)
        return cached.features_of(files, network, preprocessing, torch.device("cpu"), config)

    return ask
