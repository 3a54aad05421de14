"""Losses of a run on each image: all that comparisons need, a fraction of its predictions."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from visionsweep.analysis import resampling
from visionsweep.analysis.groups import Groups, by_group, joined
from visionsweep.analysis.predictions import Floats, Predictions
from visionsweep.errors import UserError

Seed = tuple[int, int]  # seed of the run, place of the replicate or bootstrap sample


@dataclass(frozen=True)
class RunLosses:
    """Losses of a run on the validation images.

    Attributes:
        images: content digests of the images, `N`.
        means: loss on each image, `float64[N]`.
        by_replicate: contribution of each replicate, `float32[R, N]`, whose mean is `means`.
        correct: share of replicates that are correct on each image, or whether their mean is,
            `float32[N]`.
        seeds: seed of each replicate, `R`; empty if unknown.
        smallest_class: number of images of the rarest class that occurs.
        digest: digest of the logits; equal for a run and its copy.
        finite: whether no replicate diverged; otherwise all losses are NaN.
        training: digest of the training images; empty if unknown.
        by_sample: contribution of each head on a bootstrap sample of the training images,
            `float32[B, N]`; B is 0 if there are none.
        samples: seed of each bootstrap sample, `B`.
        groups: groups of the images, `int64[N]`; None where each is independent.
        sample_groups: those of the images that heads on bootstrap samples were scored on.
        sample_images: those images; empty where they are the images of the run.
    """

    images: tuple[str, ...]
    means: Floats
    by_replicate: NDArray[np.float32]
    correct: NDArray[np.float32]
    seeds: tuple[Seed, ...]
    smallest_class: int
    digest: bytes
    finite: bool
    training: str
    by_sample: NDArray[np.float32]
    samples: tuple[Seed, ...]
    groups: Groups | None = None
    sample_groups: Groups | None = None
    sample_images: tuple[str, ...] = ()

    @property
    def replicates(self) -> Floats:
        """Mean loss of each replicate, `float64[R]`."""
        means: Floats = self.by_replicate.mean(1, dtype=np.float64)
        return means

    @property
    def interaction(self) -> float:
        """Sum of squares due to neither images nor replicates alone."""
        return resampling.interaction(self.by_replicate.astype(np.float64))

    @staticmethod
    def of(
        predictions: "Predictions | RunLosses",
        *,
        temperature: float | None = None,
        seeds: tuple[Seed, ...] = (),
        training: str = "",
    ) -> "RunLosses":
        """Return the losses of a run.

        Args:
            predictions: predictions of all replicates; losses are returned unchanged.
            temperature: temperature of the deployed predictor, the mean over replicates of
                softmax(logits / temperature), whose losses these then are; None for the mean loss
                of the single replicates.
            seeds: seed of each replicate, if known; that of the first is that of the samples.
            training: digest of the training images, if known.
        """
        if isinstance(predictions, RunLosses):
            return predictions
        finite = bool(predictions.finite.all())
        shape = predictions.logits.shape[:2]
        if not finite:
            losses, correct = np.full(shape, np.nan), np.full(shape[1], np.nan)
            means = losses.mean(0)
        elif temperature is None:
            losses, correct = predictions.losses, predictions.correct.mean(0)
            means = losses.mean(0)
        else:
            means, losses, correct = _deployed(predictions, temperature)
        digest = blake2b(predictions.logits.tobytes(), digest_size=16)
        digest.update(str(predictions.logits.shape).encode())
        by_sample = np.empty((0, shape[1]), np.float32)
        resampled = predictions.bootstrap
        if not (temperature is None or resampled is None) and seeds and finite:
            by_sample = _of_samples(resampled, means, shape[0])
        counts = np.bincount(predictions.labels)
        return RunLosses(
            predictions.images,
            means,
            losses.astype(np.float32),
            correct.astype(np.float32),
            seeds,
            int(counts[counts > 0].min()),
            digest.digest(),
            finite,
            training,
            by_sample,
            tuple((seeds[0][0], place) for place in range(len(by_sample))),
            predictions.groups,
            predictions.groups,
        )

    @staticmethod
    def together(repeats: "Sequence[RunLosses]") -> "RunLosses":
        """Return the losses of one run with all the replicates of several, none of them diverged.

        Raises:
            UserError: if the runs were scored on different images.
        """
        first = repeats[0]
        if len(repeats) == 1:
            return first
        require_same_images(repeats)
        sizes = np.array([len(each.by_replicate) for each in repeats])
        return RunLosses(
            first.images,
            sizes @ np.stack([each.means for each in repeats]) / sizes.sum(),
            np.concatenate([each.by_replicate for each in repeats]),
            (sizes @ np.stack([each.correct for each in repeats]) / sizes.sum()).astype(np.float32),
            tuple(seed for each in repeats for seed in each.seeds),
            first.smallest_class,
            b"".join(each.digest for each in repeats),
            all(each.finite for each in repeats),
            first.training,
            np.concatenate([each.by_sample for each in repeats]),
            tuple(sample for each in repeats for sample in each.samples),
            joined([each.groups for each in repeats]),
            joined([each.sample_groups for each in repeats]),
            first.sample_images,
        )


def by_groups(runs: Sequence[RunLosses]) -> Sequence[RunLosses]:
    """Return what groups contribute in the place of images, where there are any.

    Args:
        runs: runs on the same images in the same order.

    Returns:
        Losses of G groups, `[G]`, `[R, G]`, and `[B, G]`; without groups, the runs.
    """
    groups = joined([run.groups for run in runs])
    of_samples = {
        images: joined([run.sample_groups for run in runs if run.sample_images == images])
        for images in {run.sample_images for run in runs}
    }
    if groups is None and not any(each is not None for each in of_samples.values()):
        return runs
    return [
        replace(
            run,
            means=by_group(run.means, groups),
            by_replicate=by_group(run.by_replicate, groups),
            correct=by_group(run.correct, groups),
            by_sample=by_group(run.by_sample, of_samples[run.sample_images]),
        )
        for run in runs
    ]


def _of_samples(losses: NDArray[np.float32], means: Floats, replicates: int) -> NDArray[np.float32]:
    """Return the contributions of heads on bootstrap samples, `float32[B, N]`.

    There are none if one of the heads diverged.

    A head's contribution is its pseudo-value, too: R + 1 times the loss of the replicates with this
    head among them, minus R times the loss without it.

    Args:
        losses: losses of these heads, `float32[B, N]`.
        means: losses of the deployed predictor, `float64[N]`.
        replicates: R.
    """
    both = replicates * np.exp(-means) + np.exp(-losses.astype(np.float64))
    with_one = -np.log(np.maximum(both / (replicates + 1), np.finfo(np.float64).tiny))
    contributions: Floats = (replicates + 1) * with_one - replicates * means
    return contributions.astype(np.float32)[: len(losses) if np.isfinite(losses).all() else 0]


def _deployed(predictions: Predictions, temperature: float) -> tuple[Floats, Floats, Floats]:
    """Return losses of the deployed predictor, contributions of its replicates, and correctness.

    A replicate's contribution is its jackknife pseudo-value (Efron & Tibshirani 1993, section
    11.2), shifted to the mean of the losses: its spread is what other seeds would change.

    Returns:
        `float64[N]`, `float64[R, N]`, and `float64[N]`.
    """
    scaled = predictions.logits.astype(np.float64) / temperature
    probabilities = softmax(scaled, axis=2)
    count, images = probabilities.shape[:2]
    true = probabilities[:, np.arange(images), predictions.labels]
    tiny = np.finfo(np.float64).tiny
    losses: Floats = -np.log(np.maximum(true.mean(0), tiny))
    correct = (probabilities.mean(0).argmax(1) == predictions.labels).astype(np.float64)
    if count == 1:
        return losses, losses[None], correct
    without = -np.log(np.maximum((true.sum(0) - true) / (count - 1), tiny))
    return losses, losses + (count - 1) * (without.mean(0) - without), correct


def require_same_images(runs: Sequence[RunLosses]) -> None:
    """Refuse runs that were not scored on the same images in the same order.

    Raises:
        UserError: if two of them were not; their losses are then not paired.
    """
    first = runs[0].images
    others = sum(run.images != first for run in runs)
    if others:
        raise UserError(
            f"{others} of {len(runs)} runs were scored on other images than the first, or on the "
            "same in another order",
            hint="Only runs on the same images can be compared.",
        )
