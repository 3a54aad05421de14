"""The plan of a sweep: what it would run, what that takes, and which differences it could show."""

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri

from visionsweep.analysis.comparison import ALPHA, POWER
from visionsweep.cli import composition
from visionsweep.config.overrides import read
from visionsweep.config.schema import Config
from visionsweep.config.validation import validate_config
from visionsweep.errors import UserError
from visionsweep.report.numbers import counted, decimal
from visionsweep.runs import names
from visionsweep.sweeps.callback import tries_all
from visionsweep.sweeps.estimate import in_words
from visionsweep.text.escaping import visible

if TYPE_CHECKING:
    from visionsweep.data.splits import Splits
    from visionsweep.runs.discovery import Run
    from visionsweep.training.plan import Plan

_DISAGREEING = (0.05, 0.1, 0.2)  # shares of images on which two runs are not both right or wrong
_DETECTED = float(ndtri([1 - ALPHA / 2, POWER]).sum())  # standard errors
_EARLIER_RUNS = 8  # of which differences are measured


def show(arguments: Sequence[str], config_dir: Path) -> None:
    """Print the plan of a validated command. Nothing is downloaded, and nothing but caches written.

    Raises:
        UserError: if a sweeper other than the basic one decides the runs.
    """
    from visionsweep.data.reachability import stay_offline

    stay_offline("plan=true fetches nothing; the same command without it does")
    from visionsweep.training.plan import Plan, add_run

    plan = Plan()
    outputs = Path("outputs")
    for name, config in _planned(arguments, config_dir):
        plan.runs.append(name)
        outputs = Path(config.outputs_dir)
        try:
            add_run(plan, name, config)
        except UserError as error:
            plan.problems[name] = str(error)
    _print(plan, outputs)


def _planned(arguments: Sequence[str], config_dir: Path) -> Iterator[tuple[str, Config]]:
    """Yield name and configuration of each run."""
    command = read(arguments)
    with composition.search_path(command, config_dir):
        given = composition.lists_of(command.settings)
        name = command.flags.config_name or "config"
        first = composition.compose_config([values[0] for values in given.values()], name)
        if not tries_all(first.hydra.sweeper):
            raise UserError(
                "this sweeper chooses each run by those before it, so there is no plan",
                where=f"hydra.sweeper={first.hydra.sweeper._target_}",
                hint="Leave plan=true out.",
            )
        lists = composition.lists_of_study(first.hydra.sweeper) | given
        for values in itertools.product(*lists.values()):
            composed = composition.compose_config(list(values), name)
            run = names.name_of(composed, composed.hydra)
            config = validate_config(composition.without_hydra(composed), look_at_files=False)
            names.relabel(config, list(values))
            yield run, config


def _print(plan: "Plan", outputs: Path) -> None:
    """Print a plan."""
    from rich.table import Table

    from visionsweep.report.console import wide_console

    left = len(plan.runs) - len(plan.finished) - len(plan.problems)
    print(f"{counted(len(plan.runs), 'run')}: {left:,} to train, {len(plan.finished):,} finished.")
    if plan.finished:
        print("reuse=true copies finished runs of other sweeps; resume=... trains none twice:")
        for name, place in itertools.islice(plan.finished.items(), 10):
            print(visible(f"  {name}: {place}"))
    for problem, runs in _by_problem(plan.problems).items():
        print(f"{counted(len(runs), 'run')} cannot be planned, {visible(runs[0])} first:")
        print(visible(problem, lines=True))
    if plan.backbones:
        table = Table("backbone", title="Features")
        for column in ("images", "stored", "to extract", "time"):
            table.add_column(column, justify="right")
        for name, of in plan.backbones.items():
            images, missing = len(of.images), len(of.missing)
            needed = "not measured" if of.seconds is None else in_words(of.seconds)
            time = needed if missing else ""
            table.add_row(name, f"{images:,}", f"{images - missing:,}", f"{missing:,}", time)
        wide_console().print(table)
    if left:
        _print_costs(plan)
    earlier = _earlier_runs(outputs)
    for splits in plan.validation.values():
        _print_differences(splits, earlier)


def _by_problem(problems: dict[str, str]) -> dict[str, list[str]]:
    runs: dict[str, list[str]] = defaultdict(list)
    for name, problem in problems.items():
        runs[problem].append(name)
    return runs


def _print_costs(plan: "Plan") -> None:
    """Print the time and the disk space that a plan takes."""
    if plan.seconds is None:
        print("Time: not known, since no run of this kind has been measured on this machine.")
    else:
        scaled = ", some scaled by the multiply-adds of another network" if plan.is_scaled else ""
        print(
            f"Time: {in_words(plan.seconds)} one after another, by rates measured on this machine"
            f"{scaled}."
        )
    print(f"Disk: about {max(plan.bytes / 1e6, 1):,.0f} MB.")


def _print_differences(splits: "Splits", earlier: "Sequence[Run]") -> None:
    """Print which differences the validation images can show, with a power of 80% at 5%."""
    images = len(splits.val)
    points = ", ".join(
        f"{100 * _DETECTED * np.sqrt(share / images):.1f} points if they disagree on {share:.0%}"
        for share in _DISAGREEING
    )
    print(
        f"With the {images:,} validation images of {visible(splits.dataset)}, a difference in "
        f"accuracy between two runs is found in {POWER:.0%} of cases from {points}."
    )
    if measured := _measured_deviation(splits.digest("val"), earlier):
        deviation, runs = measured
        least = decimal(_DETECTED * deviation / np.sqrt(images))
        print(f"In loss, from {least} (by how {runs} earlier runs on these images differ).")


def _earlier_runs(outputs: Path) -> "Sequence[Run]":
    """Return the completed runs below a folder that are compared on validation images alone."""
    from visionsweep.runs.discovery import completed, find_runs

    runs = completed(find_runs([outputs]).runs) if outputs.is_dir() else []
    return [run for run in runs if run.record.evidence == "val"]


def _measured_deviation(images: str, earlier: "Sequence[Run]") -> tuple[float, int] | None:
    """Return the median standard deviation of paired losses of earlier runs, and their number."""
    from visionsweep.report.recipes import compared_losses

    same = [run for run in earlier if run.record.data and run.record.data.digests["val"] == images]
    losses = []
    for run in same[:_EARLIER_RUNS]:
        with suppress(ValueError):  # compare.py reports a damaged file
            losses.append(compared_losses(run, None, deployed=True))
    means = [of_run.means for of_run in losses if of_run is not None]
    deviations = [float((a - b).std(ddof=1)) for a, b in itertools.combinations(means, 2)]
    return (median(deviations), len(means)) if deviations else None
