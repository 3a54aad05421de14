"""Train one experiment, or with -m a sweep of them.

python src/train.py
python src/train.py -m model=effnetb0,effnetb2 data=10pct,20pct epochs=5,10
python src/train.py -m model=effnetb0,effnetb2 data=10pct,20pct epochs=5,10 resume=last
python src/train.py --help
"""

import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from visionsweep.cli import command_line
from visionsweep.cli.entry import run_command
from visionsweep.cli.help import manual
from visionsweep.config.schema import register_schema
from visionsweep.config.validation import validate_config
from visionsweep.runs import names
from visionsweep.runtime import signals
from visionsweep.sweep import callback, launchers, machine_share, session
from visionsweep.text.escaping import make_logs_visible

register_schema()
names.register_resolvers()


@hydra.main(version_base="1.3", config_path="../conf", config_name="config")
def main(composed: DictConfig) -> float:
    """Run one experiment and return its validation loss, which a sweeper may minimize."""
    from visionsweep.experiment import run_experiment  # these import torch: not for --help
    from visionsweep.features.extraction import remember_pixels

    make_logs_visible()  # in the process of a launcher, too
    settings = HydraConfig.get()
    if settings.mode == RunMode.MULTIRUN:
        remember_pixels()
    name = names.name_of(composed, settings)
    with callback.job(composed, name):
        config = validate_config(composed, look_at_files=False)
        names.relabel(config, list(settings.overrides.task))
        with machine_share.machine_share(settings, config):
            record = run_experiment(config, Path(settings.runtime.output_dir), name)
    assert record.validation is not None
    return record.validation.loss


def command(arguments: list[str]) -> int:
    """Refuse mistakes, run what was asked for, and return the exit status."""
    conf = Path(__file__).parent.parent / "conf"
    launchers.silence_schema_warnings()
    if {"--help", "-h"} & set(arguments):
        print(manual(conf))
        return 0
    sys.argv[1:] = command_line.validate_overrides(arguments, conf, require_weights=True)
    if "--help" in sys.argv:  # it was abbreviated
        print(manual(conf))
        return 0
    signals.install()
    return session.run(main)


if __name__ == "__main__":
    run_command(command)
