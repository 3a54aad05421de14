"""Runs a record again from its own configuration, and says whether it comes to the same numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from visionsweep.analysis.predictions import MANY_CLASSES, Predictions
from visionsweep.analysis.top_logits import shortened
from visionsweep.config import derived
from visionsweep.config.derived import keys, neutral_keys
from visionsweep.config.overrides import values_for
from visionsweep.config.schema import Config
from visionsweep.config.validation import validate_config
from visionsweep.data.gray import recorded_range
from visionsweep.data.split_names import SPLITS
from visionsweep.errors import UserError, nearest
from visionsweep.experiment import run_experiment
from visionsweep.models.heads import HEADS_VERSION
from visionsweep.runs import logits
from visionsweep.runs.discovery import Run
from visionsweep.runs.paths import RECORD
from visionsweep.runs.record import INTERVALS_VERSION, Record
from visionsweep.runs.record_diff import Agreement, compare
from visionsweep.runs.record_file import read_record
from visionsweep.runs.recorded_config import Recorded, read_back, require_places, update
from visionsweep.runtime import provenance
from visionsweep.runtime.devices import device_facts, pick_device
from visionsweep.text.shell import literal
from visionsweep.training.resolve import resolve

# Settings that say where and on what a run is made, and nothing about its numbers.
CHANGEABLE = (keys(role="runtime") | keys(place=True)) - keys(of_sweep=True)
MOST_THREADS = 1024


@dataclass(frozen=True)
class Changed:
    """Something that decides numbers, or may, and is not what it was."""

    what: str
    recorded: str
    now: str


def config_for(run: Run, settings: Sequence[str], into: Path) -> tuple[Config, Recorded]:
    """Return a run's configuration, changed in where and on what it is run, and nothing else.

    Where that is comes from this machine's `conf/` and from the settings, never from the record.

    Args:
        run: the run.
        settings: `key=value` for keys of `CHANGEABLE`.
        into: the directory of the new run.

    Raises:
        UserError: for a setting that decides numbers, for values that cannot be, and where nobody
            but the record says where the images are.
    """
    recorded = read_back(run.record)
    changed = recorded.config.copy()
    if not run.record.is_synthetic:  # other images than the run's would prove nothing
        changed.data.if_unreachable = "error"
    if changed.data.source == "folder" and changed.data.name is None:
        changed.data.name = run.record.dataset  # the folder may have moved to another name
    changed.sweep_dir = literal(str(into))
    changed.reuse = changed.force = False  # here it is trained, whoever has done so before
    for key, value in values_for(settings).items():
        where = f"{key}={value}"
        if key not in derived.settings():
            raise UserError(f"no such setting{nearest(key, CHANGEABLE)}", where=where)
        if key not in CHANGEABLE and (key, changed.model.source) != ("model.weights", "local"):
            raise UserError(
                "would be another experiment, to be trained with src/train.py. What may change "
                f"here: {', '.join(sorted(CHANGEABLE))}",
                where=where,
            )
        update(changed, key, value, where=where)
    require_places(run.directory, recorded, settings, "reproduce")
    return validate_config(changed), recorded


def whats_changed(run: Run, config: Config, recorded: Recorded) -> list[Changed]:
    """List what is not as it was when a run was made; images are looked at, nothing is trained.

    Raises:
        UserError: if the images or the weights cannot be had.
    """
    resolved = resolve(config)
    then, device = run.record, device_facts(pick_device(config.device))
    assert then.data is not None and then.model is not None
    splits, backbone = resolved.splits, resolved.backbone
    facts: list[tuple[str, Any, Any]] = [
        ("dataset", then.dataset, splits.dataset),
        ("classes", ", ".join(then.data.classes), ", ".join(splits.classes)),
    ]
    for split in SPLITS:
        was = f"{then.data.counts[split]} ({then.data.digests[split]})"
        facts.append((f"{split} images", was, f"{splits.counts[split]} ({splits.digest(split)})"))
    facts += [
        ("weights", then.weights, backbone.weights),
        ("backbone", then.model.fingerprint, backbone.fingerprint),
        ("method of intervals (not compared)", then.intervals_version, INTERVALS_VERSION),
        ("gray range", recorded_range(then.model.preprocessing), splits.gray_range),
    ]
    if len(splits.classes) >= MANY_CLASSES:
        facts.append(("arithmetic of heads (rounding)", then.heads_version, HEADS_VERSION))
    git = _git_facts(then.git, "yes"), _git_facts(provenance.git_state(), "yes, and maybe others")
    for before, now in ((then.versions, provenance.versions()), git):
        facts += [(name, before.get(name), now.get(name)) for name in before | now]
    # The record may lack what is known of the device now.
    facts += [(f"device: {key}", value, device.get(key)) for key, value in then.device.items()]
    facts += [(key, value, "no such setting any more") for key, value in recorded.unknown.items()]
    for key in recorded.absent:
        if key not in neutral_keys() | {"data.gray_range"}:
            facts.append((key, None, f"{OmegaConf.select(recorded.config, key)}, the default"))
    return [
        Changed(
            what,
            "not recorded" if was is None else str(was),
            "not there" if is_now is None else str(is_now),
        )
        for what, was, is_now in facts
        if str(was) != str(is_now)
    ]


def _git_facts(state: dict[str, Any] | None, dirty: str) -> dict[str, str]:
    if state is None:
        return {}
    return {"commit": state["commit"], "uncommitted changes": dirty if state["dirty"] else "no"}


def run_again(run: Run, config: Config, into: Path) -> Agreement:
    """Run a record's configuration, see `config_for`, in a directory, and compare the numbers.

    Raises:
        UserError: as `run_experiment`.
    """
    run_experiment(config, into, run.record.name)
    before, now = read_record(run.directory / RECORD), read_record(into / RECORD)
    try:
        kept = _logits(run.directory, before)
    except ValueError as error:
        raise UserError(str(error), where=run.directory / logits.FILE_NAME) from error
    return compare(before, now, kept, _logits(into, now))


def _logits(directory: Path, record: Record) -> dict[str, Predictions] | None:
    """Read the logits of a run; those of many classes as they are stored now."""
    found = logits.read(directory, record)
    return found and {split: shortened(p, record.temperature) for split, p in found.items()}


def use_threads(run: Run, asked: int | None) -> None:
    """Compute with as many CPU threads as were asked for, or else as the run did."""
    threads = asked or run.record.device.get("threads")
    if isinstance(threads, int) and 1 <= threads <= MOST_THREADS:
        torch.set_num_threads(threads)
