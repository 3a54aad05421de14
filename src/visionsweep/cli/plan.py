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
from visionsweep.config.overrides import read, values_of
from visionsweep.config.schema import Config
from visionsweep.config.validation import validate_config
from visionsweep.errors import UserError
from visionsweep.report.numbers import counted, decimal
from visionsweep.runs import names
from visionsweep.sweeps.estimate import in_words
from visionsweep.text.escaping import visible

if TYPE_CHECKING:
    from visionsweep.training.plan import Plan
    from visionsweep.training.resolve import Resolved

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
        given = {o.get_key_element(): values_of(o) for o in composition.parse(command.settings)}
        name = command.flags.config_name or "config"
        first = composition.compose_config([values[0] for values in given.values()], name)
        if not first.hydra.sweeper._target_.endswith(".BasicSweeper"):
            raise UserError(
                "this sweeper chooses each run by those before it, so there is no plan",
                where=f"hydra.sweeper={first.hydra.sweeper._target_}",
                hint="Leave plan=true out.",
            )
        params = first.hydra.sweeper.get("params") or {}
        study = composition.parse([f"{key}={value}" for key, value in params.items()])
        lists = {o.get_key_element(): values_of(o) for o in study} | given
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
    seconds, unknown = plan.seconds, False
    if plan.backbones:
        table = Table("backbone", title="Features")
        for column in ("images", "stored", "to extract", "time"):
            table.add_column(column, justify="right")
        for name, of in plan.backbones.items():
            images, missing = len(of.images), len(of.missing)
            needed = missing / of.rate[0] if of.rate else 0.0
            if missing:
                seconds += needed
                plan.scaled |= of.rate is not None and not of.rate[1]
                unknown |= of.rate is None
            time = "" if not missing else in_words(needed) if of.rate else "not measured"
            table.add_row(name, f"{images:,}", f"{images - missing:,}", f"{missing:,}", time)
            plan.disk += missing * of.bytes_per_image
        wide_console().print(table)
    if left:
        _print_costs(plan, seconds, unknown=unknown)
    for resolved in plan.validation.values():
        _print_differences(resolved, outputs)


def _by_problem(problems: dict[str, str]) -> dict[str, list[str]]:
    runs: dict[str, list[str]] = defaultdict(list)
    for name, problem in problems.items():
        runs[problem].append(name)
    return runs


def _print_costs(plan: "Plan", seconds: float, *, unknown: bool) -> None:
    """Print the time and the disk space that a plan takes."""
    if unknown or plan.unmeasured:
        print("Time: not known, since no run of this kind has been measured on this machine.")
    else:
        scaled = ", some scaled by the multiply-adds of another network" if plan.scaled else ""
        print(
            f"Time: {in_words(seconds)} one after another, by rates measured on this machine"
            f"{scaled}."
        )
    print(f"Disk: about {max(plan.disk / 1e6, 1):,.0f} MB.")


def _print_differences(resolved: "Resolved", outputs: Path) -> None:
    """Print which differences the validation images can show, with a power of 80% at 5%."""
    splits = resolved.splits
    images = len(splits.val)
    points = ", ".join(
        f"{100 * _DETECTED * np.sqrt(share / images):.1f} points if they disagree on {share:.0%}"
        for share in _DISAGREEING
    )
    print(
        f"With the {images:,} validation images of {visible(splits.dataset)}, a difference in "
        f"accuracy between two runs is found in {POWER:.0%} of cases from {points}."
    )
    if measured := _measured_deviation(splits.digest("val"), outputs):
        deviation, runs = measured
        least = decimal(_DETECTED * deviation / np.sqrt(images))
        print(f"In loss, from {least} (by how {runs} earlier runs on these images differ).")


def _measured_deviation(images: str, outputs: Path) -> tuple[float, int] | None:
    """Return the median standard deviation of paired losses of earlier runs, and their number."""
    from visionsweep.report.recipes import compared_losses
    from visionsweep.runs.discovery import completed, find_runs

    if not outputs.is_dir():
        return None
    runs = [
        run
        for run in completed(find_runs([outputs]).runs)
        if run.record.data is not None
        and run.record.data.digests["val"] == images
        and run.record.evidence == "val"
    ]
    found = []
    for run in runs[:_EARLIER_RUNS]:
        with suppress(ValueError):  # compare.py reports a damaged file
            found += [of for of in [compared_losses(run, None, deployed=True)] if of is not None]
    pairs = [float((a.means - b.means).std(ddof=1)) for a, b in itertools.combinations(found, 2)]
    return (median(pairs), len(found)) if pairs else None
