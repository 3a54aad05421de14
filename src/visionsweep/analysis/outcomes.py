"""What the heads of a run made of the images of one split; all evidence is computed from this."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Outcomes:
    """The logits of every replicate for every image of a split.

    What is derived is kept, except what is as large as the logits: a thousand runs are held at
    once.

    Attributes:
        logits: `float32[R, N, C]`: replicates, images, classes.
        labels: `int64[N]`.
        images: content digests of the images; names what two runs have in common.
    """

    logits: NDArray[np.float32]
    labels: NDArray[np.int64]
    images: tuple[str, ...]

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
        """Probability of the class each replicate takes each image for, `float64[R, N]`."""
        result: Floats = np.exp(self.logits.max(2) - self._normalizers)
        return result

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        """The class each replicate takes each image for, `int64[R, N]`."""
        result: NDArray[np.int64] = self.logits.argmax(2)
        return result

    @cached_property
    def hits(self) -> NDArray[np.bool_]:
        """Whether each replicate is right about each image, `bool[R, N]`."""
        result: NDArray[np.bool_] = self.predicted == self.labels
        return result

    @cached_property
    def finite(self) -> NDArray[np.bool_]:
        """Which replicates have finite logits throughout, `bool[R]`; the others diverged."""
        return np.array([np.isfinite(each).all() for each in self.logits])

    @cached_property
    def _normalizers(self) -> Floats:
        with np.errstate(invalid="ignore"):
            result: Floats = logsumexp(self.logits.astype(np.float64), axis=2)
        return result

    def of_replicates(self, chosen: NDArray[np.bool_]) -> "Outcomes":
        """Return the outcomes of some replicates, `chosen: bool[R]`."""
        return Outcomes(self.logits[chosen], self.labels, self.images)

    def by_image(self) -> "Outcomes":
        """Return the same with images in the order of their digests: runs may list them in others.

        Copies of an image under two labels come in the order of the labels.
        """
        order = np.lexsort((self.labels, np.array(self.images)))
        images = tuple(self.images[k] for k in order)
        return Outcomes(self.logits[:, order], self.labels[order], images)
