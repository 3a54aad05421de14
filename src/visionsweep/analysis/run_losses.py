"""What comparisons need of a run, a hundredth of its predictions or less."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from visionsweep.analysis import resampling
from visionsweep.analysis.predictions import Floats, Predictions
from visionsweep.errors import UserError


@dataclass(frozen=True)
class RunLosses:
    """The losses of a run, so far that its replicates need not be kept.

    Attributes:
        images: content digests of the N images.
        means: `float64[N]`, loss on each image, mean over replicates.
        replicates: `float64[R]`, mean loss of each replicate.
        interaction: sum of squares of what is neither the images' nor the replicates' alone.
        digest: of the logits; equal for a run and its copy.
        finite: whether no replicate diverged; if one did, all numbers are NaN.
    """

    images: tuple[str, ...]
    means: Floats
    replicates: Floats
    interaction: float
    digest: bytes
    finite: bool

    @staticmethod
    def of(predictions: "Predictions | RunLosses") -> "RunLosses":
        """Return those of a run; what is asked for already is returned as it is."""
        if isinstance(predictions, RunLosses):
            return predictions
        finite = bool(predictions.finite.all())
        losses = predictions.losses if finite else np.full(predictions.logits.shape[:2], np.nan)
        digest = blake2b(predictions.logits.tobytes(), digest_size=16)
        digest.update(str(predictions.logits.shape).encode())
        return RunLosses(
            predictions.images,
            losses.mean(0),
            losses.mean(1),
            resampling.interaction(losses),
            digest.digest(),
            finite,
        )

    @staticmethod
    def together(repeats: "Sequence[RunLosses]") -> "RunLosses":
        """Return those of one run that has all the replicates of several, none of them diverged.

        Interactions add up, and to them comes that of the runs with the images: the cross term is
        zero, since the replicates of a run lie around its mean.
        """
        first = repeats[0]
        if len(repeats) == 1:
            return first
        require_same_images(repeats)
        sizes = np.array([len(each.replicates) for each in repeats])
        means = np.stack([each.means for each in repeats])
        mean = sizes @ means / sizes.sum()
        off = means - mean
        off -= off.mean(1, keepdims=True)
        return RunLosses(
            first.images,
            mean,
            np.concatenate([each.replicates for each in repeats]),
            sum(each.interaction for each in repeats) + float(sizes @ (off**2).sum(1)),
            b"".join(each.digest for each in repeats),
            all(each.finite for each in repeats),
        )


def require_same_images(runs: Sequence[RunLosses]) -> None:
    """Refuse runs that were not scored on the same images in the same order.

    Raises:
        UserError: if two of them were not: their losses are not paired, so that a comparison would
            be of nothing.
    """
    first = runs[0].images
    others = sum(run.images != first for run in runs)
    if others:
        raise UserError(
            f"{others} of {len(runs)} runs were scored on other images than the first, or on the "
            "same in another order",
            hint="Only runs on the same images can be compared.",
        )
