"""A run of one second on eighteen images."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from visionsweep.config.schema import (
    AugmentationConfig,
    Config,
    DataConfig,
    FeaturesConfig,
    ModelConfig,
    OptimizerConfig,
    TrainingConfig,
    TransformConfig,
)
from visionsweep.training import loop


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def config(tmp_path, cache) -> Config:
    """A configuration of a run of one second: a random ShuffleNet on eighteen images."""
    random = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 3), ("test", 2)):
        for label in ("cat", "dog"):
            for index in range(count):
                path = tmp_path / "pictures" / split / label / f"{index}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(random.integers(0, 255, (40, 40, 3), np.uint8)).save(path)
    return Config(
        model=ModelConfig(label="shufflenet", name="shufflenet_v2_x0_5", weights=None),
        data=DataConfig(label="folder", source="folder", root=str(tmp_path / "pictures")),
        transform=TransformConfig(name="resize", size=32),
        augmentation=AugmentationConfig(name="none"),
        optimizer=OptimizerConfig(name="Adam", lr=1e-3, fine_tuning_lr=1e-4),
        training=TrainingConfig(name="feature_extraction", freeze_backbone=True, replicates=2),
        features=FeaturesConfig(cache_dir=str(cache)),
        epochs=2,
        replicates=2,
        outputs_dir=str(tmp_path / "outputs"),
        sweep_dir=str(tmp_path / "outputs" / "sweep"),
    )


@pytest.fixture
def run_dir(tmp_path) -> Path:
    return tmp_path / "outputs" / "sweep" / "a-run"


@pytest.fixture
def interrupted(monkeypatch) -> Callable[[int], AbstractContextManager[None]]:
    """Interrupt training, as Ctrl-C does, after the given epoch."""

    @contextmanager
    def interrupt(last: int) -> Iterator[None]:
        fit = loop.fit

        def cut(module, batches, optimizer, epochs, device, on_epoch, **more):
            def interrupting(epoch):
                on_epoch(epoch)
                if epoch.epoch == last:
                    raise KeyboardInterrupt

            return fit(module, batches, optimizer, epochs, device, interrupting, **more)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(loop, "fit", cut)
            yield

    return interrupt
