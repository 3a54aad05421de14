"""Simulated runs whose true scores are known, and predictions with losses that are written down."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from visionsweep.analysis.metrics import per_replicate
from visionsweep.analysis.predictions import Predictions


@dataclass(frozen=True)
class Population:
    """Simulated logits of runs on images of three classes.

    Attributes:
        ease: mean margin of the true class.
        difficulty: standard deviation of the margin over images.
        looks: standard deviation of the similarity of an image to each class.
        seeds: standard deviation over replicates, common to all images.
        interaction: standard deviation over replicates on each image.
        recipes: standard deviation over runs on each image, common to their replicates.
        sharpness: factor of the logits; above about 0.6, runs are overconfident.
    """

    ease: float = 2.0
    difficulty: float = 1.2
    looks: float = 0.7
    seeds: float = 0.1
    interaction: float = 0.3
    recipes: float = 0.3
    sharpness: float = 1.0

    def draw(
        self,
        source: np.random.Generator,
        images: int,
        replicates: int,
        ahead: Sequence[float] = (0.0,),
    ) -> list[Predictions]:
        """Draw images and a run for each of `ahead`: how much easier it finds the true class."""
        labels = source.integers(3, size=images)
        true = np.eye(3)[labels]
        common = self.looks * source.normal(size=(images, 3))
        common += true * (self.ease + self.difficulty * source.normal(size=(images, 1)))
        runs = []
        for more in ahead:
            logits = common + true * more + self.recipes * source.normal(size=(images, 3))
            logits = logits + self.interaction * source.normal(size=(replicates, images, 3))
            logits = logits + true * self.seeds * source.normal(size=(replicates, 1, 1))
            logits += self.seeds / 2 * source.normal(size=(replicates, 1, 3))
            logits *= self.sharpness
            runs.append(
                Predictions(logits.astype(np.float32), labels, tuple(map(str, range(images))))
            )
        return runs

    def truth(self, ahead: float = 0.0) -> dict[str, float]:
        """Return what the metrics are over very many images and seeds."""
        source = np.random.default_rng(20)
        drawn = [per_replicate(self.draw(source, 5_000, 10, (ahead,))[0]) for _ in range(20)]
        return {name: float(np.mean([each[name] for each in drawn])) for name in drawn[0]}


@pytest.fixture(scope="session")
def population() -> type[Population]:
    return Population


@pytest.fixture(scope="session")
def with_losses() -> Callable[..., Predictions]:
    """Make predictions of two classes with given losses, `[N]` or `[R, N]`."""

    def make(losses, images: Sequence[str] | None = None) -> Predictions:
        losses = np.atleast_2d(np.asarray(losses, np.float64))
        ahead = -np.log(np.expm1(losses))  # of the true class, 0
        logits = np.stack([ahead, np.zeros_like(ahead)], axis=2).astype(np.float32)
        count = losses.shape[1]
        names = tuple(images or map(str, range(count)))
        return Predictions(logits, np.zeros(count, np.int64), names)

    return make
