"""The recommendation: the cheapest recipe within one standard error of the best, or why none."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from visionsweep.analysis.accuracy import accuracy_difference
from visionsweep.analysis.comparison import Comparison
from visionsweep.config.derived import result_settings
from visionsweep.report.recipes import Recipe, differ_by_seed
from visionsweep.runs import costs
from visionsweep.runs.discovery import Run
from visionsweep.runs.record import RecordSummary

HEAD = "head.safetensors"  # weights of a run with a frozen backbone
FEWEST_IMAGES = 5  # validation images of the smallest class for a recommendation

Withheld = Literal[
    "", "alone", "diverged", "unknown", "untrained", "few images", "seeds", "inseparable"
]
SHORT: dict[Withheld, str] = {
    "alone": "no other run can be compared with it",
    "diverged": "training diverged",
    "unknown": "their predictions are missing",
    "untrained": "frozen backbones have random weights",
    "few images": f"the smallest class has fewer than {FEWEST_IMAGES} validation images",
    "seeds": "some differ by their seed alone",
    "inseparable": "each of them could be the best",
}


@dataclass(frozen=True)
class Price:
    """The most that the recommended run may cost in comparison with the best one.

    Upper ends of the 95% confidence intervals of the loss difference, and of the accuracy lost, in
    [0, 1].
    """

    loss: float
    accuracy: float


def is_untrained(record: RecordSummary) -> bool:
    """Return whether a run's backbone has random weights and was frozen."""
    model = record.model
    return record.weights == "random" and model is not None and model.checkpoint == HEAD


def recommend(
    compared: Sequence[Recipe], comparisons: Sequence[Comparison]
) -> tuple[Recipe | None, Withheld]:
    """Return the cheapest recipe within one standard error of the best, or why there is none.

    The one-standard-error rule of Breiman et al. (1984, section 3.4.3), with the error of the
    paired difference to the best recipe, which comes first.
    """
    best = compared[0]
    losses = best.losses
    assert losses is not None
    if is_untrained(best.runs[0].record):
        return None, "untrained"
    if len(compared) == 1:
        return None, "alone"
    if losses.smallest_class < FEWEST_IMAGES:
        return None, "few images"
    if differ_by_seed(compared):
        return None, "seeds"
    if all(c.could_be_best for c in comparisons):
        return None, "inseparable"
    return compared[cheapest_close([r.runs[0] for r in compared], [None, *comparisons])], ""


def cheapest_close(runs: Sequence[Run], comparisons: Sequence[Comparison | None]) -> int:
    """Return the index of the cheapest run within one standard error of the first, the best.

    It is the best itself, whose comparison is None, if no run close to it is cheaper.
    """
    close = [
        index
        for index, (run, comparison) in enumerate(zip(runs, comparisons, strict=True))
        if comparison is not None
        and comparison.within_one_error
        and comparison.could_be_best
        and not is_untrained(run.record)
        and is_cheaper(run, runs[0])
    ]
    return min(close, key=lambda index: _cost(runs[index]), default=0)  # of equals, the first


def milliseconds(run: Run) -> float | None:
    """Return the time per image: as timed beside the other models of its sweep, or by the run.

    A prediction that is a mean over views takes that of all of them.
    """
    model = run.record.model
    assert model is not None
    time = costs.read(run.directory.parent).get(costs.key_of(model), model.milliseconds)
    views = result_settings(run.record.config).get("augmentation.test_views", 1)
    return None if time is None else time * views


def _cost(run: Run) -> tuple[int, float]:
    """Return the number of parameters and the milliseconds per image, infinite if unknown."""
    assert run.record.model is not None
    return run.record.model.parameters, milliseconds(run) or math.inf


def is_cheaper(run: Run, other: Run) -> bool:
    """Return whether a run has fewer parameters than another and is not slower."""
    (parameters, milliseconds), (others, other_milliseconds) = _cost(run), _cost(other)
    return parameters < others and milliseconds <= other_milliseconds


def price_of(
    recommended: Recipe | None, compared: Sequence[Recipe], comparisons: Sequence[Comparison]
) -> Price | None:
    """Return what the recommended recipe may cost; None if it is the best one, or there is none."""
    best = compared[0]
    if recommended is None or recommended is best:
        return None
    place = compared.index(recommended)
    assert recommended.losses is not None and best.losses is not None
    lost = accuracy_difference(recommended.losses, best.losses)
    return Price(comparisons[place - 1].difference.high, max(0.0, -lost.low))
