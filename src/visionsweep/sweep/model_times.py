"""Time the models of a sweep side by side, in turns, so that their times can be compared."""

import logging
from collections.abc import Iterable
from pathlib import Path

from visionsweep.errors import UserError
from visionsweep.runs import costs
from visionsweep.runs.discovery import Run

log = logging.getLogger(__name__)


def time_models(sweep_dir: Path, runs: Iterable[Run]) -> None:
    """Time a forward pass of each model of a sweep, and write `costs.json`.

    Nothing is done if the sweep has a single model, or if all were timed together before.
    """
    models = {costs.key_of(run.record.model): run for run in runs if run.record.model is not None}
    if len(models) < 2 or models.keys() <= costs.read(sweep_dir).keys():
        return
    from visionsweep.models import backbones
    from visionsweep.models.backbone_spec import resolve_backbone
    from visionsweep.models.timing import forward_milliseconds
    from visionsweep.runs.recorded_config import config_of

    built = {}
    for key, run in models.items():
        assert run.record.model is not None
        size = costs.size_of(run.record.model)
        try:
            spec = resolve_backbone(config_of(run.record).model, random_if_unavailable=True)
            built[key] = backbones.build(spec, size).module, size
        except UserError as error:
            log.warning("%s: not timed: %s", run.record.model.label, error)
            return
    costs.write(sweep_dir, forward_milliseconds(built))
