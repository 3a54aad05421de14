"""The linear probe: logistic regression on features of a frozen backbone, solved to convergence.

It has no epochs, learning rate, or seed. The L2 penalty is chosen by cross-validation on the
training images, as in the evaluations of CLIP (Radford et al. 2021, appendix A.3).
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch

from visionsweep.config.schema import TrainingConfig
from visionsweep.models.heads import Heads
from visionsweep.runtime import signals
from visionsweep.runtime.threads import one_thread
from visionsweep.training.objective import objective_of

log = logging.getLogger(__name__)

FOLDS = 5
_HELD_OUT = 1000  # images that suffice to choose the penalty; fewer folds then do
_PENALTIES = [10 ** (-step / 2) for step in range(1, 15)]  # relative to the features' variance
_WORSE = 2  # weaker penalties that are tried after the best one
_ROUGH, _EXACT = 1e-4, 1e-6  # largest gradient where the solver stops: in cross-validation, at last


@dataclass(frozen=True)
class LinearProbe:
    """Solved heads: that of the training images, then those of F - 1 bootstrap samples.

    Attributes:
        weight: `float32[F, C, D]`.
        bias: `float32[F, C]`.
        penalty: coefficient of half the sum of squared weights, beside the mean cross-entropy.
        loss: cross-entropy of the held-out training images; NaN if no class has two images.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    penalty: float
    loss: float


def solve(
    features: torch.Tensor,
    labels: torch.Tensor,
    classes: int,
    class_weights: torch.Tensor | None = None,
    samples: torch.Tensor | None = None,
    images: int | None = None,
) -> LinearProbe:
    """Return the head that minimizes the penalized cross-entropy of the training images.

    Heads of samples are solved with the same penalty. That of heads of views is chosen on the first
    views alone.

    Rotating the features changes neither the loss nor the penalty, so the solver works in their
    span, with at most N numbers per image.

    Args:
        features: `float32[N, D]`, or `float32[N, V, D]` of V views of each image; on any device.
        labels: `int64[N]`.
        classes: number of classes, `C`.
        class_weights: weight of the images of each class, `float32[C]`; None for equal weights.
        samples: samples of the images, `int64[F - 1, M]`; None for none.
        images: number of training images, the first of N; None for all.
    """
    labels, rows = labels.cpu(), features.cpu().double()
    weights = torch.ones(len(labels), dtype=torch.float64)
    if class_weights is not None:
        weights = class_weights.cpu().double()[labels]
    count, views = len(rows) if images is None else images, math.prod(rows.shape[1:-1])
    first = rows if rows.ndim == 2 else rows[:, 0]
    problem = _Problem.of(first[:count], labels[:count], classes)
    penalty, loss, start = _choose_penalty(problem, weights[:count])
    labels, weights = labels.repeat_interleave(views), weights.repeat_interleave(views)
    rows, count = rows.reshape(-1, rows.shape[-1]), count * views
    if views > 1:
        problem = _Problem.of(rows[:count], labels[:count], classes)
        start = torch.zeros(problem.rows.shape[1] + 1, 1, classes, dtype=torch.float64)
    head = problem.solve(weights[:count, None], penalty, start[:, :1], _EXACT)
    weight, bias = problem.heads(head)
    if samples is not None:  # apart from the first head, whose bits do not depend on them
        counts = torch.stack([s.bincount(minlength=len(features)) for s in samples.cpu()], 1)
        counts = counts.repeat_interleave(views, 0)
        start = head.expand(-1, len(samples), -1)
        if count < len(rows):
            problem = _Problem.of(rows, labels, classes)
            start = torch.zeros(problem.rows.shape[1] + 1, len(samples), classes).double()
        solved = problem.solve(weights.unsqueeze(1) * counts, penalty, start, _EXACT)
        weight, bias = map(torch.cat, zip((weight, bias), problem.heads(solved), strict=True))
    return LinearProbe(weight.float(), bias.float(), penalty, loss)


def start_from_probe(
    heads: Heads,
    features: torch.Tensor,
    labels: Sequence[int],
    config: TrainingConfig,
    samples: torch.Tensor | None = None,
    images: int | None = None,
) -> None:
    """Set all replicates to the linear probe, and heads on samples of images to those of these.

    It is solved in one thread, so that its bits depend on no number of threads. Arguments as in
    `solve`.
    """
    classes = heads.weight.shape[1]
    class_weights = objective_of(config, labels[:images], classes).class_weights
    with one_thread():
        probe = solve(features, torch.tensor(labels), classes, class_weights, samples, images)
    heads.set_all(probe.weight, probe.bias)
    log.info(
        "Linear probe: solved with an L2 penalty of %.2g, loss of held-out training images %.3f",
        probe.penalty,
        probe.loss,
    )


def folds(labels: torch.Tensor) -> torch.Tensor:
    """Return the fold of each image, `int64[N]`, at random, with equal shares of each class.

    Images of a class that has one image are -1: they are always trained on.
    """
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    fold = torch.full_like(labels, -1)
    for label in labels.unique():
        images = order[labels[order] == label]
        if len(images) > 1:
            fold[images] = torch.arange(len(images)) % FOLDS
    return fold


def _span(centered: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return rows in an orthonormal basis of their span, `[N, K]`, and the basis, `[D, K]`."""
    images, width = centered.shape
    if images > width:
        return centered, torch.eye(width, dtype=centered.dtype)
    squares, vectors = torch.linalg.eigh(centered @ centered.T)
    kept = squares > squares[-1] * 1e-10
    sizes = squares[kept].sqrt()
    return vectors[:, kept] * sizes, centered.T @ (vectors[:, kept] / sizes)


@dataclass(frozen=True)
class _Problem:
    """Images, in the span of their features, with their labels; heads are solved side by side."""

    rows: torch.Tensor
    labels: torch.Tensor
    classes: int
    mean: torch.Tensor
    basis: torch.Tensor

    @classmethod
    def of(cls, features: torch.Tensor, labels: torch.Tensor, classes: int) -> Self:
        """Return the problem of images with features `float64[N, D]`."""
        mean = features.mean(0)
        rows, basis = _span(features - mean)
        return cls(rows, labels, classes, mean, basis)

    def heads(self, solution: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the weights, `float64[F, C, D]`, and biases of a solution, for all features."""
        weight = torch.stack([(self.basis @ head[:-1]).T for head in solution.unbind(1)])
        return weight, solution[-1] - weight @ self.mean

    def log_probabilities(self, solution: torch.Tensor) -> torch.Tensor:
        """Return those of each of F heads, `float64[N, F, C]`, from `float64[K + 1, F, C]`."""
        flat = solution.flatten(1)
        logits = torch.addmm(flat[-1], self.rows, flat[:-1])
        logs: torch.Tensor = logits.unflatten(1, solution.shape[1:]).log_softmax(2)
        return logs

    def losses(self, solution: torch.Tensor) -> torch.Tensor:
        """Return the cross-entropy of each image under each head, `float64[N, F]`."""
        logs = self.log_probabilities(solution)
        return -logs[torch.arange(len(logs)), :, self.labels]

    def solve(
        self, weights: torch.Tensor, penalty: float, start: torch.Tensor, tolerance: float
    ) -> torch.Tensor:
        """Return the weights of F heads and, as the last row, biases, `float64[K + 1, F, C]`.

        Args:
            weights: weight of each image in the loss of each head, `float64[N, F]`.
            penalty: coefficient of half the sum of squared weights.
            start: where the solver starts, `float64[K + 1, F, C]`.
            tolerance: largest gradient where it stops.
        """
        shares = weights / weights.sum(0)
        images = torch.arange(len(self.labels))

        solution, gradient = start.clone(), torch.empty_like(start)
        solution.grad, weight = gradient, solution[:-1]
        optimizer = torch.optim.LBFGS(
            [solution],
            max_iter=2000,
            max_eval=4000,
            tolerance_grad=tolerance,
            tolerance_change=0.0,
            line_search_fn="strong_wolfe",
        )

        def objective() -> float:
            signals.check()
            logs = self.log_probabilities(solution)
            loss = -(shares * logs[images, :, self.labels]).sum()
            residuals = logs.exp_()
            residuals[images, :, self.labels] -= 1
            residuals *= shares.unsqueeze(2)
            gradient[:-1] = (self.rows.T @ residuals.flatten(1)).view(weight.shape)
            gradient[:-1] += penalty * weight
            gradient[-1] = residuals.sum(0)
            return float(loss + penalty / 2 * weight.square().sum())

        optimizer.step(objective)
        return solution


def _choose_penalty(problem: _Problem, weights: torch.Tensor) -> tuple[float, float, torch.Tensor]:
    """Return the penalty with the lowest held-out loss, that loss, and its heads."""
    images, width = problem.rows.shape
    variance = float(problem.rows.square().sum()) / images
    fold = folds(problem.labels)
    used = min(FOLDS, -(-_HELD_OUT * FOLDS // images), max(1, int(fold.max()) + 1))
    held_out = fold.unsqueeze(1) == torch.arange(used)
    heads = torch.zeros(width + 1, used, problem.classes, dtype=torch.float64)
    if not held_out.any():
        return _PENALTIES[len(_PENALTIES) // 2] * variance, math.nan, heads
    best, since = (math.inf, 0.0, heads), 0
    for penalty in (factor * variance for factor in _PENALTIES):
        heads = problem.solve(weights.unsqueeze(1) * ~held_out, penalty, heads, _ROUGH)
        loss = float((weights.unsqueeze(1) * problem.losses(heads))[held_out].mean())
        since = 0 if loss < best[0] else since + 1
        best = min(best, (loss, penalty, heads), key=lambda found: found[0])
        if since == _WORSE:
            break
    return best[1], best[0], best[2]
