"""Small pictures with labels, and networks that are quick to build."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from visionsweep.command_memory import fresh_memory
from visionsweep.config.schema import FeaturesConfig, ModelConfig
from visionsweep.data.image_facts import inspect
from visionsweep.data.images import ImageFile
from visionsweep.data.synthetic import sample
from visionsweep.data.transforms import Preprocessing, resized
from visionsweep.features.cached import cached_features
from visionsweep.models.backbone_spec import resolve_backbone
from visionsweep.models.lazy_model import LazyModel

SIZE = 64  # pixels a side


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Compute in one thread.

    Threads that wait for one another spin: with other work on the machine that takes ten times as
    long.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def draw(path: Path, seed: int) -> Path:
    """Write a rendered scene."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = sample.CLASSES[seed % len(sample.CLASSES)]
    path.write_bytes(sample.jpeg("test", kind, seed, 80))
    return path


@pytest.fixture
def draw_to() -> Callable[[Path, int], Path]:
    """Write a picture that a seed decides."""
    return draw


@pytest.fixture
def look_at() -> Callable[[list[Path]], list[ImageFile]]:
    """Look at images as an experiment does."""
    return lambda paths: [ImageFile(path, 0, i.digest) for path, i in inspect(paths).items()]


@pytest.fixture
def files(tmp_path: Path, look_at) -> list[ImageFile]:
    """Twelve different pictures."""
    return look_at([draw(tmp_path / "images" / f"{i:02d}.jpg", seed=i) for i in range(12)])


@pytest.fixture
def make_network(tmp_path: Path) -> Callable[..., LazyModel]:
    """Name a frozen network with random weights; nothing is built yet."""

    def make(name: str = "squeezenet1_1", size: int = SIZE) -> LazyModel:
        spec = resolve_backbone(
            ModelConfig(label=name, name=name, weights=None), random_if_unavailable=False
        )
        return LazyModel(spec, size, 3, True, tmp_path / "cache" / "networks")

    return make


@pytest.fixture
def features(tmp_path: Path) -> Callable[..., torch.Tensor]:
    """Compute features as a new command does, with a store below `tmp_path / "cache"`."""

    def ask(
        files: list[ImageFile],
        network: LazyModel,
        preprocessing: Preprocessing | None = None,
        cache: str = "cache",
        max_size: str = "1 GB",
        same_command: bool = False,
        precision: str = "auto",
    ) -> torch.Tensor:
        config = FeaturesConfig(str(tmp_path / cache), max_size, precision)
        preprocessing = preprocessing or resized(SIZE)
        with nullcontext() if same_command else fresh_memory():
            return cached_features(files, network, preprocessing, torch.device("cpu"), config)

    return ask
