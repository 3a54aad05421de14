"""Predictions of the replicates of a run on the images of one split."""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from visionsweep.analysis.groups import Groups, numbered

Floats = NDArray[np.float64]

MANY_CLASSES = 100  # from which heads train with fused kernels and files are compact


@dataclass(frozen=True)
class Predictions:
    """Logits of every replicate for every image of a split.

    Derived arrays are cached, except those as large as the logits.

    Attributes:
        logits: `float32[R, N, C]`: replicates, images, classes.
        labels: `int64[N]`.
        images: content digests of the images, which identify them across runs.
        bootstrap: losses of heads on bootstrap samples of the training images, at the temperature
            of the run, `float32[B, N]`; None if there are none.
        groups: number of each image's group, `int64[N]`; None where images are independent.
    """

    logits: NDArray[np.float32]
    labels: NDArray[np.int64]
    images: tuple[str, ...]
    bootstrap: NDArray[np.float32] | None = None
    groups: Groups | None = None

    @property
    def log_probabilities(self) -> Floats:
        """Logarithms of the class probabilities, `float64[R, N, C]`."""
        result: Floats = self.logits.astype(np.float64) - self._normalizers[:, :, None]
        return result

    @cached_property
    def losses(self) -> Floats:
        """Cross-entropy in nats of each replicate on each image, `float64[R, N]`."""
        rows = np.arange(len(self.labels))
        result: Floats = self._normalizers - self.logits[:, rows, self.labels]
        return result

    @cached_property
    def confidence(self) -> Floats:
        """Probability of the predicted class, `float64[R, N]`."""
        result: Floats = np.exp(self.logits.max(2) - self._normalizers)
        return result

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        """Predicted class, `int64[R, N]`."""
        result: NDArray[np.int64] = self.logits.argmax(2)
        return result

    @cached_property
    def correct(self) -> NDArray[np.bool_]:
        """Whether each prediction is correct, `bool[R, N]`."""
        result: NDArray[np.bool_] = self.predicted == self.labels
        return result

    @cached_property
    def finite(self) -> NDArray[np.bool_]:
        """Which replicates have finite logits throughout, `bool[R]`; the others diverged."""
        result: NDArray[np.bool_] = np.asarray(np.isfinite(self.logits).all(axis=(1, 2)))
        return result

    @cached_property
    def _normalizers(self) -> Floats:
        """Logarithms of the sums over classes of exp(logits), `float64[R, N]`.

        As `scipy.special.logsumexp` computes them, in a fifth of the time.
        """
        by_class = self.logits.transpose(2, 0, 1).astype(np.float64, order="C")
        with np.errstate(invalid="ignore", divide="ignore"):
            top = by_class.max(0)
            at_top = by_class == top
            rest = np.where(at_top, 0.0, np.exp(by_class - top)).sum(0)
            count = at_top.sum(0)
            result: Floats = np.log1p(rest / count) + np.log(count) + top
        # laid out as the logits are, for sums are rounded by where numbers lie
        return result if self.logits.flags.c_contiguous else np.asfortranarray(result)

    def select_replicates(self, chosen: NDArray[np.bool_]) -> "Predictions":
        """Return the predictions of some replicates, `chosen: bool[R]`."""
        return Predictions(self.logits[chosen], self.labels, self.images, groups=self.groups)

    def select_images(self, chosen: NDArray[np.bool_]) -> "Predictions":
        """Return the predictions of some images, `chosen: bool[N]`."""
        images = tuple(i for i, taken in zip(self.images, chosen, strict=True) if taken)
        return self._at(np.flatnonzero(chosen), images)

    def sorted_by_image(self) -> "Predictions":
        """Return the predictions in the order of the images' digests, which all runs share.

        Copies of an image under two labels come in the order of the labels.
        """
        order, images = _by_image(self.images, self.labels.tobytes())
        return self._at(order, images)

    def _at(self, places: NDArray[np.int64], images: tuple[str, ...]) -> "Predictions":
        bootstrap = None if self.bootstrap is None else self.bootstrap[:, places]
        groups = None if self.groups is None else numbered(self.groups[places])
        return Predictions(self.logits[:, places], self.labels[places], images, bootstrap, groups)


@lru_cache(maxsize=8)
def _by_image(images: tuple[str, ...], labels: bytes) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return the order of images by digest, then label; the runs of a sweep have it in common."""
    order = np.lexsort((np.frombuffer(labels, np.int64), np.array(images)))
    return order, tuple(images[k] for k in order)
