"""Train one experiment, or with -m a sweep of them.

python src/train.py
python src/train.py -m model=effnetb0,effnetb2 data=10pct,20pct epochs=5,10
python src/train.py -m model=effnetb0,effnetb2 data=10pct,20pct epochs=5,10 resume=last
python src/train.py --help
"""

import sys
from pathlib import Path
from typing import cast

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from visionsweep.cli import entry
from visionsweep.cli.command_line import asks_for_plan, validate_overrides
from visionsweep.cli.help import manual
from visionsweep.config.validation import validate_config
from visionsweep.errors import UserError
from visionsweep.installation import CONF, localized
from visionsweep.runs import names
from visionsweep.runtime import signals
from visionsweep.runtime.allocation import keep_freed_memory
from visionsweep.sweeps import callback, launchers, machine_share, session
from visionsweep.text.escaping import make_logs_visible


@entry.command("train")
def main(arguments: list[str]) -> int:
    """Train, and end with the manual's name if the command is refused."""
    try:
        return train(arguments)
    except UserError as error:
        nothing = "Nothing was run. The manual: python src/train.py --help"
        raise SystemExit(f"{error}\n{nothing}") from None


def train(arguments: list[str]) -> int:
    """Validate the whole command, then let Hydra run it.

    Raises:
        UserError: if the command is refused; errors of runs are printed.
    """
    launchers.prepare_composition()
    if not {"-h", "--help"} & set(arguments):
        planning = asks_for_plan(arguments)
        sys.argv[1:] = validate_overrides(arguments, CONF, require_weights=not planning)
        if planning:
            from visionsweep.cli import plan

            plan.show(sys.argv[1:], CONF)
            return 0
    if {"-h", "--help"} & set(sys.argv):  # also where it was abbreviated
        print(localized(manual(CONF)))
        return 0
    try:
        with signals.installed():
            return session.run(run)
    finally:
        HydraConfig.instance().cfg = None


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def run(composed: DictConfig) -> float:
    """Run one experiment and return the loss it is ranked by, which a sweeper may minimize."""
    from visionsweep.experiment import run_experiment  # these import torch: not for --help
    from visionsweep.features.extraction import remember_pixels

    make_logs_visible()  # in the process of a launcher, too
    keep_freed_memory()
    settings = cast(DictConfig, HydraConfig.get())
    if settings.mode == RunMode.MULTIRUN:
        remember_pixels()
    name = names.name_of(composed, settings)
    with callback.job(composed, name):
        config = validate_config(composed, look_at_files=False)
        names.relabel(config, list(settings.overrides.task))
        with machine_share.machine_share(settings, config):
            record = run_experiment(config, Path(settings.runtime.output_dir), name)
    assert record.compared is not None
    return record.compared.loss
