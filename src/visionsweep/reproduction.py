"""Runs a record again from its own configuration, and says whether it comes to the same numbers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from visionsweep.config import derived
from visionsweep.config.derived import keys
from visionsweep.config.overrides import values_for
from visionsweep.config.schema import Config
from visionsweep.config.validation import validate_config
from visionsweep.data.gray import recorded_range
from visionsweep.data.splits import SPLITS
from visionsweep.errors import UserError, nearest
from visionsweep.experiment import run_experiment
from visionsweep.runs import logits
from visionsweep.runs.discovery import Run
from visionsweep.runs.paths import RECORD
from visionsweep.runs.record import RecordSummary
from visionsweep.runs.record_diff import Agreement, compare
from visionsweep.runs.record_file import read_record
from visionsweep.runs.recorded_config import Recorded, read_back, require_places, uninterpolated
from visionsweep.runtime import provenance
from visionsweep.runtime.devices import device_facts, pick_device
from visionsweep.text.shell import literal
from visionsweep.training.resolve import Resolved, resolve

# Settings that say where and on what a run is made, and nothing about its numbers.
CHANGEABLE = (keys(role="runtime") | keys(place=True)) - keys(of_sweep=True)
MOST_THREADS = 1024


@dataclass(frozen=True)
class Changed:
    """Something that decides numbers, or may, and is not what it was.

    Attributes:
        what: its name.
        recorded: as it was.
        now: as it is.
    """

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
    values = values_for(settings)
    for setting in settings:
        key, equals, _ = setting.partition("=")
        if not equals or key not in derived.settings():
            raise UserError(f"{setting}: no such setting{nearest(key, CHANGEABLE)}")
        if key not in CHANGEABLE:
            raise UserError(
                f"{setting}: would be another experiment, to be trained with src/train.py. What "
                f"may change here: {', '.join(sorted(CHANGEABLE))}"
            )
        if key not in keys(path=True) and not uninterpolated(values[key]):
            raise UserError(f"{setting}: holds ${{, and nothing is interpolated here")
        try:
            OmegaConf.update(changed, key, values[key])
        except OmegaConfBaseException as error:
            raise UserError(f"{setting}: {str(error).splitlines()[0]}") from error
    require_places(run.directory, recorded, settings, "reproduce.py")
    return validate_config(changed), recorded


def whats_changed(run: Run, config: Config, recorded: Recorded) -> list[Changed]:
    """List what is not as it was when a run was made; images are looked at, nothing is trained.

    Args:
        run: the run.
        config: with which it is going to be run again.
        recorded: the configuration as it was read back.

    Raises:
        UserError: if the images or the weights cannot be had.
    """
    resolved = resolve(config)
    device = device_facts(pick_device(config.device))
    now = dict(_facts(run.record, resolved, device, recorded))
    then = dict(_facts_recorded(run.record, recorded))
    return [
        Changed(what, then.get(what, "not recorded"), now.get(what, "not there"))
        for what in [*then, *(w for w in now if w not in then)]
        if then.get(what) != now.get(what)
    ]


def _absent_result_settings(recorded: Recorded) -> list[str]:
    """Return the settings that a record lacks and that determine numbers."""
    left_out = keys(role="runtime") | {"data.gray_range"}
    return [key for key in recorded.absent if key not in left_out]


def _facts_recorded(then: RecordSummary, recorded: Recorded) -> Iterator[tuple[str, str]]:
    """List what a record says of all that decides numbers."""
    assert then.data is not None and then.model is not None
    yield "dataset", str(then.dataset)
    yield "classes", ", ".join(then.data.classes)
    for split in SPLITS:
        yield f"{split} images", _images(then.data.counts[split], then.data.digests[split])
    yield "weights", str(then.weights)
    yield "backbone", then.model.fingerprint
    if (limits := recorded_range(then.model.preprocessing)) is not None:
        yield "gray range", str(limits)
    yield from then.versions.items()
    yield from _of_git(then.git, "yes")
    yield from ((f"device: {key}", str(value)) for key, value in then.device.items())
    for key, value in recorded.unknown.items():
        yield key, str(value)
    for key in _absent_result_settings(recorded):
        yield key, "not recorded"


def _facts(
    then: RecordSummary, resolved: Resolved, device: dict[str, Any], recorded: Recorded
) -> Iterator[tuple[str, str]]:
    """List the same as it is now, but not facts about the device that the record does not keep."""
    splits, backbone = resolved.splits, resolved.backbone
    yield "dataset", splits.dataset
    yield "classes", ", ".join(splits.classes)
    for split in SPLITS:
        yield f"{split} images", _images(splits.counts[split], splits.digest(split))
    yield "weights", backbone.weights
    yield "backbone", backbone.fingerprint
    if splits.gray_range is not None:
        yield "gray range", str(splits.gray_range)
    yield from provenance.versions().items()
    yield from _of_git(provenance.git_state(), "yes, and maybe others")
    yield from ((f"device: {key}", str(device[key])) for key in then.device if key in device)
    for key in recorded.unknown:
        yield key, "no such setting any more"
    for key in _absent_result_settings(recorded):
        yield key, f"{OmegaConf.select(recorded.config, key)}, the default"


def _images(count: int, digest: str) -> str:
    return f"{count} ({digest})"


def _of_git(state: dict[str, Any] | None, dirty: str) -> Iterator[tuple[str, str]]:
    if state is not None:
        yield "commit", state["commit"]
        yield "uncommitted changes", dirty if state["dirty"] else "no"


def run_again(run: Run, config: Config, into: Path) -> Agreement:
    """Run a record's configuration and compare what it comes to, number by number.

    Args:
        run: the run.
        config: what to run; see `config_for`.
        into: the directory of the new run.

    Raises:
        UserError: as `run_experiment`.
    """
    run_experiment(config, into, run.record.name)
    before, now = read_record(run.directory / RECORD), read_record(into / RECORD)
    try:
        kept = logits.read(run.directory, before)
    except ValueError as error:
        raise UserError(str(error), where=run.directory / logits.FILE_NAME) from error
    return compare(before, now, kept, logits.read(into, now))


def use_threads(run: Run, asked: int | None) -> None:
    """Compute with as many CPU threads as were asked for, or else as the run did."""
    threads = asked or run.record.device.get("threads")
    if isinstance(threads, int) and 1 <= threads <= MOST_THREADS:
        torch.set_num_threads(threads)
