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

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from visionsweep.cli import entry
from visionsweep.cli.entry import path_argument
from visionsweep.runtime.allocation import keep_freed_memory
from visionsweep.text.escaping import json_text, visible

if TYPE_CHECKING:
    from rich.table import Table

    from visionsweep.analysis.per_class import ClassScores
    from visionsweep.config.schema import DataConfig
    from visionsweep.inference.evaluation import Evaluation
    from visionsweep.runs.discovery import Run


_MOST_CLASSES = 30  # in the table; JSON has all


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; arguments default to those of the process."""
    return entry.run(_evaluate, arguments, script="evaluate.py")


def _evaluate(arguments: list[str]) -> int:
    """Score a run and print its metrics."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=path_argument, help="a run's directory")
    parser.add_argument("settings", nargs="*", help="data=..., data.root=..., as for train.py")
    parser.add_argument(
        "--split", choices=("test", "val", "train", "all"), default="test", help="(test)"
    )
    parser.add_argument(
        "--own-images", type=Path, metavar="PATH", help="the data.root that the run was trained on"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (auto)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_intermixed_args(arguments)

    from visionsweep.cli.selection import named_run

    run = named_run(options.run, "evaluate.py")
    data = _data(run, options.settings)

    # These import torch: not for --help and refusals.
    from visionsweep.analysis.per_class import class_scores, never_predicted
    from visionsweep.inference.evaluation import evaluate
    from visionsweep.runtime.devices import pick_device

    keep_freed_memory()
    device = pick_device(options.device)
    done = evaluate(run, data, options.split, device, own_images=options.own_images)
    about = f"{run.directory} on {done.dataset}, {options.split}: {done.images} images"
    scores = dict(zip(done.classes, class_scores(done.confusion), strict=True))
    if options.json:
        print(json_text(_as_json(run, done, scores), encoding=sys.stdout.encoding))
        return 0

    from rich.table import Table

    from visionsweep.report.console import wide_console

    table = Table("metric", "value", "95% interval", "each replicate by itself", title=about)
    for name, m in done.deployed.items():
        replicates = done.measures[name].replicates if name in done.measures else []
        values = ", ".join(f"{value:.4f}" for value in replicates)
        table.add_row(name, f"{m.value:.4f}", f"[{m.low:.4f}, {m.high:.4f}]", values)
    wide_console().print(table)
    wide_console().print(_class_table(scores))
    if never := never_predicted(scores):
        print(f"Never predicted: {', '.join(map(visible, never))}.")
    if not done.as_recorded:
        print(f"These are not one of the splits of the run's record. {_of_training(done)}")
    elif run.record.evaluation.get(options.split) == done.measures:
        print("These are the images of the run's record, and these are its numbers.")
    elif options.split in run.record.evaluation:
        print(
            "These are the images of the run's record, but not its numbers: the libraries, the "
            "device or the number of threads are others."
        )
    return 0


def _of_training(done: "Evaluation") -> str:
    """Say how many of the images the run was trained on."""
    if done.trained_on is None:
        return (
            "Whether it was trained on any of them cannot be said without its own images: "
            "--own-images PATH says where they are."
        )
    if done.trained_on == 0:
        return "It was trained on none of them."
    return f"It was trained on {done.trained_on} of these {done.images}: the scores are optimistic."


def _as_json(run: "Run", done: "Evaluation", scores: "Mapping[str, ClassScores]") -> dict[str, Any]:
    from visionsweep.analysis.per_class import balanced_accuracy

    return {
        "run": str(run.directory),
        "dataset": done.dataset,
        "split": done.split,
        "images": done.images,
        "as_recorded": done.as_recorded,
        "trained_on": done.trained_on,
        "metrics": msgspec.to_builtins(done.measures),
        "deployed": msgspec.to_builtins(done.deployed),
        "balanced_accuracy": balanced_accuracy(done.confusion),
        "classes": {name: asdict(of_class) for name, of_class in scores.items()},
        "confusion": done.confusion.tolist(),
    }


def _class_table(scores: "Mapping[str, ClassScores]") -> "Table":
    """Return precision, recall and F1 of each class, the lowest F1 first."""
    from rich.table import Table

    from visionsweep.analysis.per_class import lowest_f1_first
    from visionsweep.report import numbers

    rows = lowest_f1_first(scores)
    left = len(rows) - _MOST_CLASSES
    title = f"the {_MOST_CLASSES} classes with the lowest F1" if left > 0 else "classes"
    table = Table("class", title=title)
    for name in ("images", "predicted", "precision", "recall", "F1"):
        table.add_column(name, justify="right")
    for name, of_class in rows[:_MOST_CLASSES]:
        table.add_row(
            name,
            f"{of_class.images:,}",
            f"{of_class.predicted:,}",
            *(
                f"{numbers.percent(share.value)} {numbers.percent_interval(share)}".rstrip()
                for share in (of_class.precision, of_class.recall)
            ),
            f"{of_class.f1:.3f}",
        )
    return table


def _data(run: "Run", settings: list[str]) -> "DataConfig":
    """Return which images are meant: the run's own, changed by what was asked for."""
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from visionsweep.config.derived import keys
    from visionsweep.config.derived import settings as declared
    from visionsweep.config.overrides import values_for
    from visionsweep.config.schema import register_schema
    from visionsweep.config.validation import validate_config
    from visionsweep.errors import UserError, nearest
    from visionsweep.runs import names
    from visionsweep.runs.recorded_config import (
        CONF,
        not_followed,
        read_back,
        require_places,
        uninterpolated,
    )

    values = values_for(settings)
    for setting in settings:
        key, equals, _ = setting.partition("=")
        if key not in keys(path=True) and not uninterpolated(setting):
            raise UserError(f"{setting}: holds ${{, and nothing is interpolated here")
        if not equals or not key.startswith("data"):
            raise UserError(f"{setting}: only data=... and data.KEY=... can be given here")
        if key != "data" and key not in declared():
            raise UserError(f"{setting}: no such key{nearest(key, declared())}")
    register_schema()
    names.register_resolvers()
    own = [s for s in settings if s.startswith("data=")]
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            composed = compose("config", own)
    except HydraException as error:
        raise UserError(str(error).partition("Config search path")[0].rstrip()) from error
    if not own:
        recorded = read_back(run.record)
        require_places(run.directory, recorded, settings, "evaluate.py")
        if said := not_followed(recorded, settings):
            print(visible(said), file=sys.stderr)
        OmegaConf.update(composed, "data", recorded.config.data)
    for key in values.keys() - {"data"}:
        try:
            OmegaConf.update(composed, key, values[key])
        except OmegaConfBaseException as error:
            raise UserError(str(error).splitlines()[0], where=f"{key}={values[key]}") from error
    return validate_config(composed).data
