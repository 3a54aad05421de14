"""Recipes: runs that differ by their seed alone, with their losses on the validation images."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from visionsweep.analysis.predictions import Predictions
from visionsweep.analysis.run_losses import RunLosses
from visionsweep.report.settings import settings_of
from visionsweep.runs import logits
from visionsweep.runs.discovery import Run, val_loss
from visionsweep.runs.scores import Measure

Scores = Mapping[str, Mapping[str, Measure]]


@dataclass(frozen=True)
class Recipe:
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


def find_recipes(runs: Sequence[Run], *, expand_seeds: bool) -> tuple[list[Recipe], list[str]]:
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
            )
        )
        for place in places:  # those of ten thousand runs are 100 MB
            losses[place] = None
    return sorted(recipes, key=lambda recipe: recipe.loss), passed_over


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


def _losses(run: Run, *, deployed: bool) -> RunLosses | None:
    """Return a run's losses on the validation images; None without predictions, or if it diverged.

    Logits are not kept: those of ten thousand runs are as large as memory.

    Raises:
        ValueError: if the file of predictions is damaged, or of another run.
    """
    if not math.isfinite(val_loss(run)):
        return None
    predictions = validation_predictions(run)
    if predictions is None:
        return None
    seed, replicates = run.record.config.get("seed"), len(predictions.logits)
    seeds = tuple((seed, place) for place in range(replicates)) if isinstance(seed, int) else ()
    temperature = run.record.temperature if deployed else None
    training = run.record.data.digests["train"] if run.record.data is not None else ""
    return RunLosses.of(predictions, temperature=temperature, seeds=seeds, training=training)


def validation_predictions(run: Run) -> Predictions | None:
    """Read a run's predictions of the validation images, ordered by content.

    Returns:
        None if an earlier version wrote none.

    Raises:
        ValueError: if the file of predictions is damaged, or of another run.
    """
    predictions = (logits.read(run.directory, run.record, ["val"]) or {}).get("val")
    return None if predictions is None else predictions.sorted_by_image()


def single_losses(recipe: Recipe) -> RunLosses | None:
    """Return the losses of a recipe's single replicates, before calibration.

    Raises:
        ValueError: if a file of predictions is damaged, or of another run.
    """
    parts = [part for run in recipe.runs if (part := _losses(run, deployed=False)) is not None]
    return RunLosses.together(parts) if parts else None


def mean_scores(recipe: Recipe) -> Scores:
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
