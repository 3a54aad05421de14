"""Comparison of runs that were scored on the same images, and the run that is recommended."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from visionsweep.analysis.comparison import (
    Comparison,
    accuracy_difference,
    compare,
    images_needed,
)
from visionsweep.analysis.factors import Effect, effects
from visionsweep.analysis.intervals import Estimate
from visionsweep.analysis.learning_curve import LearningCurve, learning_curve
from visionsweep.analysis.run_losses import RunLosses
from visionsweep.report.settings import settings_of
from visionsweep.runs import costs, logits
from visionsweep.runs.discovery import Run, val_loss
from visionsweep.runs.record import ModelFacts, RecordSummary
from visionsweep.runs.scores import Measure

HEAD = "head.safetensors"  # weights of a run with a frozen backbone
FEWEST_IMAGES = 5  # validation images of the smallest class for a recommendation

Mark = Literal["recommended", "possible", "worse", "unknown"]
Withheld = Literal["", "alone", "diverged", "unknown", "untrained", "few images", "inseparable"]
Scores = Mapping[str, Mapping[str, Measure]]


@dataclass(frozen=True)
class Row:
    """A recipe: a run, or several that differ only by their seed.

    Attributes:
        run: the run with the lowest seed, which stands for the recipe.
        mark: `recommended`; `possible` if it could be the best; `worse` if it cannot; `unknown` if
            it is not compared.
        comparison: comparison with the best recipe; None for that one, or without predictions.
        runs: all runs of the recipe, lowest seed first.
        scores: metrics per split, means over the runs: of the deployed predictor, or of single
            replicates if a run of the group was recorded by a version that did not score it.
    """

    run: Run
    mark: Mark
    comparison: Comparison | None
    runs: tuple[Run, ...] = ()
    scores: Scores = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Use the metrics of the run if none are given."""
        if not self.scores:
            object.__setattr__(self, "scores", self.run.record.evaluation)


@dataclass(frozen=True)
class Price:
    """The most that the recommended run may cost in comparison with the best one.

    Attributes:
        loss: upper end of the 95% confidence interval of the loss difference.
        accuracy: upper end of that of the accuracy lost, in [0, 1].
    """

    loss: float
    accuracy: float


@dataclass(frozen=True)
class Evidence:
    """Comparison of runs that were scored on the same images.

    Attributes:
        rows: recipes, lowest validation loss first.
        recommended: the recommended run, the cheapest within one standard error of the best; None
            if the recommendation is withheld.
        withheld: why there is no recommendation; empty if there is one.
        price: what the recommended run may cost; None if it is the best one.
        images_needed: number of further images that would separate the first two recipes; None if
            unknown.
        effects: effect of each swept value, averaged over the grid.
        curve: loss over the number of training images; None if it was not swept.
        smallest_class: validation images of the rarest class; None if unknown.
        passed_over: invalid files of predictions with the reason; their runs are in no row.
    """

    rows: list[Row]
    recommended: Run | None = None
    withheld: Withheld = "unknown"
    price: Price | None = None
    images_needed: int | None = None
    effects: list[Effect] = field(default_factory=list)
    curve: LearningCurve | None = None
    smallest_class: int | None = None
    passed_over: list[str] = field(default_factory=list)

    @property
    def chosen(self) -> Run:
        """The recommended run, or else the best one: what commands use."""
        return self.recommended or self.rows[0].run


@dataclass(frozen=True)
class _Recipe:
    """Runs that differ by their seed alone, with their losses, and the settings of the first."""

    runs: tuple[Run, ...]
    losses: RunLosses | None
    settings: Mapping[str, Any]
    deployed: bool

    @property
    def loss(self) -> float:
        """Validation loss; infinite if a run diverged."""
        if self.losses is None:
            return val_loss(self.runs[0])
        return float(self.losses.means.mean()) if self.losses.finite else math.inf


def gather(runs: Sequence[Run], *, expand_seeds: bool = False) -> Evidence:
    """Compare runs image by image, and choose the one to recommend.

    Args:
        runs: completed runs, scored on the same validation images. A run without predictions, or
            that diverged, is shown and not compared. A run with invalid predictions is skipped.
        expand_seeds: whether runs that differ only by their seed are compared one by one.
    """
    recipes, passed_over = _recipes(runs, expand_seeds=expand_seeds)
    compared = [r for r in recipes if r.losses is not None and r.losses.finite]
    if not compared or compared[0] is not recipes[0]:
        diverged = bool(recipes) and not math.isfinite(recipes[0].loss)
        rows = [_row(r, "unknown", None) for r in recipes]
        return Evidence(rows, None, "diverged" if diverged else "unknown", passed_over=passed_over)
    losses = [r.losses for r in compared if r.losses is not None]
    found = compare(losses)
    comparisons = dict(zip(map(id, compared[1:]), found, strict=True))
    recommended, withheld = _recommend(compared, found)
    rows = []
    for recipe in recipes:
        comparison = comparisons.get(id(recipe))
        mark: Mark = "unknown"
        if recipe is recommended:
            mark = "recommended"
        elif recipe is compared[0] or (comparison is not None and comparison.could_be_best):
            mark = "possible"
        elif comparison is not None:
            mark = "worse"
        rows.append(_row(recipe, mark, comparison))
    settings = [r.settings for r in compared]
    return Evidence(
        rows=rows,
        recommended=recommended.runs[0] if recommended is not None else None,
        withheld=withheld,
        price=_price(recommended, compared, found),
        images_needed=_needed(losses),
        effects=effects(settings, losses) if len(losses) > 1 else [],
        curve=_curve(settings, [_training_images(r.runs[0]) for r in compared], losses),
        smallest_class=losses[0].smallest_class,
        passed_over=passed_over,
    )


def _recipes(runs: Sequence[Run], *, expand_seeds: bool) -> tuple[list[_Recipe], list[str]]:
    """Return the recipes, lowest loss first, and the files that were skipped with the reason."""
    shown: list[Run] = []
    losses: list[RunLosses | None] = []
    passed_over = []
    deployed = all(run.record.temperature is not None for run in runs)
    for run in sorted(runs, key=_seed):
        try:
            losses.append(_losses(run, deployed=deployed))
        except ValueError as error:
            passed_over.append(f"{run.directory / logits.FILE_NAME}: {error}")
            continue
        shown.append(run)
    groups: dict[str, list[int]] = defaultdict(list)
    settings = settings_of(shown) if shown else []
    for place, (run, given) in enumerate(zip(shown, settings, strict=True)):
        whole = losses[place]
        separate = expand_seeds or whole is None or not whole.finite
        key = str(run.directory) if separate else _identity(run, given)
        groups[key].append(place)
    recipes = []
    for places in groups.values():
        distinct = {getattr(losses[p], "digest", p): p for p in reversed(places)}
        kept = sorted(distinct.values())
        parts = [part for p in kept if (part := losses[p]) is not None]
        given = settings[kept[0]]
        if not expand_seeds:
            given = {key: value for key, value in given.items() if key != "seed"}
        recipes.append(
            _Recipe(
                tuple(shown[p] for p in kept),
                RunLosses.together(parts) if parts else None,
                given,
                deployed,
            )
        )
    return sorted(recipes, key=lambda recipe: recipe.loss), passed_over


def _seed(run: Run) -> tuple[float, float]:
    seed = run.record.config.get("seed")
    return (seed if isinstance(seed, int) else math.inf), val_loss(run)


def _identity(run: Run, given: Mapping[str, Any]) -> str:
    """Return what runs have in common that differ by their seed alone."""
    data, model = run.record.data, run.record.model
    assert data is not None and model is not None
    settings = {key: value for key, value in given.items() if key != "seed"}
    return repr((settings, data.digests["train"], model.fingerprint))


def _losses(run: Run, *, deployed: bool) -> RunLosses | None:
    """Return a run's losses on the validation images, ordered by content.

    Logits are not kept: those of ten thousand runs are as large as memory.

    Raises:
        ValueError: if the file of predictions is damaged, or of another run.
    """
    if not math.isfinite(val_loss(run)):
        return None
    read = (logits.read(run.directory, run.record, ["val"]) or {}).get("val")
    if read is None:
        return None
    seed, replicates = run.record.config.get("seed"), len(read.logits)
    seeds = tuple((seed, place) for place in range(replicates)) if isinstance(seed, int) else ()
    temperature = run.record.temperature if deployed else None
    return RunLosses.of(read.sorted_by_image(), temperature=temperature, seeds=seeds)


def _row(recipe: _Recipe, mark: Mark, comparison: Comparison | None) -> Row:
    return Row(recipe.runs[0], mark, comparison, recipe.runs, _mean_scores(recipe))


def _mean_scores(recipe: _Recipe) -> Scores:
    """Return the means of metrics and of the bounds of their intervals over the runs."""
    records = [run.record for run in recipe.runs]
    scores = [r.deployed if recipe.deployed else r.evaluation for r in records]
    if len(scores) == 1:
        return scores[0]

    def mean(measures: Sequence[Measure]) -> Measure:
        value, low, high = np.mean([[m.value, m.low, m.high] for m in measures], axis=0).tolist()
        return Measure(value, low, high, [m.value for m in measures])

    return {
        split: {
            name: mean([s[split][name] for s in scores])
            for name in scores[0][split]
            if all(name in s.get(split, {}) for s in scores)
        }
        for split in scores[0]
    }


def is_untrained(record: RecordSummary) -> bool:
    """Return whether a run's backbone has random weights and was frozen."""
    model = record.model
    return record.weights == "random" and model is not None and model.checkpoint == HEAD


def _recommend(
    compared: Sequence[_Recipe], comparisons: Sequence[Comparison]
) -> tuple[_Recipe | None, Withheld]:
    """Return the cheapest recipe within one standard error of the best, or why there is none.

    The one-standard-error rule of Breiman et al. (1984, section 3.4.3), with the error of the
    paired difference to the best recipe.

    Args:
        compared: recipes, the best first.
        comparisons: comparisons of the others with it.
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
    if all(c.could_be_best for c in comparisons):
        return None, "inseparable"
    close = [
        recipe
        for recipe, comparison in zip(compared[1:], comparisons, strict=True)
        if comparison.within_one_error
        and not is_untrained(recipe.runs[0].record)
        and is_cheaper(recipe.runs[0], best.runs[0])
    ]
    return min(close, key=lambda recipe: (*_cost(recipe.runs[0]), recipe.loss), default=best), ""


def milliseconds(run: Run) -> float | None:
    """Return the time per image: as timed beside the other models of its sweep, or by the run."""
    model: ModelFacts | None = run.record.model
    assert model is not None
    return costs.read(run.directory.parent).get(costs.key_of(model), model.milliseconds)


def _cost(run: Run) -> tuple[int, float]:
    """Return the number of parameters and the milliseconds per image, infinite if unknown."""
    assert run.record.model is not None
    return run.record.model.parameters, milliseconds(run) or math.inf


def is_cheaper(run: Run, other: Run) -> bool:
    """Return whether a run has fewer parameters than another and is not slower."""
    (parameters, milliseconds), (others, other_milliseconds) = _cost(run), _cost(other)
    return parameters < others and milliseconds <= other_milliseconds


def _price(
    recommended: _Recipe | None, compared: Sequence[_Recipe], comparisons: Sequence[Comparison]
) -> Price | None:
    best = compared[0]
    if recommended is None or recommended is best:
        return None
    place = compared.index(recommended)
    assert recommended.losses is not None and best.losses is not None
    lost: Estimate = accuracy_difference(recommended.losses, best.losses)
    return Price(comparisons[place - 1].difference.high, max(0.0, -lost.low))


def _needed(losses: Sequence[RunLosses]) -> int | None:
    """Return how many more images would separate the first two among all that are compared."""
    if len(losses) < 2:
        return None
    pairs = len(losses) * (len(losses) - 1) // 2
    return images_needed(losses[0], losses[1], tests=pairs)


def _training_images(run: Run) -> int:
    assert run.record.data is not None
    return run.record.data.counts["train"]


def _curve(
    settings: Sequence[Mapping[str, Any]], sizes: Sequence[int], losses: Sequence[RunLosses]
) -> LearningCurve | None:
    """Return the learning curve of the settings that were tried with every number of images.

    Settings tried with few numbers of images would bend it.
    """
    alike: dict[str, dict[int, RunLosses]] = defaultdict(dict)
    for given, size, of_run in zip(settings, sizes, losses, strict=True):
        rest = {key: value for key, value in given.items() if not key.startswith("data")}
        alike[repr(rest)][size] = of_run
    counts = sorted(set(sizes))
    complete = [by_size for by_size in alike.values() if len(by_size) == len(counts)]
    if len(counts) < 2 or not complete:
        return None
    return learning_curve(counts, [[by_size[count] for by_size in complete] for count in counts])
