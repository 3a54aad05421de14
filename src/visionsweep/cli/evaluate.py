"""Score a stored run on any images: each metric with its 95% interval, and each class.

    python src/evaluate.py outputs/2026-01-31/12-00-00-000000/effnetb0_10pct_5-epochs
    python src/evaluate.py RUN data=folder data.root=PATH
    python src/evaluate.py RUN data=folder data.root=PATH --split all --json

Without `data=...` the run's own images are taken; on its own test images it gives the numbers of
the record. A folder with neither test/ nor train/ has 15% split off as test: --split all takes
every image.

A record may come from anybody, so no place in it is followed: give data.root=PATH for a run on a
folder, and --own-images PATH to have those images counted that it was trained on.
"""

import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from visionsweep.cli.entry import command, parser, path_argument
from visionsweep.runtime.allocation import keep_freed_memory
from visionsweep.text.escaping import enumerated, json_text, visible

if TYPE_CHECKING:
    from rich.table import Table

    from visionsweep.analysis.per_class import ClassScores
    from visionsweep.config.schema import DataConfig
    from visionsweep.inference.evaluation import Evaluation
    from visionsweep.runs.discovery import Run

_MOST_CLASSES = 30  # in the table; JSON has all


@command("evaluate")
def main(arguments: list[str]) -> int:
    """Score a run and print its metrics."""
    parse = parser(__doc__)
    add = parse.add_argument
    add("run", type=path_argument, help="a run's directory")
    add("settings", nargs="*", help="data=..., data.root=..., as for train.py")
    add("--split", choices=("test", "val", "train", "all"), default="test", help="(test)")
    add("--own-images", type=Path, metavar="PATH", help="the data.root that the run was trained on")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (auto)")
    add("--json", action="store_true", help="print JSON instead of a table")
    options = parse.parse_intermixed_args(arguments)

    from visionsweep.cli.selection import named_run

    run = named_run(options.run, "evaluate")
    data = _data(run, options.settings)

    # These import torch: not for --help and refusals.
    from visionsweep.analysis.per_class import balanced_accuracy
    from visionsweep.inference.evaluation import evaluate
    from visionsweep.reproduction import use_threads
    from visionsweep.runtime.devices import pick_device

    keep_freed_memory()
    use_threads(run, None)
    device = pick_device(options.device)
    done = evaluate(run, data, options.split, device, own_images=options.own_images)
    scores = dict(zip(done.classes, done.by_class, strict=True))
    if not options.json:
        _print_tables(run, done, scores)
        return 0
    report = {
        "run": str(run.directory),
        "dataset": done.dataset,
        "split": done.split,
        "images": done.images,
        "groups": done.groups,
        "as_recorded": done.as_recorded,
        "trained_on": done.trained_on,
        "metrics": msgspec.to_builtins(done.measures),
        "deployed": msgspec.to_builtins(done.deployed),
        "balanced_accuracy": balanced_accuracy(done.confusion),
        "classes": {name: asdict(of_class) for name, of_class in scores.items()},
        "confusion": done.confusion.tolist(),
    }
    print(json_text(report, encoding=sys.stdout.encoding))
    return 0


def _print_tables(run: "Run", done: "Evaluation", scores: "Mapping[str, ClassScores]") -> None:
    """Print the metrics, the scores of each class, and how the images relate to the run's."""
    from rich.table import Table

    from visionsweep.analysis.per_class import never_predicted
    from visionsweep.report.console import wide_console
    from visionsweep.report.numbers import about_groups

    about = f"{run.directory} on {done.dataset}, {done.split}: {done.images} images"
    print(visible(about))
    table = Table("metric", "value", "95% interval", "each replicate by itself")
    for name, m in done.deployed.items():
        replicates = done.measures[name].replicates if name in done.measures else []
        values = ", ".join(f"{value:.4f}" for value in replicates)
        table.add_row(name, f"{m.value:.4f}", f"[{m.low:.4f}, {m.high:.4f}]", values)
    wide_console().print(table)
    wide_console().print(_class_table(scores))
    if done.groups is not None:
        print(about_groups(done.groups, "images"))
    if never := never_predicted(scores):
        print(f"Never predicted: {enumerated(never)}.")
    if not done.as_recorded:
        trained_on = "It was trained on none of them."
        if done.trained_on is None:
            trained_on = (
                "Whether it was trained on any of them cannot be said without its own images: "
                "--own-images PATH says where they are."
            )
        elif done.trained_on:
            some = f"{done.trained_on} of these {done.images}"
            trained_on = f"It was trained on {some}: the scores are optimistic."
        print(f"These are not one of the splits of the run's record. {trained_on}")
    elif run.record.evaluation.get(done.split) == done.measures:
        print("These are the images of the run's record, and these are its numbers.")
    elif done.split in run.record.evaluation:
        print(
            "These are the images of the run's record, but not its numbers: the libraries or the "
            "device are others."
        )


def _class_table(scores: "Mapping[str, ClassScores]") -> "Table":
    """Return precision, recall and F1 of each class, the lowest F1 first."""
    from rich.table import Table

    from visionsweep.analysis.per_class import lowest_f1_first
    from visionsweep.report import numbers

    rows = lowest_f1_first(scores)
    fewer = len(rows) > _MOST_CLASSES
    title = f"the {_MOST_CLASSES} classes with the lowest F1" if fewer else "classes"
    table = Table("class", title=title)
    for name in ("images", "predicted", "precision", "recall", "F1"):
        table.add_column(name, justify="right")
    for name, of_class in rows[:_MOST_CLASSES]:
        shares = (
            f"{numbers.percent(share.value)} {numbers.percent_interval(share)}".rstrip()
            for share in (of_class.precision, of_class.recall, of_class.f1)
        )
        table.add_row(name, f"{of_class.images:,}", f"{of_class.predicted:,}", *shares)
    return table


def _data(run: "Run", settings: list[str]) -> "DataConfig":
    """Return which images are meant: the run's own, changed by what was asked for."""
    from visionsweep.config.derived import settings as declared
    from visionsweep.config.overrides import values_for
    from visionsweep.config.validation import validate_config
    from visionsweep.errors import UserError, nearest
    from visionsweep.runs import recorded_config

    values = values_for(settings)
    for key in values:
        if not key.startswith("data"):
            raise UserError("only data=... and data.KEY=... can be given here", where=key)
        if key not in ("data", *declared()):
            raise UserError(f"no such key{nearest(key, declared())}", where=key)
    config = recorded_config.composed(*(f"data={v}" for key, v in values.items() if key == "data"))
    if "data" not in values:
        recorded = recorded_config.read_back(run.record)
        recorded_config.require_places(run.directory, recorded, settings, "evaluate")
        if said := recorded_config.not_followed(recorded, settings):
            print(visible(said), file=sys.stderr)
        config.data = recorded.config.data
    for key in values.keys() - {"data"}:
        recorded_config.update(config, key, values[key], where=f"{key}={values[key]}")
    return validate_config(config).data
