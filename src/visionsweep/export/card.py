"""The model card of an exported model, in the format of the Hugging Face hub."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from visionsweep.analysis.calibration import deployed_predictions
from visionsweep.analysis.metrics import confusion
from visionsweep.export.formats import Format
from visionsweep.export.front_matter import front_matter
from visionsweep.export.license import License
from visionsweep.export.verification import Verification
from visionsweep.report import numbers
from visionsweep.report.hints import FEW_IMAGES
from visionsweep.runs import logits
from visionsweep.runs.discovery import Run
from visionsweep.runs.record import Record
from visionsweep.runs.scores import ClassMeasures, Interval
from visionsweep.text.escaping import markdown

_HERE = Path(__file__).parent
_NAMES = {"val": "validation", "test": "test", "cross_fit": "cross-fitted", "train": "training"}
_METRICS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "loss": "cross-entropy (nats)",
    "ece": "expected calibration error",
}
_MOST_IN_MATRIX = 20  # classes


@dataclass(frozen=True)
class Facts:
    """What a model card states beside the record.

    Attributes:
        choice: sentence on how the run was chosen, and whether it is recommended.
        threads: number of CPU threads of the timed computations.
        sizes: MB of the exported file, and of the parameters and buffers of the original network.
        times: ms per image of both, in `threads` threads.
    """

    form: Format
    choice: str
    license: License
    verification: Verification
    sizes: tuple[float, float]
    times: tuple[float, float]
    threads: int


def write_card(run: Run, record: Record, facts: Facts, code: str) -> str:
    """Return the text of a model card: metadata, and sections in Markdown.

    Args:
        run: completed run.
        record: its whole record.
        facts: facts beside the record.
        code: content of `predict.py`.
    """
    data, model = record.data, record.model
    assert data is not None and model is not None
    loss = record.evaluation.get("val", {}).get("loss")
    replicates = len(loss.replicates) if loss else 1
    splits = [split for split in _NAMES if split in record.deployed]
    frozen = model.checkpoint == "head.safetensors"
    body = _environment().get_template("card.md.j2").render(
        name=record.name,
        classes=data.classes,
        model=model.label,
        weights=record.weights,
        training="a frozen backbone with a trained head" if frozen else "trained as a whole",
        heads=f"the mean of {replicates} heads" if replicates > 1 else "head",
        dataset=record.dataset,
        file=facts.form.file,
        size=_size(model.preprocessing),
        requirements=facts.form.requirements,
        code=code.strip(),
        counts={_NAMES[split]: n for split, n in data.counts.items() if split != "cross_fit"},
        data_lines=_data_lines(record),
        results=[_NAMES[split] for split in splits],
        metrics={
            name: [_shown(record.deployed[split].get(metric), metric) for split in splits]
            for metric, name in _METRICS.items()
            if any(metric in record.deployed[split] for split in splits)
        },
        by_class=[_by_class(run, record, split) for split in splits if split in record.classes],
        choice=facts.choice,
        limits=_limits(record, facts),
        verified=_verified(facts.verification),
        sizes=facts.sizes,
        times=facts.times,
        threads=numbers.counted(facts.threads, "thread"),
        license=_license_text(facts.license),
    )  # fmt: skip
    return front_matter(record, facts.form, facts.license) + "\n" + body.rstrip() + "\n"


def code_of(form: Format) -> str:
    """Return the content of `predict.py`: how the model runs without this package."""
    template = _environment().get_template("predict.py.j2")
    return template.render(form=form.name, file=form.file, requirements=form.requirements)


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE), trim_blocks=True, keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.filters["markdown"] = markdown
    return environment


def _size(preprocessing: Mapping[str, Any]) -> int:
    return int(preprocessing["crop"] or preprocessing["resize"][0])


def _shown(measure: Interval | None, metric: str) -> str:
    if measure is None:
        return "–"
    if metric == "loss":
        return numbers.with_interval(measure)
    return f"{numbers.percent(measure.value)} {numbers.percent_interval(measure)}".rstrip()


def _data_lines(record: Record) -> list[str]:
    """Return what else there is to say about the images."""
    assert record.data is not None
    lines = []
    if record.is_synthetic:
        lines.append("The images are rendered, not photographs: scores say nothing about yours.")
    for split, groups in record.data.groups.items():
        lines.append(f"The {_NAMES[split]} images are of {groups:,} groups, such as patients.")
    if count := len(record.data.skipped):
        lines.append(f"{numbers.counted(count, 'file')} could not be used and are left out.")
    return lines


def _by_class(run: Run, record: Record, split: str) -> dict[str, Any]:
    assert record.data is not None
    rows = [
        [name, f"{scores.images:,}", *_shares(scores)]
        for name, scores in record.classes[split].items()
    ]
    counts = None
    if len(record.data.classes) <= _MOST_IN_MATRIX:
        predictions = (logits.read(run.directory, record, {split}) or {}).get(split)
        if predictions is not None and record.temperature is not None:
            deployed = deployed_predictions(predictions, record.temperature)
            size = len(record.data.classes)
            counts = confusion(deployed.labels, deployed.predicted[0], size).tolist()
    return {"name": _NAMES[split], "rows": rows, "confusion": counts}


def _shares(scores: ClassMeasures) -> list[str]:
    values = (scores.precision, scores.recall, scores.f1)
    return [
        _shown(value, "") if isinstance(value, Interval) else numbers.percent(value)
        for value in values
    ]


def _limits(record: Record, facts: Facts) -> list[str]:
    """Return what the evidence does not show."""
    assert record.data is not None
    counts = record.data.counts
    lines = [
        "It names one of its classes for any image, also for one of none of them.",
        f"Scores rest on {counts.get('val', 0):,} validation and {counts.get('test', 0):,} test "
        "images; the intervals above say how far they may be off, for images drawn like these.",
    ]
    if record.weights == "random":
        frozen = record.model is not None and record.model.checkpoint == "head.safetensors"
        consequence = (
            ", which were never trained: this model shows how the program works."
            if frozen
            else "; it was trained on these images alone."
        )
        lines.append(f"The backbone has random weights{consequence}")
    for split in ("val", "test"):
        few = [
            name for name, scores in record.classes.get(split, {}).items()
            if scores.images < FEW_IMAGES
        ]  # fmt: skip
        if few:
            named = ", ".join(markdown(name) for name in few[:10])
            more = f" and {len(few) - 10} more" if len(few) > 10 else ""
            lines.append(
                f"Fewer than {FEW_IMAGES} {_NAMES[split]} images of {named}{more}: scores say "
                "little about them."
            )
    lines.append(_near_duplicates(record))
    if other := facts.verification.other_pixels:
        lines.append(
            f"`predict.py` decodes {len(other)} of {facts.verification.compared} validation images "
            f"to other pixels than training did, {markdown(other[0])} first: their predictions may "
            "differ."
        )
    return lines


def _near_duplicates(record: Record) -> str:
    """Return what is known of near duplicates across the splits."""
    duplicates = record.near_duplicates
    if duplicates is None:
        return (
            "Near duplicates across training, validation, and test images were not looked for; "
            "they would make the scores optimistic."
        )
    if not duplicates.counted:
        return "No near duplicates across training, validation, and test images were found."
    excluded = len(duplicates.excluded)
    left_out = f" {numbers.counted(excluded, 'training image')} were left out." if excluded else ""
    consequence = "" if excluded or not duplicates.advice else " The scores are optimistic."
    return f"{duplicates.counted}.{left_out}{consequence}"


def _verified(done: Verification) -> str:
    text = (
        f"Its probabilities of {done.compared:,} of the {done.recorded:,} validation images were "
        f"compared with those of the run's record: the largest difference is {done.difference:.1e}"
        f" (up to {done.rounding:g} is rounding). "
    )
    if done.ties:
        return text + f"{len(done.ties)} images at a tie got another class by rounding."
    return text + "Every image got the same class."


def _license_text(license: License) -> str:
    named = license.name or "none stated"
    if license.non_commercial:
        named = f"**{named}, which forbids commercial use**"
    return f"{named}. {license.note} The images may have terms of their own."
