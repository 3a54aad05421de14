"""Train one experiment, or with -m a sweep of them.

python src/train.py
python src/train.py -m model=effnetb0,effnetb2 data=10pct,20pct epochs=5,10
python src/train.py --help
"""

import os
import sys
import traceback
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from omegaconf import DictConfig

from visionsweep import command_line, launchers, names, sweep
from visionsweep.config import check, register_schema
from visionsweep.errors import UserError
from visionsweep.manual import manual

register_schema()
names.register_resolvers()


@hydra.main(version_base="1.3", config_path="../conf", config_name="config")
def main(composed: DictConfig) -> float:
    """Run one experiment and return its validation loss, which a sweeper may minimize."""
    from visionsweep.experiment import run_experiment  # imports torch: not for --help

    settings = HydraConfig.get()
    try:
        config = check(composed)
        names.relabel(config, list(settings.overrides.task))
        name = names.name_of(composed, settings)
        with launchers.share_of_the_machine(settings, config):
            record = run_experiment(config, Path(settings.runtime.output_dir), name)
    except UserError as error:
        raise CompactHydraException(str(error)) from error
    assert record.metrics is not None
    return record.metrics.final.val.loss


if __name__ == "__main__":
    conf = Path(__file__).parent.parent / "conf"
    if {"--help", "-h"} & set(sys.argv):
        print(manual(conf))
        sys.exit()
    command_line.refuse_mistakes(sys.argv[1:], conf)
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra then leaves errors to us
    try:
        with sweep.leaderboard_after():
            main()
    except CompactHydraException as error:
        print(error, file=sys.stderr)
        sys.exit(1)
    except Exception as error:
        print(launchers.explained(error) or traceback.format_exc(), file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("Interrupted. What is finished is kept.", file=sys.stderr)
        sys.exit(130)
