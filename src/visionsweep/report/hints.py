"""What to look at next in a group of runs, and warnings about its numbers."""

from visionsweep.analysis.intervals import Estimate
from visionsweep.analysis.per_class import never_predicted
from visionsweep.report import numbers
from visionsweep.report.column_values import replicates_of
from visionsweep.report.evidence import Evidence
from visionsweep.report.near_duplicates import SharedImages
from visionsweep.report.reference import reference_lines
from visionsweep.text.escaping import enumerated

FEW_IMAGES = 10  # validation images of a class, below which its scores say little
IMBALANCED = 10  # images of the largest class per image of the smallest
FEW_FOR_CROSS_FITTING = 300  # validation images, below which cross-fitting is worth its time
UNDERTRAINED = 0.6  # temperature below which a head is undertrained


def hints(evidence: Evidence) -> list[str]:
    """Return what to look at next: values at the edge of the grid, accuracy, undertrained heads."""
    lines = reference_lines(evidence) + _cross_fitted(evidence)
    if evidence.groups is not None:
        lines.append(numbers.about_groups(evidence.groups, f"{evidence.kind} images"))
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
    compared = [row for row in evidence.rows if row.mark != "unknown"]
    heads = [
        sum(replicates_of(run.record) for run in row.runs)
        for row in compared
        if not row.run.record.is_solved
    ]
    if len(compared) > 1 and 1 in heads:
        lines.append(
            "Runs with one replicate: their intervals and marks do not include that another seed "
            "would have given other scores. Use replicates=5 or, with a trained backbone, sweep "
            "seed=1,2,3."
        )
    if evidence.training_sample is not None:
        lines.append(evidence.training_sample.sentence)
    if evidence.more_accurate is not None:
        run, difference = evidence.more_accurate
        points = Estimate(*(100 * x for x in (difference.value, difference.low, difference.high)))
        lines.append(
            f"By accuracy, {run.record.name} is significantly better than "
            f"{evidence.chosen.record.name}: {numbers.decimal(points.value, 1, signed=True)} "
            f"points {numbers.interval(points, 1, signed=True)}. "
            "The ranking goes by loss, which also counts confidence."
        )
    lines += _class_hints(evidence)
    temperature = evidence.chosen.record.temperature
    if evidence.reversal is not None:
        lines.append(
            f"Single replicates, before calibration, rank {evidence.reversal.run.record.name} "
            f"first, by {numbers.with_interval(evidence.reversal.difference)} loss: the ranking "
            "rests on averaging and calibration, so heads are undertrained: raise epochs or "
            "optimizer.lr."
        )
    elif (
        temperature is not None
        and temperature < UNDERTRAINED
        and not evidence.chosen.record.is_solved
    ):
        lines.append(
            f"The confidence of {evidence.chosen.record.name} was sharpened by a temperature of "
            f"{temperature:.2f}, so its head is undertrained: raise epochs or optimizer.lr."
        )
    return lines + _offer_of_cross_fitting(evidence)


def _cross_fitted(evidence: Evidence) -> list[str]:
    """Return what cross-fitted scores are."""
    if not evidence.cross_fitted:
        return []
    return [
        f"Scores are cross-fitted: each of {evidence.images:,} training and validation images was "
        "scored by heads that did not see it. Their intervals and marks are widened, since these "
        "heads have training images in common."
    ]


def _offer_of_cross_fitting(evidence: Evidence) -> list[str]:
    """Return that few validation images could be more, where all runs can be cross-fitted."""
    configs = [row.run.record.config for row in evidence.rows]
    able = all(
        config.get("training", {}).get("freeze_backbone", False)
        and (
            (augmentation := config.get("augmentation", {})).get("name") == "none"
            or augmentation.get("views")
        )
        for config in configs
    )
    few = len(configs) > 1 and (evidence.groups or evidence.images) < FEW_FOR_CROSS_FITTING
    if evidence.cross_fitted or not (few and able):
        return []
    return [
        f"With {evidence.sample}, differences are uncertain: evidence=cross_fit "
        "also scores the training images, by heads that did not see them."
    ]


def _class_hints(evidence: Evidence) -> list[str]:
    """Return whether classes have few images or are imbalanced, and which are never predicted."""
    lines, classes = [], evidence.classes
    smallest = evidence.smallest_class
    if smallest is not None and smallest < FEW_IMAGES and evidence.withheld != "few images":
        few = numbers.counted(smallest, f"{evidence.kind} image")
        lines.append(
            f"The smallest class has {few}: the scores say little about it. Add images of it, "
            "or raise data.val_share."
        )
    if never := never_predicted(classes):
        name = evidence.chosen.record.name
        lines.append(f"{name} predicts no {evidence.kind} image as {enumerated(never)}.")
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


def warnings(evidence: Evidence, shared: SharedImages) -> list[str]:
    """Return warnings about numbers that say nothing about real images, or about new ones."""
    records = [row.run.record for row in evidence.rows]
    lines = []
    if any(record.weights == "random" for record in records):
        which = "The" if all(record.weights == "random" for record in records) else "Some"
        lines.append(
            f"{which} backbones have random weights. The ranking shows how the program works, not "
            "which model is better."
        )
    if any(record.is_synthetic for record in records):
        lines.append(
            "The images are rendered, not photographs: the numbers say nothing about yours."
        )
    if kept := shared.kept:
        lines.append(f"{'; '.join(kept)}. They are side by side below. {shared.advice}".rstrip())
    return lines
