"""Comparison of runs that were scored on the same images, and the run that is recommended."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from visionsweep.analysis.accuracy import more_accurate
from visionsweep.analysis.comparison import Comparison, compare, images_needed
from visionsweep.analysis.factors import Effect, effects
from visionsweep.analysis.groups import count_groups, joined
from visionsweep.analysis.intervals import Estimate
from visionsweep.analysis.learning_curve import LearningCurve, learning_curve
from visionsweep.analysis.run_losses import RunLosses
from visionsweep.data.split_names import CROSS_FIT
from visionsweep.report.recipes import Recipe, Scores, find_recipes, mean_scores
from visionsweep.report.recommendation import Price, Withheld, price_of, recommend
from visionsweep.report.reversal import Reversal, find_reversal
from visionsweep.report.settings import settings_of
from visionsweep.report.training_sample import TrainingSample, effect_of_training_sample
from visionsweep.runs.discovery import Run
from visionsweep.runs.scores import ClassMeasures

Mark = Literal["recommended", "possible", "worse", "unknown"]


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
            replicates if a run of the group was recorded by a version that did not score it. `val`
            is what runs are compared on, the cross-fitted images if they are cross-fitted.
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
class Evidence:
    """Comparison of runs that were scored on the same images.

    Attributes:
        rows: recipes, lowest validation loss first.
        recommended: the recommended run, the cheapest within one standard error of the best; None
            if the recommendation is withheld.
        withheld: why there is no recommendation; empty if there is one.
        price: what the recommended run may cost; None if it is the best one.
        images_needed: number of further images, or of groups where there are any, that would
            separate the first two recipes; None if unknown.
        effects: effect of each swept value, averaged over the grid.
        curve: loss over the number of training images; None if it was not swept.
        more_accurate: run that is significantly more accurate than the chosen one, with the
            difference; None if there is none.
        reversal: a run that single replicates, before calibration, rank first; None if there is
            none, or not significantly.
        training_sample: what it changes that other training images would have given other heads;
            None if that does not count, or is unknown.
        smallest_class: validation images of the rarest class; None if unknown.
        passed_over: invalid files of predictions with the reason; their runs are in no row.
        groups: number of groups that intervals are over; None where images are independent.
        common: number of images that all runs were scored on; None if these are all of each.
    """

    rows: list[Row]
    recommended: Run | None = None
    withheld: Withheld = "unknown"
    price: Price | None = None
    images_needed: int | None = None
    effects: list[Effect] = field(default_factory=list)
    curve: LearningCurve | None = None
    more_accurate: tuple[Run, Estimate] | None = None
    reversal: Reversal | None = None
    training_sample: TrainingSample | None = None
    smallest_class: int | None = None
    passed_over: list[str] = field(default_factory=list)
    groups: int | None = None
    common: int | None = None

    @property
    def images(self) -> int:
        """Number of images that the runs are compared on."""
        first = self.rows[0].run.record
        assert first.data is not None
        return self.common or first.data.counts[first.evidence]

    @property
    def cross_fitted(self) -> bool:
        """Whether the runs are compared on training and validation images, by cross-fitting."""
        return any(row.run.record.evidence == CROSS_FIT for row in self.rows[:1])

    @property
    def kind(self) -> str:
        """What images and scores are called: `validation` or `cross-fitted`."""
        return "cross-fitted" if self.cross_fitted else "validation"

    @property
    def sample(self) -> str:
        """What the runs are compared on: `89 validation images`, or `26 groups of` such."""
        if self.groups is None:
            return f"{self.images:,} {self.kind} images"
        return f"{self.groups:,} groups of {self.kind} images"

    @property
    def chosen(self) -> Run:
        """The recommended run, or else the best one: what commands use."""
        return self.recommended or self.rows[0].run

    @cached_property
    def settings(self) -> list[dict[str, Any]]:
        """Settings of each row, as `settings_of` returns them."""
        return settings_of([row.run for row in self.rows])

    @cached_property
    def classes(self) -> Mapping[str, ClassMeasures]:
        """Scores of each class of the chosen run; empty in older records."""
        record = self.chosen.whole
        return {} if record is None else record.classes.get(record.evidence, {})


def gather(runs: Sequence[Run], *, expand_seeds: bool = False) -> Evidence:
    """Compare runs image by image, and choose the one to recommend.

    Args:
        runs: completed runs, scored on the same validation images. A run without predictions, or
            that diverged, is shown and not compared. A run with invalid predictions is skipped.
        expand_seeds: whether runs that differ only by their seed are compared one by one.
    """
    recipes, passed_over = find_recipes(runs, expand_seeds=expand_seeds)
    compared = [r for r in recipes if r.losses is not None and r.losses.finite]
    if not compared or compared[0] is not recipes[0]:
        diverged = bool(recipes) and not math.isfinite(recipes[0].loss)
        rows = [_row(r, "unknown", None) for r in recipes]
        return Evidence(rows, None, "diverged" if diverged else "unknown", passed_over=passed_over)
    losses = [r.losses for r in compared if r.losses is not None]
    found = compare(losses)
    comparisons = dict(zip(map(id, compared[1:]), found, strict=True))
    recommended, withheld = recommend(compared, found)
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
        price=price_of(recommended, compared, found),
        images_needed=_needed(losses),
        effects=effects(settings, losses) if len(losses) > 1 else [],
        curve=_curve(settings, [_training_images(r.runs[0]) for r in compared], losses),
        more_accurate=_more_accurate(compared, losses, recommended or compared[0]),
        reversal=find_reversal(compared),
        training_sample=effect_of_training_sample(losses, found),
        smallest_class=losses[0].smallest_class,
        passed_over=passed_over,
        groups=_groups(losses),
        common=None if compared[0].images is None else len(losses[0].images),
    )


def _row(recipe: Recipe, mark: Mark, comparison: Comparison | None) -> Row:
    return Row(recipe.runs[0], mark, comparison, recipe.runs, mean_scores(recipe))


def _groups(losses: Sequence[RunLosses]) -> int | None:
    groups = joined([each.groups for each in losses])
    return None if groups is None else count_groups(groups, len(groups))


def _needed(losses: Sequence[RunLosses]) -> int | None:
    """Return how many more images would separate the first two among all that are compared."""
    if len(losses) < 2:
        return None
    pairs = len(losses) * (len(losses) - 1) // 2
    return images_needed(losses[0], losses[1], tests=pairs)


def _more_accurate(
    compared: Sequence[Recipe], losses: Sequence[RunLosses], chosen: Recipe
) -> tuple[Run, Estimate] | None:
    place = next(k for k, recipe in enumerate(compared) if recipe is chosen)
    better = more_accurate(losses, place)
    return None if better is None else (compared[better[0]].runs[0], better[1])


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
        rest = {
            key: value
            for key, value in given.items()
            if key == "data.near_duplicates" or not key.startswith("data")
        }
        alike[repr(rest)][size] = of_run
    counts = sorted(set(sizes))
    complete = [by_size for by_size in alike.values() if len(by_size) == len(counts)]
    if len(counts) < 2 or not complete:
        return None
    return learning_curve(counts, [[by_size[count] for by_size in complete] for count in counts])
