"""Recipes: runs that differ by their seed alone, with their losses on the images in common."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from visionsweep.analysis.calibration import deployed_predictions
from visionsweep.analysis.cross_fit import cross_fitted
from visionsweep.analysis.predictions import Predictions
from visionsweep.analysis.run_losses import RunLosses
from visionsweep.data.split_names import CROSS_FIT
from visionsweep.report.settings import settings_of
from visionsweep.runs import logits
from visionsweep.runs.discovery import Run, val_loss
from visionsweep.runs.measures import estimate_cross_fitted
from visionsweep.runs.scores import Measure

Scores = Mapping[str, Mapping[str, Measure]]
Images = frozenset[tuple[str, int]]  # content digests with labels


@dataclass(frozen=True)
class Recipe:
    """Runs that differ by their seed alone, with their losses, and the settings of the first.

    `images` are those that all recipes are compared on; None if these are all that each scored.
    """

    runs: tuple[Run, ...]
    losses: RunLosses | None
    settings: Mapping[str, Any]
    deployed: bool
    images: Images | None = None

    @property
    def loss(self) -> float:
        """Validation loss; infinite if a run diverged."""
        if self.losses is None:
            return val_loss(self.runs[0])
        return float(self.losses.means.mean()) if self.losses.finite else math.inf


def find_recipes(runs: Sequence[Run], *, expand_seeds: bool) -> tuple[list[Recipe], list[str]]:
    """Return the recipes, lowest loss first, and the files that were skipped with the reason."""
    shown: list[Run] = []
    losses: list[RunLosses | None] = []
    passed_over = []
    deployed = all(run.record.temperature is not None for run in runs)
    images = common_images(runs)
    for run in sorted(runs, key=_seed):
        try:
            losses.append(compared_losses(run, images, deployed=deployed))
        except ValueError as error:
            passed_over.append(f"{run.directory / logits.FILE_NAME}: {error}")
            continue
        shown.append(run)
    groups: dict[int | str, list[int]] = defaultdict(list)
    settings: list[dict[str, Any]] = settings_of(shown) if shown else []
    if not expand_seeds:
        settings = [{key: v for key, v in given.items() if key != "seed"} for given in settings]
    for place, (run, given) in enumerate(zip(shown, settings, strict=True)):
        whole = losses[place]
        separate = expand_seeds or whole is None or not whole.finite
        groups[place if separate else _identity(run, given)].append(place)
    recipes = []
    for places in groups.values():
        distinct = {getattr(losses[p], "digest", p): p for p in reversed(places)}
        kept = sorted(distinct.values())
        parts = [part for p in kept if (part := losses[p]) is not None]
        recipes.append(
            Recipe(
                tuple(shown[p] for p in kept),
                RunLosses.together(parts) if parts else None,
                settings[kept[0]],
                deployed,
                images,
            )
        )
        for place in places:  # those of ten thousand runs are 100 MB
            losses[place] = None
    return sorted(recipes, key=lambda recipe: recipe.loss), passed_over


def differ_by_seed(recipes: Sequence[Recipe]) -> bool:
    """Return whether some of these recipes differ by their seed alone, since seeds are expanded."""
    identities = {
        _identity(recipe.runs[0], {k: v for k, v in recipe.settings.items() if k != "seed"})
        for recipe in recipes
    }
    return len(identities) < len(recipes)


def _seed(run: Run) -> tuple[float, float]:
    seed = run.record.config.get("seed")
    return (seed if isinstance(seed, int) else math.inf), val_loss(run)


def _identity(run: Run, given: Mapping[str, Any]) -> str:
    """Return what runs have in common that differ by their seed alone.

    Args:
        run: the run.
        given: its settings without the seed.
    """
    data, model = run.record.data, run.record.model
    assert data is not None and model is not None
    return repr((given, data.digests["train"], model.fingerprint))


def compared_losses(run: Run, images: Images | None, *, deployed: bool) -> RunLosses | None:
    """Return a run's losses on the images in common; None without predictions, or if it diverged.

    Logits are not kept: those of ten thousand runs are as large as memory.

    Raises:
        ValueError: if the file of predictions is damaged, or of another run.
    """
    if not math.isfinite(val_loss(run)):
        return None
    predictions = compared_predictions(run, images, deployed=deployed)
    if predictions is None:
        return None
    seed, replicates = run.record.config.get("seed"), len(predictions.logits)
    seeds = tuple((seed, place) for place in range(replicates)) if isinstance(seed, int) else ()
    temperature = run.record.temperature if deployed else None
    training = run.record.data.digests["train"] if run.record.data is not None else ""

    def losses(of: Predictions) -> RunLosses:
        return RunLosses.of(of, temperature=temperature, seeds=seeds, training=training)

    if run.record.evidence != CROSS_FIT:
        return losses(predictions)
    validation = _predictions(run, "val", deployed)
    return None if validation is None else cross_fitted(losses(predictions), losses(validation))


def common_images(runs: Sequence[Run]) -> Images | None:
    """Return the images that all runs of a group were scored on; None if these are all of each.

    Cross-fitted runs on other numbers of training images have others besides.
    """
    digests = {run.record.data.digests.get(run.record.evidence) for run in runs if run.record.data}
    if len(digests) < 2:
        return None
    scored = []
    for run in runs:
        with suppress(ValueError):  # reported where its losses are read
            if predictions := compared_predictions(run):
                pairs = zip(predictions.images, predictions.labels.tolist(), strict=True)
                scored.append(frozenset(pairs))
    return frozenset.intersection(*scored) if scored else None


def compared_predictions(
    run: Run, images: Images | None = None, *, deployed: bool = True
) -> Predictions | None:
    """Read a run's predictions of the images that it is compared on, ordered by content.

    Args:
        run: the run.
        images: those that count; None for all.
        deployed: as for `runs.logits.read`.

    Returns:
        None if an earlier version wrote none.

    Raises:
        ValueError: if the file of predictions is damaged, or of another run.
    """
    predictions = _predictions(run, run.record.evidence, deployed)
    if predictions is None or images is None:
        return predictions
    pairs = zip(predictions.images, predictions.labels.tolist(), strict=True)
    return predictions.select_images(np.array([pair in images for pair in pairs]))


def _predictions(run: Run, split: str, deployed: bool) -> Predictions | None:
    splits = logits.read(run.directory, run.record, [split], deployed=deployed)
    found = (splits or {}).get(split)
    return None if found is None else found.sorted_by_image()


def single_losses(recipe: Recipe) -> RunLosses | None:
    """Return the losses of a recipe's single replicates, before calibration.

    Raises:
        ValueError: if a file of predictions is damaged, or of another run.
    """
    found = [compared_losses(run, recipe.images, deployed=False) for run in recipe.runs]
    parts = [part for part in found if part is not None]
    return RunLosses.together(parts) if parts else None


def mean_scores(recipe: Recipe) -> Scores:
    """Return the means of metrics and of the bounds of their intervals over the runs.

    Those of `val` are of the images in common, also if the runs are cross-fitted.
    """
    scores = [_scores(run, recipe) for run in recipe.runs]
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


def _scores(run: Run, recipe: Recipe) -> Scores:
    record = run.record
    scores = record.deployed if recipe.deployed else record.evaluation
    if record.evidence != CROSS_FIT:
        return scores
    compared = scores[CROSS_FIT]
    if recipe.images is not None and recipe.losses is not None:
        predictions = compared_predictions(run, recipe.images)
        assert predictions is not None and record.temperature is not None
        compared = estimate_cross_fitted(deployed_predictions(predictions, record.temperature))
    return {**scores, "val": compared}
